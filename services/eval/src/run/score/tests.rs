use super::*;
use crate::data::Record;

/// The time of the target, which `own` wrote on `target`.
const NOW: i64 = 100;

fn record(user: &str, item: &str, at: i64) -> Record {
    Record {
        user: user.to_owned(),
        item: item.to_owned(),
        text: format!("{user} wrote this on {item}, at some length."),
        occurred_at_ms: at,
        ..Record::default()
    }
}

fn corpus(records: &[(&str, &str, i64)]) -> Corpus {
    let records = records
        .iter()
        .map(|&(user, item, at)| record(user, item, at));
    let target = record("own", "target", NOW);
    Corpus::new(Vec::new(), records.chain([target]).collect())
}

/// Users with the items whose records stand for them.
fn lined_up(corpus: &Corpus) -> Vec<(String, Vec<String>)> {
    let target = corpus.target("own", "target").unwrap();
    let item = |at: usize| corpus.records()[at].item.clone();
    let users = lineup(corpus, &target).into_iter();
    users
        .map(|(user, texts)| (user, texts.into_iter().map(item).collect()))
        .collect()
}

fn expected(users: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |items: &[&str]| -> Vec<String> { items.iter().map(|&i| i.to_owned()).collect() };
    let users = users.iter();
    users
        .map(|&(user, items)| (user.to_owned(), owned(items)))
        .collect()
}

#[test]
fn neither_the_target_nor_what_came_later_stands_for_anybody() {
    let corpus = corpus(&[
        ("own", "a", 1),
        ("own", "b", NOW),
        ("own", "later", NOW + 1),
        ("peer", "a", 2),
        ("peer", "b", 3),
        // On the target's item, at its time, and after it.
        ("peer", "target", 4),
        ("peer", "at-its-time", NOW),
        ("peer", "z", NOW + 5),
        // Who wrote on the same things at its time or after it is not among them.
        ("neighbour", "a", NOW),
        ("neighbour", "elsewhere", 1),
        ("follower", "a", NOW + 1),
        ("follower", "elsewhere", 1),
    ]);
    let found = lined_up(&corpus);
    assert_eq!(
        found,
        expected(&[("own", &["b", "a"]), ("peer", &["b", "a"])])
    );
}

#[test]
fn who_wrote_before_on_most_of_the_same_things_comes_first() {
    let corpus = corpus(&[
        ("own", "a", 1),
        ("own", "b", 2),
        ("once", "a", 1),
        ("once", "b", NOW + 1),
        ("once", "target", NOW + 2),
        ("twice", "a", 1),
        ("twice", "b", 1),
        ("also", "a", 1),
        ("only-the-target", "target", 1),
        ("stranger", "c", 1),
    ]);
    let users: Vec<String> = lined_up(&corpus)
        .into_iter()
        .map(|(user, _)| user)
        .collect();
    assert_eq!(users, ["own", "twice", "also", "once"]);
}

#[test]
fn equally_many_of_the_newest_texts_stand_for_each() {
    let items: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    let of = |user: &'static str, from: usize| {
        let own = items.iter().enumerate().skip(from);
        own.map(move |(at, item)| (user, item.as_str(), at as i64))
    };
    let few = corpus(&of("own", 0).chain(of("peer", 37)).collect::<Vec<_>>());
    let newest: &[&str] = &["39", "38", "37"];
    assert_eq!(
        lined_up(&few),
        expected(&[("own", newest), ("peer", newest)])
    );
    let many = corpus(&of("own", 0).chain(of("peer", 0)).collect::<Vec<_>>());
    let counts = lined_up(&many).into_iter().map(|(_, texts)| texts.len());
    assert_eq!(counts.collect::<Vec<_>>(), [TEXTS, TEXTS]);

    // Nobody can be told from others by nothing.
    assert!(lined_up(&corpus(&[("peer", "target", 1)])).is_empty());
}

#[test]
fn who_is_as_near_shares_the_credit() {
    let corpus = corpus(&[
        ("own", "a", 1),
        ("alike", "a", 1),
        ("unlike", "a", 1),
        ("unlike", "b", 2),
    ]);
    let world = World::new(&corpus).unwrap();
    let target = corpus.target("own", "target").unwrap();
    let vector = |at: usize| match corpus.records()[at].user.as_str() {
        "unlike" => Some(vec![0.0, 1.0]),
        _ => Some(vec![1.0, 0.0]),
    };
    let lineup = Lineup::new(&world, &target, vector).unwrap();
    let text = &target.record.text;
    // No feature varies, so by style everybody is as near.
    let found = lineup.attribute(text, Some(&[1.0, 0.0]), &[None; FEATURES.len()]);
    let Attribution { embedding, style } = found.unwrap();
    assert_eq!((embedding.top_1, embedding.mrr), (0.5, 0.75));
    assert!((embedding.chance_top_1 - 1.0 / 3.0).abs() < 1e-12);
    assert!((style.top_1 - style.chance_top_1).abs() < 1e-12);
    assert!((style.mrr - style.chance_mrr).abs() < 1e-12);

    // Without a text there is no vector: as good as chance.
    let found = lineup.attribute("", None, &deviations(&corpus)).unwrap();
    assert!((found.embedding.top_1 - found.embedding.chance_top_1).abs() < 1e-12);
}

#[test]
fn a_history_of_another_user_ends_before_the_targets_time() {
    let corpus = corpus(&[
        ("own", "a", 1),
        ("own", "b", NOW),
        ("own", "z", NOW),
        ("peer", "a", 1),
        ("peer", "b", NOW),
        ("peer", "c", NOW - 1),
    ]);
    let world = World::new(&corpus).unwrap();
    let target = corpus.target("own", "target").unwrap();
    let items = |user: &str| -> Vec<String> {
        let history = world.history(user, target.record).into_iter();
        history.map(|record| record.key.item).collect()
    };
    // Of one's own, what stands before it in the order of the data belongs to it.
    assert_eq!(items("own"), ["b", "a"]);
    assert_eq!(items("peer"), ["c", "a"]);
}
