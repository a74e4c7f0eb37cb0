//! ROUGE as Google's `rouge-score` computes it, without its stemmer.

use std::collections::HashMap;

/// F1 of a text against its reference, each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Of single words.
    pub one: f64,
    /// Of the longest common subsequence of words.
    pub l: f64,
}

/// ROUGE-1 and ROUGE-L of `text`. Words are runs of `a-z` and `0-9` in lower case: other scripts have none.
pub fn rouge(text: &str, reference: &str) -> Rouge {
    let (text, reference) = (words(text), words(reference));
    if text.is_empty() || reference.is_empty() {
        return Rouge::default();
    }
    let f1 = |matched: usize| {
        let (precision, recall) = (
            matched as f64 / text.len() as f64,
            matched as f64 / reference.len() as f64,
        );
        if matched == 0 {
            return 0.0;
        }
        2.0 * precision * recall / (precision + recall)
    };
    Rouge {
        one: f1(common(&text, &reference)),
        l: f1(longest_common(&text, &reference)),
    }
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Words in both, each as often as it is in the one that has it less often.
fn common(text: &[String], reference: &[String]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in reference {
        *left.entry(word).or_default() += 1;
    }
    let mut matched = 0;
    for word in text {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            matched += 1;
        }
    }
    matched
}

fn longest_common(text: &[String], reference: &[String]) -> usize {
    let mut before = vec![0; reference.len() + 1];
    let mut row = before.clone();
    for word in text {
        for (j, other) in reference.iter().enumerate() {
            row[j + 1] = if word == other {
                before[j] + 1
            } else {
                row[j].max(before[j + 1])
            };
        }
        std::mem::swap(&mut before, &mut row);
    }
    before[reference.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_package() {
        let found = rouge(
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
        );
        assert!((found.one - 0.705_882_352_9).abs() < 1e-9, "{found:?}");
        assert!((found.l - 0.588_235_294_1).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        for (text, reference) in [("", "a"), ("a", ""), ("", ""), ("...", "b"), ("a", "b")] {
            assert_eq!(rouge(text, reference), Rouge::default());
        }
    }
}
