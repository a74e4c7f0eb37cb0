use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;

fn value(text: &str, feature: &str) -> f64 {
    let at = FEATURES
        .iter()
        .position(|f| f.name == feature)
        .expect("a feature");
    measure(&Sample { text, rating: None })[at].expect("a value")
}

#[test]
fn features_measure_what_they_say() {
    let text = "I LOVE this pan! It isn't heavy. My eggs slide off.";
    assert_eq!(value(text, "words"), 11.0);
    assert!((value(text, "words_per_sentence") - 11.0 / 3.0).abs() < 1e-9);
    assert!((value(text, "exclamations") - 100.0 / 11.0).abs() < 1e-9);
    assert!(
        (value(text, "capitals") - 100.0 / 11.0).abs() < 1e-9,
        "`I` alone is no shout"
    );
    assert!((value(text, "first_person") - 200.0 / 11.0).abs() < 1e-9);
    assert_eq!(value("a a a b", "lexical_diversity"), 0.5);
    assert_eq!(value("one two", "letters_per_word"), 3.0);
}

#[test]
fn sentiment_knows_praise_blame_and_negation() {
    assert!(value("A lovely, warm and wonderful place.", "sentiment") > 0.5);
    assert!(value("Broken, overpriced and ugly.", "sentiment") < -0.5);
    assert!(value("Not good at all.", "sentiment") < 0.0);
    assert!(value("I don’t hate it.", "sentiment") > 0.0);
    assert_eq!(value("The box holds four cards.", "sentiment"), 0.0);
}

#[test]
fn short_plain_words_read_easier() {
    let plain = "The cat sat on the mat. It was warm.";
    let heavy =
        "Notwithstanding considerable administrative complications, implementation continued.";
    assert!(value(plain, "reading_ease") > 90.0);
    assert!(value(heavy, "reading_ease") < 0.0);
}

#[test]
fn the_difference_is_against_peers_and_item() {
    let sample = |text, rating| Sample { text, rating };
    let target = sample("One. Two. Three!", Some(1.0));
    let peers = [
        sample("a b c d e f", Some(4.0)),
        sample("a b c d", Some(5.0)),
    ];
    let item = [target, peers[0], peers[1]];
    let evidence = compare(&target, &peers, &item);
    let of = |name: &str| {
        evidence
            .iter()
            .find(|e| e.feature == name)
            .expect("measured")
    };
    assert_eq!((of("words").value, of("words").peers_mean), (3.0, 5.0));
    assert!((of("words").item_mean - 13.0 / 3.0).abs() < 1e-9);
    assert!(of("words").z_score < -1.0);
    assert!(of("exclamations").z_score > 1.0);
    assert_eq!((of("rating").value, of("rating").peers_mean), (1.0, 4.5));
}

#[test]
fn what_nobody_has_is_left_out_and_equal_ones_do_not_differ() {
    let sample = Sample {
        text: "the same words",
        rating: None,
    };
    let evidence = compare(&sample, &[sample], &[sample, sample]);
    assert!(evidence.iter().all(|e| e.feature != "rating"));
    assert!(evidence.iter().all(|e| e.z_score == 0.0));
    assert_eq!(evidence.len(), FEATURES.len() - 1);
}

proptest! {
    #[test]
    fn any_text_gives_finite_values(text in ".{0,300}", rating in proptest::option::of(-10.0_f64..10.0)) {
        let sample = Sample { text: &text, rating };
        for value in measure(&sample).into_iter().flatten() {
            prop_assert!(value.is_finite());
        }
        for evidence in compare(&sample, &[sample], &[sample]) {
            prop_assert_eq!(evidence.z_score, 0.0);
        }
    }
}
