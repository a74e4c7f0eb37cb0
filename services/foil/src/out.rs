//! Answers and notes for whoever called. A reader that went away, as `head` does, is no reason to
//! panic or to stop: the verb goes on to its end, and that decides the exit code.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
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

/// Writes a part of the answer.
pub fn text(text: &str) {
    let shown = shown(text);
    keep(|| {
        let mut out = io::stdout().lock();
        out.write_all(shown.as_bytes())?;
        // What comes piece by piece is read piece by piece.
        out.flush()
    });
}

/// Writes a line to standard error; that it cannot be written can be told to nobody.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(&text.to_string()));
}

/// Whether a terminal obeys it or a reader is deceived by it: controls, what turns text around, what
/// has no width but joins nothing, and tags. Joiners and variation selectors stay: letters and emoji
/// need them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// As it is written: what comes from users, models and servers must not steer the terminal, whichever
/// verb forgot about it. Lines and tabs are the verb's own.
fn shown(text: &str) -> Cow<'_, str> {
    let escaped = |c: char| steers(c) && c != '\n' && c != '\t';
    if !text.contains(escaped) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match escaped(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.into()
}

/// JSON whose strings hold nothing that steers a terminal; they mean the same.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // JSON's own lines are the only controls that do not stand in a string.
        if c == '\n' || !steers(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
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

#[cfg(test)]
mod tests;
