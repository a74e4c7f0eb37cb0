//! Answers and notes for whoever called. A reader that went away, as `head` does, is no reason to
//! panic or to stop: the verb goes on to its end, and that decides the exit code.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;

/// What kept an answer from standard output; after it nothing more is written there.
static FAULT: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line of the answer.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::text(&format!("{}\n", format_args!($($text)*))) };
}

/// A line beside the answer, on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::out::note(format_args!($($text)*)) };
}

/// Writes a part of the answer as it stands.
pub fn text(text: &str) {
    keep(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        // What comes piece by piece is read piece by piece.
        out.flush()
    });
}

/// Writes a line to standard error; that it cannot be written can be told to nobody.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What kept the answer from its reader, unless the reader went away.
pub fn fault() -> Option<io::Error> {
    let fault = FAULT.lock().ok()?.take();
    fault.filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

fn keep(write: impl FnOnce() -> io::Result<()>) {
    if let Ok(mut fault) = FAULT.lock()
        && fault.is_none()
    {
        *fault = write().err();
    }
}
