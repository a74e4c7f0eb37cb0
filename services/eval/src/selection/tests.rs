use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::data::read::Raw;
use crate::data::{Corpus, Filters, Record};

const USERS: usize = 24;
const ITEMS: usize = 20;
const DIMENSION: usize = 16;

/// How much of a vector is the item's, the user's, and chance.
#[derive(Clone, Copy)]
struct World {
    item: f32,
    user: f32,
    noise: f32,
    /// Whether users write texts of lengths of their own.
    lengths: bool,
}

const PERSONAL: World = World {
    item: 3.0,
    user: 1.0,
    noise: 0.5,
    lengths: true,
};

fn direction(kind: u64, number: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(kind * 1_000 + number as u64);
    (0..DIMENSION).map(|_| rng.random::<f32>() - 0.5).collect()
}

/// Every user on every second item or so: what they have in common with an item's others is large.
fn world(world: World) -> (Prepared, Vec<Vec<f32>>) {
    let mut records = Vec::new();
    for user in 0..USERS {
        for item in 0..ITEMS {
            if (user * 7 + item * 5) % 9 > 4 {
                continue;
            }
            let words = match world.lengths {
                true => 5 + user * 4 + (item * 3) % 5,
                false => 5 + (user * 31 + item * 17) % 40,
            };
            records.push(Record {
                user: format!("user {user:02}"),
                item: format!("item {item:02}"),
                text: "A plain word. ".repeat(words / 3 + 1),
                occurred_at_ms: ((user * 13 + item * 29) % 97) as i64 + 1,
                ..Record::default()
            });
        }
    }
    let filters = Filters {
        description_chars_min: 0,
        text_chars_min: 1,
        ..Filters::default()
    };
    let raw = Raw {
        records,
        ..Raw::default()
    };
    let prepared = Prepared::new(raw, filters);
    let vector = |record: &Record| {
        let number = |name: &str| name[5..].parse::<usize>().unwrap();
        let (user, item) = (number(&record.user), number(&record.item));
        let parts = [
            (world.item, direction(1, item)),
            (world.user, direction(2, user)),
            (world.noise, direction(3, user * 100 + item)),
        ];
        let mut sum = vec![0.0; DIMENSION];
        for (weight, part) in parts {
            sum.iter_mut().zip(part).for_each(|(s, x)| *s += weight * x);
        }
        sum
    };
    let vectors = prepared.corpus.records().iter().map(vector).collect();
    (prepared, vectors)
}

fn options() -> Options {
    Options {
        splits: 4,
        ..Options::default()
    }
}

fn measured(of: World, options: &Options) -> Report {
    let (prepared, vectors) = world(of);
    measure(
        &prepared,
        &vectors,
        options,
        &SelectorConfig::default(),
        "made up",
    )
    .unwrap()
}

fn score(report: &Report, method: Method) -> &Score {
    let found = report.methods.iter().find(|found| found.method == method);
    &found.unwrap().score
}

#[test]
fn what_is_personal_is_found_and_what_is_not_is_not() {
    let personal = measured(PERSONAL, &options());
    assert_eq!(personal.users, USERS);
    for method in [Method::Peers, Method::Kmeans, Method::KmeansEvidence] {
        let found = score(&personal, method).top1.mean;
        assert!(found > 0.8, "{method:?}: {found}");
    }
    let nobody = World {
        user: 0.0,
        lengths: false,
        ..PERSONAL
    };
    let nothing = measured(nobody, &options());
    for method in Method::ALL {
        let Score { top1, mrr, .. } = *score(&nothing, method);
        assert!(
            top1.mean < 0.2,
            "{method:?}: {top1:?}, chance {:?}",
            nothing.chance
        );
        assert!(
            mrr.mean < 0.35,
            "{method:?}: {mrr:?}, chance {:?}",
            nothing.chance
        );
    }
}

/// Where texts say nothing but what they are about, that is all that the mean finds; where they are
/// personal, a difference finds more than that.
#[test]
fn the_items_alone_hold_no_word_of_the_user() {
    let top1 = |report: &Report, method| score(report, method).top1.mean;
    let impersonal = measured(
        World {
            user: 0.0,
            noise: 0.0,
            ..PERSONAL
        },
        &options(),
    );
    let (mean, items) = (
        top1(&impersonal, Method::Mean),
        top1(&impersonal, Method::Items),
    );
    assert!((mean - items).abs() < 0.02, "{mean} {items}");
    let personal = measured(PERSONAL, &options());
    let (peers, items) = (
        top1(&personal, Method::Peers),
        top1(&personal, Method::Items),
    );
    assert!(peers > items + 0.5, "{peers} {items}");
}

/// The item's share drowns the user's in the mean; taking representatives away brings it out.
#[test]
fn a_difference_takes_the_item_away() {
    let report = measured(PERSONAL, &options());
    let gain = score(&report, Method::Kmeans).top1_gain.unwrap();
    assert!(gain.difference.low > 0.0 && gain.p < 0.05, "{gain:?}");
    assert_eq!(score(&report, Method::Mean).top1_gain, None);
}

