//! Token counts without the server's tokenizer.

/// What a chat template adds to one message, at most: role and turn markers of ChatML take 5, those
/// of Llama 3 take 6, those of DeepSeek and Mistral fewer.
pub(super) const PER_MESSAGE: u32 = 8;
/// What it adds to every request: the opening of the answer, and a default system prompt such as
/// Qwen's (20 tokens) where the request brings none.
pub(super) const PER_REQUEST: u32 = 32;

/// An estimate of the tokens of `text` that is not below the truth for ordinary text in the
/// languages that a vocabulary was made for; for English it is about 1.4 times the truth.
///
/// The server's tokenizer is not here, so this counts what byte-pair vocabularies of 32,000 entries
/// and more split at: a run of ASCII letters is one token for every 3 begun, and one more where it
/// has no vowel (whole words are fewer, abbreviations are not); a digit or a punctuation mark is
/// one; a space belongs to the next word, and of a longer run the rest is one; any other character
/// is as many as it has bytes, less one.
pub(super) fn estimate(text: &str) -> u32 {
    let mut tokens = 0_u32;
    let mut letters = 0_u32;
    let mut vowels = false;
    let mut spaces = 0_u32;
    for character in text.chars().chain([' ']) {
        if character.is_ascii_alphabetic() {
            letters = letters.saturating_add(1);
            vowels |= "aeiouyAEIOUY".contains(character);
            spaces = 0;
            continue;
        }
        let word = letters.div_ceil(3) + u32::from(letters > 1 && !vowels);
        (letters, vowels) = (0, false);
        let own = if character == ' ' {
            spaces = spaces.saturating_add(1);
            u32::from(spaces == 2)
        } else {
            spaces = 0;
            (character.len_utf8() as u32 - 1).max(1)
        };
        tokens = tokens.saturating_add(word).saturating_add(own);
    }
    tokens
}
