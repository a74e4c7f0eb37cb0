//! Measured evidence in words. The same evidence gives the same words.

use foil_proto::feature::Feature;
use foil_proto::v1;

/// Below this, either sign, a user is like the others.
const Z_MIN: f64 = 0.5;

/// The `most` clearest differences, the strongest first: one line each.
pub(crate) fn lines(evidence: &[v1::Evidence], most: usize) -> Vec<String> {
    let clear = |e: &&v1::Evidence| e.z_score.abs() >= Z_MIN && e.value.is_finite();
    let mut clear: Vec<&v1::Evidence> = evidence.iter().filter(clear).collect();
    // Stable: equally strong ones stay in the order of the features.
    clear.sort_by(|a, b| b.z_score.abs().total_cmp(&a.z_score.abs()));
    clear.truncate(most);
    clear.into_iter().map(line).collect()
}

fn line(evidence: &v1::Evidence) -> String {
    let (own, others) = (number(evidence.value), number(evidence.item_mean));
    match Feature::named(&evidence.feature) {
        Some(feature) => {
            let phrase = feature.phrase(evidence.z_score);
            format!("{phrase} ({own} {}; average {others})", feature.unit)
        }
        None => {
            let name = foil_llm::prompt::neutralise(&evidence.feature);
            let degree = if evidence.z_score > 0.0 {
                "higher"
            } else {
                "lower"
            };
            format!("{name} is {degree} ({own}; average {others})")
        }
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(feature: &str, value: f64, item_mean: f64, z_score: f64) -> v1::Evidence {
        v1::Evidence {
            feature: feature.to_owned(),
            value,
            peers_mean: item_mean,
            item_mean,
            z_score,
        }
    }

    #[test]
    fn the_strongest_come_first_and_weak_ones_not_at_all() {
        let found = lines(
            &[
                evidence("words", 60.0, 61.0, -0.1),
                evidence("exclamations", 4.0, 1.0, 0.9),
                evidence("words_per_sentence", 6.5, 14.0, -2.2),
            ],
            6,
        );
        assert_eq!(
            found,
            [
                "writes far shorter sentences (6.50 words a sentence; average 14)",
                "uses more exclamation marks (4.00 per 100 words; average 1.00)",
            ]
        );
    }

    #[test]
    fn a_feature_of_a_later_version_is_still_said() {
        let found = lines(&[evidence("emoji", 3.0, 1.0, 1.0)], 6);
        assert_eq!(found, ["emoji is higher (3.00; average 1.00)"]);
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        assert!(lines(&[evidence("words", f64::NAN, 1.0, 1.0)], 6).is_empty());
        assert!(lines(&[evidence("words", 1.0, 1.0, f64::NAN)], 6).is_empty());
    }
}