/// Where only the length of the texts is personal, evidence finds it and embeddings do not.
#[test]
fn evidence_sees_what_embeddings_do_not() {
    let lengths = World {
        user: 0.0,
        ..PERSONAL
    };
    let report = measured(lengths, &options());
    let (evidence, kmeans) = (
        score(&report, Method::Evidence),
        score(&report, Method::Kmeans),
    );
    assert!(evidence.mrr.mean > 0.4, "{evidence:?}");
    assert!(kmeans.mrr.mean < 0.35, "{kmeans:?}");
}

#[test]
fn more_records_find_more() {
    let noisy = World {
        noise: 4.0,
        ..PERSONAL
    };
    let curve = measured(noisy, &options()).curve.unwrap();
    let records: Vec<usize> = curve.steps.iter().map(|step| step.records).collect();
    assert_eq!(records, [1, 2, 4]);
    assert_eq!(curve.users, USERS);
    let kmeans = |step: &Step| step.methods[4].score.mrr.mean;
    assert_eq!(curve.steps[0].methods[4].method, Method::Kmeans);
    assert!(kmeans(&curve.steps[2]) > kmeans(&curve.steps[0]) + 0.1);
}

#[test]
fn the_same_seed_gives_the_same_report_and_splits_by_time_need_none() {
    let (first, second) = (
        measured(PERSONAL, &options()),
        measured(PERSONAL, &options()),
    );
    assert_eq!(report::json(&first), report::json(&second));
    let other = Options {
        seed: 1,
        ..options()
    };
    let other = measured(PERSONAL, &other);
    // Other splits: not only the seed's own field and the intervals are others.
    let found = |report: &Report| score(report, Method::Mean).mrr.mean;
    assert_ne!(found(&first), found(&other));
    let by_time = |seed| {
        let options = Options {
            split: Split::Time,
            seed,
            ..options()
        };
        let report = measured(PERSONAL, &options);
        (score(&report, Method::Kmeans).mrr.mean, report.splits)
    };
    assert_eq!(by_time(1), by_time(2));
    assert_eq!(by_time(1).1, 1);
}

#[test]
fn a_limit_takes_some_of_the_users_and_too_few_are_an_error() {
    let few = Options {
        limit: Some(7),
        ..options()
    };
    let report = measured(PERSONAL, &few);
    assert_eq!(report.users, 7);
    assert!((report.chance.top1 - 1.0 / 7.0).abs() < 1e-12);
    // Seven are too few for a curve.
    assert!(report.curve.is_none());
    let (prepared, vectors) = world(PERSONAL);
    let none = Options {
        records_min: 99,
        ..options()
    };
    let error = measure(&prepared, &vectors, &none, &SelectorConfig::default(), "m").unwrap_err();
    assert!(error.to_string().starts_with("users: 0 with 99"), "{error}");
}

#[test]
fn chance_is_that_of_guessing() {
    let chance = Chance::among(4);
    assert!((chance.top1 - 0.25).abs() < 1e-12);
    assert!((chance.mrr - (1.0 + 0.5 + 1.0 / 3.0 + 0.25) / 4.0).abs() < 1e-12);
}

#[test]
fn only_records_with_enough_peers_need_a_vector() {
    let (prepared, mut vectors) = world(PERSONAL);
    let mut records = prepared.corpus.records().to_vec();
    records.extend(["ann", "bo"].map(|user| Record {
        user: user.to_owned(),
        item: "seldom".to_owned(),
        text: "Two of us.".to_owned(),
        occurred_at_ms: 999,
        ..Record::default()
    }));
    let corpus = Corpus::new(Vec::new(), records);
    let needed = Plan::new(&corpus, &options(), 256).needed();
    assert_eq!(needed.len(), vectors.len());
    let few = Options {
        limit: Some(2),
        ..options()
    };
    let fewer = Plan::new(&corpus, &few, 256).needed();
    assert!(
        fewer.len() < needed.len(),
        "{} of {}",
        fewer.len(),
        needed.len()
    );
    assert!(
        needed
            .iter()
            .all(|&at| corpus.records()[at].item != "seldom")
    );
    vectors.extend([Vec::new(), Vec::new()]);
    let prepared = Prepared { corpus, ..prepared };
    measure(
        &prepared,
        &vectors,
        &options(),
        &SelectorConfig::default(),
        "m",
    )
    .unwrap();
}

#[test]
fn the_report_names_every_method_in_each_form() {
    let report = measured(PERSONAL, &options());
    let json = report::json(&report);
    assert_eq!(json["users"], USERS);
    let table = report::table(&report);
    let csv = report::csv(&report).unwrap();
    let svg = report::svg(&report).unwrap().unwrap();
    for method in Method::ALL {
        let top1 = json["methods"][method.as_str()]["top1"].as_f64().unwrap();
        assert!((top1 - score(&report, method).top1.mean).abs() < 1e-6);
        assert!(json["methods"][method.as_str()]["mrr"].is_f64());
        assert!(table.contains(method.label()) && svg.contains(method.label()));
        assert!(csv.contains(&format!(",{},", method.as_str())));
    }
    // Whole halves, and the three steps.
    assert_eq!(csv.lines().count(), 1 + Method::ALL.len() * 4);
    let widths: std::collections::BTreeSet<usize> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .take(Method::ALL.len() + 3)
        .map(|line| line.chars().count())
        .collect();
    assert_eq!(widths.len(), 1, "columns stand below each other:\n{table}");
}
