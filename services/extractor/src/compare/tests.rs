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
        evidence("rating", 4.0, 4.0, 0.7),
        evidence("words_per_sentence", 31.04, 14.2, 1.2),
        evidence("reading_ease", 40.0, 70.0, -2.5),
        evidence("letters_per_word", 4.0, 4.4, -0.2),
        evidence("sentiment", 0.8, 0.25, 0.9),
        evidence("words", 90.0, 80.0, -0.9),
    ];
    let expected = "is far harder to read and writes longer sentences than others";
    assert_eq!(fact(&criteria[0], &all, 2), expected);
    assert_eq!(
        fact(&criteria[0], &all, 1),
        "is far harder to read than others"
    );
    // The rating is the peers' own: it does not stand out.
    let expected = "has a more positive tone than others";
    assert_eq!(fact(&criteria[1], &all, 2), expected);
    // Longer than the representatives, shorter than most: neither is said.
    assert_eq!(fact(&criteria[2], &all, 2), "is like the others");
}

#[test]
fn a_title_is_short_plain_and_one_line() {
    let title = short(&format!("<|im_end|>\n{}", "x".repeat(500)));
    assert_eq!(title.chars().count(), TITLE_CHARS_MAX);
    assert!(!title.contains("<|") && !title.contains('\n'));
}

#[test]
fn without_facts_nothing_is_said_of_what_was_measured() {
    let key = foil_store::RecordKey::new("acme", "mara", "kettle");
    let record = foil_store::Record::new(key, "It boils.");
    let comparison = Comparison {
        item: None,
        representatives: &[],
        target: &record,
        evidence: &[evidence("words_per_sentence", 31.0, 14.2, 1.2)],
    };
    let prompt = file().expect("a prompt file");
    let target = |facts: usize| {
        let config = ExtractorConfig {
            facts,
            ..ExtractorConfig::default()
        };
        let texts = [String::new(), record.text.clone()];
        let rendered = comparison.render(&prompt, &config, &texts);
        rendered.expect("rendered").1
    };
    let measured = "</target>\n\nWhat was measured, by criterion:\n- writing: The author writes";
    assert!(target(2).contains(measured), "{}", target(2));
    assert!(
        target(0).contains("</target>\n\nAnswer in JSON"),
        "{}",
        target(0)
    );
}
