//! The measured features of a text, as [`crate::v1::Evidence::feature`] names them, and how a person
//! says what they mean.

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As in [`crate::v1::Evidence::feature`].
    pub name: &'static str,
    /// For a person; ends with the unit where there is one.
    pub label: &'static str,
    /// What an author does with it: "writes", "uses".
    verb: &'static str,
    /// What a higher value means: "longer texts".
    more: &'static str,
    /// What a lower one means.
    less: &'static str,
    /// After a value: "words a sentence".
    pub unit: &'static str,
}

/// From this z-score on, either sign, an author differs by much.
const MUCH: f64 = 1.5;

const fn feature(
    name: &'static str,
    label: &'static str,
    [verb, more, less, unit]: [&'static str; 4],
) -> Feature {
    Feature {
        name,
        label,
        verb,
        more,
        less,
        unit,
    }
}

/// Every feature, in the order in which they are measured and shown.
#[rustfmt::skip]
pub const FEATURES: [Feature; 11] = [
    feature("words", "length in words",
        ["writes", "longer texts", "shorter texts", "words"]),
    feature("words_per_sentence", "words per sentence",
        ["writes", "longer sentences", "shorter sentences", "words a sentence"]),
    feature("letters_per_word", "letters per word",
        ["uses", "longer words", "shorter words", "letters a word"]),
    feature("lexical_diversity", "share of distinct words",
        ["uses", "more varied words", "more repeated words", "of the words distinct"]),
    feature("punctuation", "punctuation marks per 100 words",
        ["uses", "more punctuation", "less punctuation", "marks per 100 words"]),
    feature("exclamations", "exclamation marks per 100 words",
        ["uses", "more exclamation marks", "fewer exclamation marks", "per 100 words"]),
    feature("capitals", "words in capitals per 100 words",
        ["uses", "more words in capitals", "fewer words in capitals", "per 100 words"]),
    feature("first_person", "first-person words per 100 words",
        ["writes", "more about themselves", "less about themselves", "first-person words per 100"]),
    feature("sentiment", "positive sentiment",
        ["has", "a more positive tone", "a more negative tone", "from -1 to 1"]),
    feature("reading_ease", "reading ease (Flesch)",
        ["is", "easier to read", "harder to read", "Flesch reading ease"]),
    feature("rating", "rating",
        ["gives", "higher ratings", "lower ratings", "on average"]),
];

impl Feature {
    /// The feature of that name; none where a later version measured it.
    pub fn named(name: &str) -> Option<&'static Feature> {
        FEATURES.iter().find(|feature| feature.name == name)
    }

    /// What an author does who differs by `z_score`: "writes longer sentences", "uses far fewer
    /// exclamation marks".
    pub fn phrase(&self, z_score: f64) -> String {
        let what = if z_score > 0.0 { self.more } else { self.less };
        let (article, what) = match what.strip_prefix("a ") {
            Some(rest) => ("a ", rest),
            None => ("", what),
        };
        let degree = if z_score.abs() >= MUCH { "far " } else { "" };
        format!("{} {article}{degree}{what}", self.verb)
    }
}

/// The label of a feature; its name where it is unknown.
pub fn label(name: &str) -> &str {
    Feature::named(name).map_or(name, |feature| feature.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(name: &str, z_score: f64) -> String {
        Feature::named(name).expect("a feature").phrase(z_score)
    }

    #[test]
    fn a_phrase_says_direction_and_degree() {
        assert_eq!(phrase("words_per_sentence", 0.8), "writes longer sentences");
        assert_eq!(
            phrase("exclamations", -1.6),
            "uses far fewer exclamation marks"
        );
        assert_eq!(phrase("sentiment", 2.0), "has a far more positive tone");
        assert_eq!(phrase("reading_ease", -1.0), "is harder to read");
    }

    #[test]
    fn names_are_there_once_and_unknown_ones_are_their_own_label() {
        for feature in &FEATURES {
            assert_eq!(Feature::named(feature.name), Some(feature));
            assert_eq!(label(feature.name), feature.label);
        }
        assert_eq!(label("emoji"), "emoji");
        assert_eq!(Feature::named("emoji"), None);
    }
}
