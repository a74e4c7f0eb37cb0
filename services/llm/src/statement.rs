//! A sentence of a model about an author: what it must look like, and the checks of what came.

use std::collections::HashSet;

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation as _;

/// Longest statement, in characters.
pub const CHARS_MAX: usize = 240;
/// Fewer words say nothing.
const WORDS_MIN: usize = 2;
/// A sequence of this many words that comes back is a loop.
const LOOP_WORDS: usize = 5;
/// How often it may come.
const LOOP_TIMES: usize = 2;

/// Why a statement cannot be stored. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    #[error("statement is blank")]
    Blank,
    #[error("statement repeats itself")]
    Loop,
}

/// The JSON schema of a statement. One sentence that begins with "The author" and holds no quotation
/// marks or brackets: without that a small model repeats the prompt or goes on with the JSON inside
/// the string.
pub fn schema() -> Value {
    json!({
        "type": "string",
        "pattern": format!("^The author [^\\n\\\\\"{{}}<>]{{12,{}}}\\.$", CHARS_MAX - 12),
    })
}

/// The statement on one line, without invisible characters and at most [`CHARS_MAX`] long.
///
/// # Errors
/// [`BadStatement`] when it says nothing or the same again and again.
pub fn check(text: &str) -> Result<String, BadStatement> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ");
    let visible = line.chars().filter(|c| !c.is_control());
    let statement: String = visible.take(CHARS_MAX).collect();
    if statement.unicode_words().count() < WORDS_MIN {
        return Err(BadStatement::Blank);
    }
    if repeats_itself(&statement) {
        return Err(BadStatement::Loop);
    }
    Ok(statement)
}

/// Whether the same few words come again and again.
fn repeats_itself(text: &str) -> bool {
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let runs = words.windows(LOOP_WORDS).count();
    let distinct: HashSet<&[String]> = words.windows(LOOP_WORDS).collect();
    runs - distinct.len() >= LOOP_TIMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_one_line_of_bounded_length() {
        let statement = check("The author is\n calm \u{7}and  dry.");
        assert_eq!(statement.as_deref(), Ok("The author is calm and dry."));
        let numbers: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let long = check(&numbers.join(" ")).expect("a statement");
        assert_eq!(long.chars().count(), CHARS_MAX);
    }

    #[test]
    fn what_says_nothing_or_goes_in_circles_is_refused() {
        for blank in ["", "  \n ", "...", "Yes."] {
            assert_eq!(check(blank), Err(BadStatement::Blank), "{blank:?}");
        }
        let circles = "The author likes the sea and ".repeat(3);
        assert_eq!(check(&circles), Err(BadStatement::Loop));
    }
}
