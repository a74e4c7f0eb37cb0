//! BM25 (Okapi): which records of a user's history matter for a task.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation as _;

const K1: f64 = 1.5;
const B: f64 = 0.75;
/// A word in more than half of the documents gets this share of the mean weight instead of a
/// negative one.
const EPSILON: f64 = 0.25;

/// How a text is taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// Words in lower case; punctuation is none.
    #[default]
    Unicode,
    /// What stands between white space, as it is written: the paper's, and the Python package
    /// rank_bm25's usual one.
    Whitespace,
}

impl Words {
    /// The words of a text, in its order.
    pub fn of(self, text: &str) -> Vec<String> {
        match self {
            Self::Unicode => text.unicode_words().map(str::to_lowercase).collect(),
            Self::Whitespace => text.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// Words in lower case; punctuation is none.
pub fn words(text: &str) -> Vec<String> {
    Words::Unicode.of(text)
}

/// Score of each document for the query; 0 where they share no word.
pub fn scores(query: &[String], documents: &[Vec<String>]) -> Vec<f64> {
    let count = documents.len() as f64;
    let total: usize = documents.iter().map(Vec::len).sum();
    if total == 0 {
        return vec![0.0; documents.len()];
    }
    let mean_length = total as f64 / count;
    let frequencies: Vec<HashMap<&str, f64>> = documents.iter().map(|d| frequencies(d)).collect();
    let weights = weights(&frequencies, count);
    let score = |(document, frequency): (&Vec<String>, &HashMap<&str, f64>)| {
        let length = K1 * (1.0 - B + B * document.len() as f64 / mean_length);
        let word = |word: &String| {
            let f = frequency.get(word.as_str()).copied().unwrap_or(0.0);
            let weight = weights.get(word.as_str()).copied().unwrap_or(0.0);
            weight * f * (K1 + 1.0) / (f + length)
        };
        query.iter().map(word).sum()
    };
    documents.iter().zip(&frequencies).map(score).collect()
}

/// Indices of the best `n` documents, best first; on equal scores the earlier one.
pub fn best(query: &[String], documents: &[Vec<String>], n: usize) -> Vec<usize> {
    let scores = scores(query, documents);
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(n);
    order
}

fn frequencies(document: &[String]) -> HashMap<&str, f64> {
    let mut frequencies = HashMap::new();
    for word in document {
        *frequencies.entry(word.as_str()).or_insert(0.0) += 1.0;
    }
    frequencies
}

/// Inverse document frequency of every word.
fn weights<'a>(frequencies: &[HashMap<&'a str, f64>], count: f64) -> HashMap<&'a str, f64> {
    let mut within: HashMap<&str, f64> = HashMap::new();
    for word in frequencies.iter().flat_map(HashMap::keys) {
        *within.entry(word).or_insert(0.0) += 1.0;
    }
    let weight = |n: f64| (count - n + 0.5).ln() - (n + 0.5).ln();
    // Summed in a fixed order: the hash map's own would change the last digits from run to run.
    let mut counts: Vec<f64> = within.values().copied().collect();
    counts.sort_by(f64::total_cmp);
    let mean = counts.iter().map(|n| weight(*n)).sum::<f64>() / counts.len().max(1) as f64;
    within
        .into_iter()
        .map(|(word, n)| {
            let weight = weight(n);
            (word, if weight < 0.0 { EPSILON * mean } else { weight })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Vec<String>> {
        [
            "a kettle for tea",
            "a lamp for the desk",
            "tea and more tea",
        ]
        .map(words)
        .to_vec()
    }

    /// Values of the Python package rank_bm25 0.2.2, BM25Okapi, on the same words.
    #[test]
    fn scores_are_those_of_okapi() {
        let corpus: Vec<Vec<String>> = [
            "hello there good man",
            "it is quite windy in london",
            "how is the weather today",
        ]
        .map(words)
        .to_vec();
        let scores = scores(&words("windy london"), &corpus);
        assert_eq!(scores[0], 0.0);
        assert!(
            (scores[1] - 0.937_294_722_506_405_1).abs() < 1e-9,
            "{scores:?}"
        );
        assert_eq!(scores[2], 0.0);
    }

    #[test]
    fn the_matching_ones_come_first() {
        assert_eq!(best(&words("a desk lamp"), &documents(), 2)[0], 1);
        assert_eq!(best(&words("lamp"), &documents(), 9).len(), 3);
    }

    #[test]
    fn a_text_is_taken_apart_in_two_ways() {
        let text = "Don't, Walk!";
        assert_eq!(Words::default().of(text), ["don't", "walk"]);
        assert_eq!(Words::Whitespace.of(text), ["Don't,", "Walk!"]);
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert_eq!(best(&words("tea"), &[], 8), [0_usize; 0]);
        assert_eq!(scores(&words("tea"), &[Vec::new(), Vec::new()]), [0.0, 0.0]);
        assert_eq!(scores(&[], &documents()), [0.0, 0.0, 0.0]);
    }
}
