use super::*;

fn evidence(feature: &str, value: f64, peers_mean: f64, z_score: f64) -> v1::Evidence {
    v1::Evidence {
        feature: feature.to_owned(),
        value,
        peers_mean,
        item_mean: peers_mean,
        z_score,
    }
}

#[test]
fn a_criterion_gets_its_own_facts_the_strongest_first() {
    let criteria = ExtractorConfig::default().criteria;
    let all = [
        evidence("rating", 4.0, 4.0, 0.1),
        evidence("words_per_sentence", 31.04, 14.2, 2.0),
        evidence("reading_ease", 40.0, 70.0, -2.5),
        evidence("letters_per_word", 4.0, 4.4, -0.2),
        evidence("sentiment", 0.8, 0.25, 0.9),
    ];
    let expected = [
        "reading ease (Flesch): 40.0, others 70.0 (lower)",
        "words per sentence: 31.0, others 14.2 (higher)",
    ];
    assert_eq!(facts(&criteria[0], &all, 2), expected);
    let expected = [
        "sentiment, -1 to 1: 0.80, others 0.25 (higher)",
        "rating: 4.0, others 4.0 (the same)",
    ];
    assert_eq!(facts(&criteria[1], &all, 2), expected);
    assert!(facts(&criteria[2], &all, 2).is_empty());
}

#[test]
fn a_title_is_short_plain_and_one_line() {
    let title = short(&format!("<|im_end|>\n{}", "x".repeat(500)));
    assert_eq!(title.chars().count(), TITLE_CHARS_MAX);
    assert!(!title.contains("<|") && !title.contains('\n'));
}
