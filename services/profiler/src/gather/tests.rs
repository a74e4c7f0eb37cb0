use foil_store::RecordKey;

use super::*;

fn record(item: &str) -> Record {
    Record {
        updated_at_ms: 2,
        sequence: 3,
        ..Record::new(RecordKey::new("acme", "mara", item), "a text")
    }
}

fn compared(item: &str, at: i64, values: &[(&str, f64)]) -> Record {
    let evidence = values.iter().map(|(feature, value)| v1::Evidence {
        feature: (*feature).to_owned(),
        value: *value,
        peers_mean: 10.0,
        item_mean: 8.0,
        z_score: value / 10.0,
    });
    let difference = v1::Difference {
        evidence: evidence.collect(),
        provenance: Some(v1::DifferenceProvenance {
            created_at_ms: at,
            ..v1::DifferenceProvenance::default()
        }),
        ..v1::Difference::default()
    };
    Record {
        difference: Some(difference),
        ..record(item)
    }
}

fn due(item: &str, at: i64) -> Record {
    Record {
        due: Some("chosen".to_owned()),
        due_at_ms: at,
        ..record(item)
    }
}

#[test]
fn one_difference_makes_the_strategy() {
    assert_eq!(strategy(&[record("a")]), "intsum");
    assert_eq!(strategy(&[record("a"), compared("b", 5, &[])]), "dpl");
}

#[test]
fn every_input_changes_the_fingerprint() {
    let base = vec![record("a"), compared("b", 5, &[])];
    let of = |records: &[Record]| fingerprint(records, &["m", "p"]);
    assert_eq!(of(&base), of(&base.clone()));
    assert_eq!(of(&base).len(), 32);
    let mut revised = base.clone();
    revised[0].revision = 2;
    let newer = vec![record("a"), compared("b", 6, &[])];
    let fewer = base[..1].to_vec();
    for other in [revised, newer, fewer] {
        assert_ne!(of(&base), of(&other));
    }
    assert_ne!(of(&base), fingerprint(&base, &["mp", ""]));
    // A mark alone is no input.
    let mut marked = base.clone();
    marked[0].due = Some("chosen".to_owned());
    assert_eq!(of(&base), of(&marked));
}

#[test]
fn evidence_is_averaged_where_it_was_found() {
    let records = [
        compared("a", 1, &[("words", 10.0), ("rating", 4.0)]),
        record("b"),
        compared("c", 1, &[("words", 20.0)]),
    ];
    let mean = mean_evidence(&records);
    let values: Vec<(&str, f64)> = mean.iter().map(|e| (e.feature.as_str(), e.value)).collect();
    assert_eq!(values, [("words", 15.0), ("rating", 4.0)]);
    assert!((mean[0].z_score - 1.5).abs() < 1e-9);
    assert!(mean_evidence(&[record("a")]).is_empty());
}

#[test]
fn a_profile_waits_for_marks_but_never_longer_than_allowed() {
    let max = 60_000;
    assert_eq!(waiting_for(&[record("a")], 0, 100_000, max), None);
    // The oldest decides.
    let records = [due("a", 90_000), due("b", 95_000)];
    assert_eq!(waiting_for(&records, 0, 100_000, max), Some(50_000));
    assert_eq!(waiting_for(&records, 0, 150_000, max), None);
    // The last profile came in between: the next one is that much later.
    assert_eq!(waiting_for(&records, 92_000, 100_000, max), Some(52_000));
    assert_eq!(waiting_for(&records, 92_000, 152_000, max), None);
}

#[test]
fn sources_name_every_record() {
    let sources = sources(&[record("a"), compared("b", 5, &[])]);
    let found: Vec<(&str, bool, i64)> = sources
        .iter()
        .map(|s| (s.item.as_str(), s.compared, s.difference_at_ms))
        .collect();
    assert_eq!(found, [("a", false, 0), ("b", true, 5)]);
}
