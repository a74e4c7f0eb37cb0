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
        "lower reading ease (Flesch) than others (40.0, theirs 70.0)",
        "higher words per sentence than others (31.0, theirs 14.2)",
    ];
    assert_eq!(facts(&criteria[0], &all, 2), expected);
    let expected = [
        "higher positive sentiment than others (0.80, theirs 0.25)",
        "the same rating as others (4.0)",
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
