//! White space and words as the reference packages see them.

use unicode_normalization::char::is_combining_mark;

/// `str.isspace`: beside Unicode's white space the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// NLTK's `wordpunct_tokenize`, in lower case: runs of what words are made of, and runs of what is
/// neither that nor white space.
pub(super) fn words_and_marks(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        // Not `is_space`: NLTK's expressions take the four separators for marks.
        if c.is_whitespace() {
            last = None;
            continue;
        }
        let word = is_word(c);
        if last != Some(word) {
            tokens.push(String::new());
        }
        last = Some(word);
        if let Some(token) = tokens.last_mut() {
            token.push(c);
        }
    }
    tokens.iter().map(|token| token.to_lowercase()).collect()
}

/// `\w` of the Python package `regex`, which NLTK uses: letters, their marks, digits, joiners and
/// connectors; but not the numbers that are no digits, of which these are the ones in use.
fn is_word(c: char) -> bool {
    let no_digit = matches!(
        c,
        '²' | '³' | '¹' | '¼'..='¾' | '\u{2070}'..='\u{2089}' | '\u{2150}'..='\u{215f}' | '\u{2189}'
            | '\u{2460}'..='\u{249b}' | '\u{24ea}'..='\u{24ff}' | '\u{2776}'..='\u{2793}'
    );
    let connector = matches!(
        c,
        '_' | '\u{203f}' | '\u{2040}' | '\u{2054}' | '\u{fe33}' | '\u{fe34}' | '\u{fe4d}'
            ..='\u{fe4f}' | '\u{ff3f}'
    );
    let joiner = matches!(c, '\u{200c}' | '\u{200d}');
    (c.is_alphanumeric() && !no_digit) || is_combining_mark(c) || connector || joiner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_words_of_their_own() {
        let tokens = words_and_marks("Don't stop!! It's 3.5_a cafe\u{301} x²");
        let expected = [
            "don",
            "'",
            "t",
            "stop",
            "!!",
            "it",
            "'",
            "s",
            "3",
            ".",
            "5_a",
            "cafe\u{301}",
            "x",
            "²",
        ];
        assert_eq!(tokens, expected);
        assert_eq!(split(" a\u{1d}b \n").collect::<Vec<_>>(), ["a", "b"]);
    }
}
