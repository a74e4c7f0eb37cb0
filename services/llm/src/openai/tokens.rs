//! Token counts without the server's tokenizer.

/// What a chat template adds to one message, at most: role and turn markers of ChatML take 5, those
/// of Llama 3 take 6, those of DeepSeek and Mistral fewer.
pub(super) const PER_MESSAGE: u32 = 8;
/// What it adds to every request: the opening of the answer, and a default system prompt such as
/// Qwen's (20 tokens) where the request brings none.
pub(super) const PER_REQUEST: u32 = 32;

/// An estimate of the tokens of `text` that is not below the truth for ordinary text in the
/// languages that a vocabulary was made for.
///
/// The server's tokenizer is not here, so this counts what byte-pair vocabularies of 32,000 entries
/// and more split at: a run of ASCII letters is one token for its first 4 letters and one for every
/// further 4, a digit or a punctuation mark is one, spaces inside a line belong to the next word,
/// and any other character is as many tokens as it has bytes, less one.
pub(super) fn estimate(text: &str) -> u32 {
    let mut tokens = 0_u32;
    let mut letters = 0_u32;
    let mut spaces = 0_u32;
    for character in text.chars() {
        if character == ' ' {
            // Of a run of spaces all but the last, which joins a word, are tokens of their own.
            spaces += 1;
            letters = 0;
            tokens = tokens.saturating_add(u32::from(spaces == 2));
            continue;
        }
        spaces = 0;
        let cost = if character.is_ascii_alphabetic() {
            letters += 1;
            u32::from(letters % 4 == 1)
        } else {
            letters = 0;
            (character.len_utf8() as u32 - 1).max(1)
        };
        tokens = tokens.saturating_add(cost);
    }
    tokens
}
