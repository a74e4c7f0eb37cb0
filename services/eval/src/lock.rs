//! One process at a time adds to a file.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;

use anyhow::{Result, bail};

/// Keeps other processes away for as long as the file is open; a file system without locks keeps
/// nobody away.
///
/// # Errors
/// When another one is there.
pub fn alone(file: &File) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            bail!("another foil eval is at work on it: wait until it ends, or name another --out")
        }
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
