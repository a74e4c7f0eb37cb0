//! BLEU as sacreBLEU computes it: tokeniser 13a, case kept, exponential smoothing.

use std::collections::HashMap;

use super::words::{is_space, split};

/// Longest sequence of words that is counted.
const ORDER: usize = 4;
/// sacreBLEU's logarithm of 0.
const LOG_OF_ZERO: f64 = -9_999_999_999.0;

/// What BLEU is computed from; those of several texts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    length: usize,
    reference_length: usize,
    matched: [usize; ORDER],
    total: [usize; ORDER],
}

impl Counts {
    /// Of one text against its reference.
    pub fn of(text: &str, reference: &str) -> Self {
        let (text, reference) = (tokens(text), tokens(reference));
        let mut counts = Self {
            length: text.len(),
            reference_length: reference.len(),
            ..Self::default()
        };
        for n in 1..=ORDER {
            let known = sequences(&reference, n);
            for (sequence, times) in sequences(&text, n) {
                counts.total[n - 1] += times;
                counts.matched[n - 1] += times.min(known.get(sequence).copied().unwrap_or(0));
            }
        }
        counts
    }

    /// One sentence's BLEU, 0 to 100: orders that it is too short for are left out, as sacreBLEU's
    /// `sentence_bleu` does.
    pub fn sentence(&self) -> f64 {
        self.bleu(true)
    }

    /// The BLEU of a whole corpus, 0 to 100, from the sum of its texts' counts, as `corpus_bleu`.
    pub fn corpus<'a>(all: impl IntoIterator<Item = &'a Self>) -> f64 {
        let mut sum = Self::default();
        for counts in all {
            sum.length += counts.length;
            sum.reference_length += counts.reference_length;
            for n in 0..ORDER {
                sum.matched[n] += counts.matched[n];
                sum.total[n] += counts.total[n];
            }
        }
        sum.bleu(false)
    }

    fn bleu(&self, effective_order: bool) -> f64 {
        if self.matched.iter().all(|&matched| matched == 0) {
            return 0.0;
        }
        let (length, reference) = (self.length as f64, self.reference_length as f64);
        let brevity = if self.length < self.reference_length {
            (1.0 - reference / length).exp()
        } else {
            1.0
        };
        let mut logs = [LOG_OF_ZERO; ORDER];
        let mut order = ORDER;
        let mut smooth = 1.0;
        let counted = self.matched.iter().zip(&self.total).zip(&mut logs);
        for (n, ((&matched, &total), log)) in counted.enumerate() {
            if total == 0 {
                break;
            }
            if effective_order {
                order = n + 1;
            }
            *log = if matched == 0 {
                smooth *= 2.0;
                (100.0_f64 / (smooth * total as f64)).ln()
            } else {
                (100.0 * matched as f64 / total as f64).ln()
            };
        }
        brevity * (logs[..order].iter().sum::<f64>() / order as f64).exp()
    }
}

fn sequences(tokens: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    for sequence in tokens.windows(n) {
        *counts.entry(sequence).or_default() += 1;
    }
    counts
}

/// mteval-v13a: Western punctuation apart, but within numbers.
fn tokens(text: &str) -> Vec<String> {
    let mut text = text.trim_end_matches(is_space).replace("<skipped>", "");
    text = text.replace("-\n", "").replace('\n', " ");
    for (entity, character) in [
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ] {
        text = text.replace(entity, character);
    }
    let text = symbols_apart(&format!(" {text} "));
    let text = pairs(&text, |a, b| {
        (!a.is_ascii_digit() && is_stop(b)).then(|| format!("{a} {b} "))
    });
    let text = pairs(&text, |a, b| {
        (is_stop(a) && !b.is_ascii_digit()).then(|| format!(" {a} {b}"))
    });
    let text = pairs(&text, |a, b| {
        (a.is_ascii_digit() && b == '-').then(|| format!("{a} {b} "))
    });
    split(&text).map(str::to_owned).collect()
}

fn is_stop(c: char) -> bool {
    c == '.' || c == ','
}

fn symbols_apart(text: &str) -> String {
    let mut apart = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/') {
            apart.extend([' ', c, ' ']);
        } else {
            apart.push(c);
        }
    }
    apart
}

/// Replaces pairs of characters from left to right; what was replaced is not looked at again, as in
/// Python's `re.sub`.
fn pairs(text: &str, replace: impl Fn(char, char) -> Option<String>) -> String {
    let mut replaced = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(a) = characters.next() {
        match characters.peek().and_then(|&b| replace(a, b)) {
            Some(instead) => {
                replaced.push_str(&instead);
                characters.next();
            }
            None => replaced.push(a),
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_points_and_others_lose_them() {
        let expected = [
            "It", "cost", "3.50", ",", "or", "so", "(", "1", "-", "2", "%", ")", ".",
        ];
        assert_eq!(tokens("It cost 3.50, or so (1-2%)."), expected);
        assert_eq!(tokens("a&amp;b &lt;c&gt;"), ["a", "&", "b", "<", "c", ">"]);
    }

    #[test]
    fn the_same_text_is_all_there_is() {
        let text = "The cat sat on the mat.";
        assert!((Counts::of(text, text).sentence() - 100.0).abs() < 1e-9);
        assert_eq!(Counts::of("", text).sentence(), 0.0);
        assert_eq!(Counts::of("x y z", text).sentence(), 0.0);
        assert_eq!(Counts::corpus(&Vec::new()), 0.0);
    }
}
