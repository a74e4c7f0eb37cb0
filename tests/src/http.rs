//! The least of an HTTP client: for admin ports on loopback.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Status and body of `path` at `host:port`, each wait within `limit`.
///
/// # Errors
/// When nobody answers in time, or the answer is none.
pub(crate) fn get(address: &str, path: &str, limit: Duration) -> Result<(u16, String)> {
    let bad = || Error::from(ErrorKind::InvalidData);
    let socket: SocketAddr = address.parse().map_err(|_| bad())?;
    let mut stream = TcpStream::connect_timeout(&socket, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // An answer of 1.0 is never cut into chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: foil\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(bad)?, body.to_owned()))
}
