//! No peer's text leaves: an output that repeats eight or more words of a peer's text is refused.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// Words in a row that make a quotation.
pub const QUOTED_WORDS: usize = 8;

/// Whether `output` repeats [`QUOTED_WORDS`] or more words in a row of one of `texts`, whatever the
/// case, the punctuation, the accents, or the compatibility form of the letters.
pub fn quotes<'a>(output: &str, texts: impl IntoIterator<Item = &'a str>) -> bool {
    let output = words(output);
    if output.len() < QUOTED_WORDS {
        return false;
    }
    let said: HashSet<&[String]> = output.windows(QUOTED_WORDS).collect();
    texts.into_iter().any(|text| {
        let text = words(text);
        text.windows(QUOTED_WORDS).any(|run| said.contains(run))
    })
}

/// Words in lower case without marks and invisible characters.
fn words(text: &str) -> Vec<String> {
    let plain: String = text
        .nfkd()
        .filter(|c| !is_mark_or_invisible(*c))
        .flat_map(char::to_lowercase)
        .map(|c| if c == '’' { '\'' } else { c })
        .collect();
    plain.unicode_words().map(|w| w.replace('\'', "")).collect()
}

fn is_mark_or_invisible(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "The kettle sang all morning, and nobody in the house minded it at all.";

    #[test]
    fn eight_words_are_a_quotation_and_seven_are_none() {
        assert!(quotes(
            "They say: sang all morning and nobody in the house!",
            [PEER]
        ));
        assert!(!quotes(
            "They say: sang all morning and nobody in the garden!",
            [PEER]
        ));
        assert!(quotes(PEER, [PEER]));
        assert!(!quotes("", [PEER]));
        assert!(!quotes(PEER, ["", "another text of no matter"]));
    }

    #[test]
    fn disguise_does_not_help() {
        for said in [
            "SANG ALL MORNING — AND NOBODY... IN THE HOUSE",
            "sang\nall\u{a0}morning and no\u{200b}body in the hou\u{ad}se",
            "sáng àll mörning and nobody in the house",
            "ｓａｎｇ all morning and nobody in the house",
        ] {
            assert!(quotes(said, [PEER]), "{said:?}");
        }
        assert!(quotes(
            "I don't think that they'd ever do this again",
            ["i don’t think that they’d ever do this"]
        ));
    }
}
