//! Measured evidence: cheap, deterministic features of a text, and how a target differs in them.

mod sentiment;

use foil_proto::feature::FEATURES;
use foil_proto::v1;
use unicode_segmentation::UnicodeSegmentation as _;

/// A z-score says nothing more beyond this.
const Z_ABS_MAX: f64 = 9.0;
/// Bytes of a text that are measured: features are means, and a longer text changes them little.
const MEASURED_BYTES_MAX: usize = 64 * 1024;

/// One text and its rating, as features see it.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub text: &'a str,
    pub rating: Option<f64>,
}

/// The values of [`FEATURES`]; `None` where there is nothing to measure.
pub type Values = [Option<f64>; FEATURES.len()];

/// Measures one sample. The same text gives the same values.
pub fn measure(sample: &Sample<'_>) -> Values {
    let text = clip(sample.text, MEASURED_BYTES_MAX);
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let mut values = [None; FEATURES.len()];
    values[10] = sample.rating;
    if words.is_empty() {
        values[0] = Some(0.0);
        return values;
    }
    let count = words.len() as f64;
    let per_100 = |n: usize| n as f64 * 100.0 / count;
    let sentences = text
        .unicode_sentences()
        .filter(|s| s.unicode_words().next().is_some())
        .count()
        .max(1) as f64;
    let letters: usize = words.iter().map(|w| w.chars().count()).sum();
    let syllables: usize = words.iter().map(|w| syllables(w)).sum();
    let marks = text.chars().filter(|c| is_punctuation(*c)).count();
    let exclamations = text.chars().filter(|c| *c == '!').count();
    let capitals = text.unicode_words().filter(|w| is_shouted(w)).count();
    let first_person = words.iter().filter(|w| is_first_person(w)).count();
    values[..10].copy_from_slice(&[
        Some(count),
        Some(count / sentences),
        Some(letters as f64 / count),
        Some(diversity(&words)),
        Some(per_100(marks)),
        Some(per_100(exclamations)),
        Some(per_100(capitals)),
        Some(per_100(first_person)),
        Some(sentiment::score(&words)),
        Some(206.835 - 1.015 * count / sentences - 84.6 * syllables as f64 / count),
    ]);
    values
}

/// The target against its representatives and all of the item's records (the target included).
/// Features that the target, or every representative, lacks are left out.
pub fn compare(
    target: &Sample<'_>,
    representatives: &[Sample<'_>],
    item: &[Sample<'_>],
) -> Vec<v1::Evidence> {
    let measured = |samples: &[Sample<'_>]| samples.iter().map(measure).collect::<Vec<Values>>();
    compare_measured(
        &measure(target),
        &measured(representatives),
        &measured(item),
    )
}

/// [`compare`] of what is measured already.
pub fn compare_measured(
    target: &Values,
    representatives: &[Values],
    item: &[Values],
) -> Vec<v1::Evidence> {
    let column =
        |rows: &[Values], i: usize| -> Vec<f64> { rows.iter().filter_map(|row| row[i]).collect() };
    (0..FEATURES.len())
        .filter_map(|i| {
            let value = target[i]?;
            let peers_mean = mean(&column(representatives, i))?;
            let item = column(item, i);
            let item_mean = mean(&item).unwrap_or(value);
            let z_score = match deviation(&item, item_mean) {
                sd if sd > 1e-9 => ((value - item_mean) / sd).clamp(-Z_ABS_MAX, Z_ABS_MAX),
                _ => 0.0,
            };
            Some(v1::Evidence {
                feature: FEATURES[i].name.to_owned(),
                value,
                peers_mean,
                item_mean,
                z_score,
            })
        })
        .collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a population.
fn deviation(values: &[f64], mean: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

/// Share of distinct words within windows of 50 words, averaged: a plain share falls with length.
fn diversity(words: &[String]) -> f64 {
    const WINDOW: usize = 50;
    let distinct = |window: &[String]| {
        let set: std::collections::HashSet<&String> = window.iter().collect();
        set.len() as f64 / window.len() as f64
    };
    let full: Vec<f64> = words.chunks_exact(WINDOW).map(distinct).collect();
    mean(&full).unwrap_or_else(|| distinct(words))
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || "…–—“”‘’«»¿¡".contains(c)
}

/// Two or more letters, all of them capitals.
fn is_shouted(word: &str) -> bool {
    word.chars().filter(|c| c.is_alphabetic()).count() >= 2
        && word.chars().all(|c| !c.is_alphabetic() || c.is_uppercase())
}

fn is_first_person(word: &str) -> bool {
    let stem = word.split(['\'', '’']).next().unwrap_or(word);
    const WORDS: [&str; 10] = [
        "i",
        "me",
        "my",
        "mine",
        "myself",
        "we",
        "us",
        "our",
        "ours",
        "ourselves",
    ];
    WORDS.contains(&stem)
}

/// Groups of vowels, without a silent final e: what reading-ease formulas count as syllables.
fn syllables(word: &str) -> usize {
    let vowel = |c: char| "aeiouyàáâäèéêëìíîïòóôöùúûü".contains(c);
    let mut groups = 0;
    let mut before = false;
    for c in word.chars() {
        groups += usize::from(vowel(c) && !before);
        before = vowel(c);
    }
    if groups > 1 && word.ends_with('e') && !word.ends_with("le") {
        groups -= 1;
    }
    groups.max(1)
}

/// The longest prefix of at most `max` bytes that ends between characters.
fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests;
