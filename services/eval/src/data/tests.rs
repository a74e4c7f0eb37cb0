use std::path::Path;

use super::filter::HeldOut;
use super::read::{Format, Ndjson, Raw, ReadError, Sources, read};
use super::*;

fn record(user: &str, item: &str, at: i64) -> Record {
    Record {
        user: user.to_owned(),
        item: item.to_owned(),
        text: format!("{user} on {item}, at some length"),
        occurred_at_ms: at,
        ..Record::default()
    }
}

fn item(id: &str, description: &str) -> Item {
    Item {
        id: id.to_owned(),
        title: id.to_uppercase(),
        description: description.to_owned(),
    }
}

/// Stands in for the reader of `foil ingest`, which lives in the command.
fn parse(line: &[u8]) -> Result<foil_proto::v1::Update, foil_proto::check::Faults> {
    use foil_proto::v1::{self, update::Change};
    let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let change = match line["type"].as_str() {
        Some("record") => Change::RecordUpsert(v1::RecordUpsert {
            user: text("user"),
            item: text("item"),
            text: text("text"),
            title: text("title"),
            rating: line["rating"].as_f64(),
            occurred_at_ms: line["occurred_at_ms"].as_i64().unwrap_or_default(),
            revision: line["revision"].as_u64().unwrap_or_default(),
        }),
        Some("item") => Change::ItemUpsert(v1::ItemUpsert {
            item: text("id"),
            title: text("title"),
            description: text("description"),
            revision: 0,
        }),
        _ => Change::UserErase(v1::UserErase { user: text("user") }),
    };
    let update = v1::Update {
        tenant: text("tenant"),
        change: Some(change),
    };
    foil_proto::check::update(&update, i64::MAX / 2)?;
    Ok(update)
}

const NDJSON: Ndjson<'static> = Ndjson {
    parse: &parse,
    tenant: "demo",
};

fn sources(folder: &Path, files: &[(&str, &str)], format: Option<Format>) -> Sources {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let those = |meta: bool| {
        let names = files.iter().map(|(name, _)| folder.join(name));
        names
            .filter(|path| path.to_string_lossy().contains("meta") == meta)
            .collect()
    };
    Sources {
        reviews: those(false),
        meta: those(true),
        format,
        faults_max: 2,
    }
}

#[test]
fn the_newest_record_of_a_user_on_an_item_counts() {
    let again = Record {
        text: "better now".to_owned(),
        ..record("ann", "kettle", 5)
    };
    let records = vec![
        again.clone(),
        record("ann", "kettle", 3),
        record("bo", "lamp", 9),
    ];
    let corpus = Corpus::new(vec![item("kettle", "")], records);
    assert_eq!(corpus.records().len(), 2);
    assert_eq!(corpus.records()[corpus.of_user("ann")[0]], again);
    assert_eq!(corpus.item("kettle").unwrap().title, "KETTLE");
    assert_eq!(corpus.item("lamp"), None);
}

#[test]
fn history_is_what_came_before_and_peers_can_be_kept_out_of_the_future() {
    let records = vec![
        record("ann", "c", 7),
        record("ann", "a", 1),
        // On one day: by item.
        record("ann", "b2", 4),
        record("ann", "b1", 4),
        record("bo", "b2", 2),
        record("cy", "b2", 4),
        record("di", "b2", 9),
    ];
    let corpus = Corpus::new(Vec::new(), records);
    let target = corpus.target("ann", "b2").unwrap();
    let history: Vec<&str> = target.history.iter().map(|r| r.item.as_str()).collect();
    assert_eq!(history, ["a", "b1"]);
    let users = |before| -> Vec<&str> {
        let peers = corpus.peers(target.record, before);
        peers.iter().map(|r| r.user.as_str()).collect()
    };
    assert_eq!(users(None), ["bo", "cy", "di"]);
    assert_eq!(users(Some(target.record.occurred_at_ms)), ["bo"]);
    assert!(corpus.target("ann", "zebra").is_none());
}

fn filters() -> Filters {
    Filters {
        text_chars_min: 10,
        description_chars_min: 3,
        description_chars_max: 5,
        item_users_min: 2,
        user_records_min: 3,
        user_records_max: 4,
        hold_out: 1,
        comparable_users_min: 3,
        comparable_records_min: 2,
    }
}

/// Ann and bo wrote on everything; cy on two items; di only on one that has no other user.
fn raw() -> Raw {
    let items = ["a", "b", "c"].map(|id| item(id, "tea")).to_vec();
    let mut records = Vec::new();
    for (at, id) in (1..).zip(["a", "b", "c"]) {
        records.push(record("ann", id, at));
        records.push(record("bo", id, 10 - at));
    }
    records.extend([
        record("cy", "a", 1),
        record("cy", "b", 2),
        record("di", "d", 1),
    ]);
    Raw {
        items,
        records,
        ..Raw::default()
    }
}

fn targets(raw: Raw, filters: Filters) -> Vec<(String, String)> {
    let prepared = Prepared::new(raw, filters);
    let key = |key: &HeldOut| (key.user.clone(), key.item.clone());
    prepared.held_out.iter().map(key).collect()
}

#[test]
fn each_filter_takes_its_part() {
    let kept = Prepared::new(raw(), filters());
    // Bo's last is a, and of b and c before it only b has three users.
    let key = |user: &str, item: &str| (user.to_owned(), item.to_owned());
    assert_eq!(targets(raw(), filters()), [key("ann", "c")]);
    assert_eq!(kept.statistics.read.records, 9);
    assert_eq!(kept.statistics.kept.records, 8);
    assert_eq!(kept.statistics.users_in_range, 2);
    assert_eq!((kept.statistics.targets, kept.statistics.history), (1, 2));

    let with = |change: fn(&mut Filters)| {
        let mut filters = filters();
        change(&mut filters);
        Prepared::new(raw(), filters).statistics
    };
    assert_eq!(with(|f| f.text_chars_min = 99).long_enough.records, 0);
    assert_eq!(with(|f| f.description_chars_min = 0).described.records, 9);
    assert_eq!(with(|f| f.description_chars_max = 2).described.records, 0);
    assert_eq!(with(|f| f.item_users_min = 3).kept.records, 6);
    assert_eq!(with(|f| f.user_records_min = 4).users_in_range, 0);
    assert_eq!(with(|f| f.user_records_max = 2).users_in_range, 0);
    assert_eq!(with(|f| f.comparable_users_min = 2).targets, 2);
    assert_eq!(with(|f| f.comparable_records_min = 3).targets, 0);
    let more = with(|f| {
        f.hold_out = 2;
        f.comparable_records_min = 1;
    });
    assert_eq!((more.targets, more.target_users), (3, 2));
}

#[test]
fn the_filter_that_leaves_nothing_is_named() {
    let emptied = |change: fn(&mut Filters)| {
        let mut filters = filters();
        change(&mut filters);
        let statistics = Prepared::new(raw(), filters.clone()).statistics;
        let named = statistics.emptied(&filters)?;
        Some(named.split(':').next().unwrap().to_owned())
    };
    assert_eq!(emptied(|_| ()), None);
    let named = |field: &str| Some(field.to_owned());
    assert_eq!(emptied(|f| f.text_chars_min = 99), named("text_chars_min"));
    let none = emptied(|f| f.description_chars_min = 4);
    assert_eq!(none, named("description_chars_min"));
    assert_eq!(emptied(|f| f.item_users_min = 9), named("item_users_min"));

    let fault = |change: fn(&mut Filters)| {
        let mut filters = filters();
        change(&mut filters);
        filters.check().unwrap_err()
    };
    assert!(filters().check().is_ok());
    assert!(fault(|f| f.user_records_max = 2).starts_with("user_records_max: "));
    assert!(fault(|f| f.description_chars_max = 2).starts_with("description_chars_max: "));
    assert!(fault(|f| f.hold_out = 0).starts_with("hold_out: "));
}

#[test]
fn the_defaults_are_the_papers() {
    let paper = Filters::default();
    assert_eq!((paper.text_chars_min, paper.item_users_min), (200, 8));
    assert_eq!((paper.user_records_min, paper.user_records_max), (18, 500));
    assert_eq!(
        (paper.description_chars_min, paper.description_chars_max),
        (100, 2_000)
    );
}

#[test]
fn a_prepared_folder_reads_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut raw = raw();
    // Neither time nor rating.
    raw.records[0].occurred_at_ms = 0;
    raw.records[1].rating = Some(2.5);
    let prepared = Prepared::new(raw, filters());
    prepared.write(folder.path(), "demo").unwrap();
    let read = Prepared::read(folder.path(), NDJSON).unwrap();
    assert_eq!(read.corpus.items(), prepared.corpus.items());
    assert_eq!(read.corpus.records(), prepared.corpus.records());
    assert_eq!(read.held_out, prepared.held_out);
    assert_eq!(read.filters, prepared.filters);
    assert_eq!(read.statistics, prepared.statistics);

    let targets = folder.path().join("targets.jsonl");
    std::fs::write(targets, r#"{"user":"nobody","item":"a"}"#).unwrap();
    let error = Prepared::read(folder.path(), NDJSON).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("names a record that is not there"),
        "{error}"
    );
}

const REVIEW_2014: &str = r#"{"reviewerID":"u1","asin":"i1","reviewText":"It sings.","summary":"Loud","overall":4.0,"unixReviewTime":1158019200,"helpful":[0,1]}"#;
const REVIEW_2023: &str = r#"{"user_id":"u1","parent_asin":"i1","asin":"i1-red","text":"It sings.","title":"Loud","rating":4.0,"timestamp":1158019200000}"#;

#[test]
fn both_amazon_sets_and_plain_lines_give_the_same_record() {
    let plain = r#"{"type":"record","tenant":"demo","user":"u1","item":"i1","text":"It sings.","title":"Loud","rating":4,"occurred_at_ms":1158019200000}"#;
    let plain_item = r#"{"type":"item","tenant":"demo","id":"i1","title":"Kettle","description":"Boils.\nSings."}"#;
    let other_tenant = plain.replace("demo", "acme");
    let meta_2014 = r#"{"asin":"i1","title":"Kettle","description":"Boils.\nSings."}"#;
    let meta_2023 = r#"{"parent_asin":"i1","title":"Kettle","description":["Boils."," Sings. "]}"#;
    for (review, meta) in [
        (REVIEW_2014, meta_2014),
        (REVIEW_2023, meta_2023),
        (&format!("{plain}\n\n{other_tenant}"), plain_item),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = [("reviews.jsonl", review), ("meta.jsonl", meta)];
        let raw = read(&sources(folder.path(), &files, None), NDJSON).unwrap();
        let expected = Record {
            user: "u1".to_owned(),
            item: "i1".to_owned(),
            rating: Some(4.0),
            title: "Loud".to_owned(),
            text: "It sings.".to_owned(),
            occurred_at_ms: 1_158_019_200_000,
        };
        assert_eq!(raw.records, [expected], "{review}");
        assert_eq!(raw.items.len(), 1);
        assert_eq!(raw.items[0].description, "Boils.\nSings.");
        assert_eq!(raw.fault_count, 0, "{:?}", raw.faults);
    }
}

#[test]
fn reviews_are_not_taken_for_items() {
    for (review, user) in [(REVIEW_2014, "reviewerID"), (REVIEW_2023, "user_id")] {
        let folder = tempfile::tempdir().unwrap();
        let files = [("reviews.jsonl", review), ("meta.jsonl", review)];
        let raw = read(&sources(folder.path(), &files, None), NDJSON).unwrap();
        let fault = format!("{user}: is a review's, and items are expected here");
        assert_eq!((raw.items.len(), raw.faults.len()), (0, 1));
        assert_eq!((raw.faults[0].line, &raw.faults[0].error), (1, &fault));
    }
}

#[test]
fn gzip_is_known_by_its_first_bytes() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // As `zcat a.gz b.gz` reads it: two members.
    gzip.write_all(REVIEW_2014.as_bytes()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writeln!(gzip, "\n{}", REVIEW_2014.replace("u1", "u2")).unwrap();
    bytes.extend(gzip.finish().unwrap());
    std::fs::write(folder.path().join("reviews"), bytes).unwrap();
    let sources = sources(folder.path(), &[], None);
    let sources = Sources {
        reviews: vec![folder.path().join("reviews")],
        ..sources
    };
    assert_eq!(read(&sources, NDJSON).unwrap().records.len(), 2);
}

#[test]
fn bad_lines_are_named_and_too_many_of_them_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let no_time = REVIEW_2014.replace("unixReviewTime", "time");
    let number = REVIEW_2014.replace("\"Loud\"", "7");
    let blank = REVIEW_2014.replace("It sings.", " ");
    let text = format!("{REVIEW_2014}\n{no_time}\n{blank}\n{{\"reviewerID\"\n");
    let found = sources(folder.path(), &[("reviews.jsonl", &text)], None);
    let raw = read(&found, NDJSON).unwrap();
    let faults: Vec<(u64, &str)> = raw
        .faults
        .iter()
        .map(|f| (f.line, f.error.as_str()))
        .collect();
    assert_eq!(
        faults,
        [
            (2, "unixReviewTime: is missing"),
            (4, "line: not JSON at column 13"),
        ]
    );
    assert_eq!((raw.records.len(), raw.refused), (1, 1));

    let text = format!("{text}{number}\n");
    let found = sources(folder.path(), &[("reviews.jsonl", &text)], None);
    let error = read(&found, NDJSON).unwrap_err();
    assert!(
        matches!(error, ReadError::Faults { count: 3, .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(
        said.contains("reviews.jsonl line 5: summary: is no string"),
        "{said}"
    );
}

#[test]
fn an_unknown_format_a_missing_file_and_lines_that_erase_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = sources(folder.path(), &[("reviews.jsonl", "{\"a\":1}")], None);
    let first = |text: &str| {
        let found = sources(folder.path(), &[("reviews.jsonl", text)], None);
        read(&found, NDJSON).unwrap_err().to_string()
    };
    for (text, cause) in [
        ("{\"a\":1}", "line 1: line: has the keys of no known format"),
        ("{\"a\"\n", "line 1: line: not JSON at column 4"),
        ("[1]\n", "line 1: line: is no object"),
        ("", "no records in it"),
    ] {
        assert!(first(text).contains(cause), "{}", first(text));
    }
    std::fs::write(folder.path().join("reviews.jsonl"), "{\"a\":1}").unwrap();
    found.format = Format::named("amazon-2014");
    assert!(matches!(read(&found, NDJSON), Err(ReadError::Empty(_))));
    found.reviews = vec![folder.path().join("nothing")];
    assert!(matches!(read(&found, NDJSON), Err(ReadError::Io { .. })));
    let erase = r#"{"type":"user_erase","tenant":"demo","user":"u1"}"#;
    let mut found = sources(folder.path(), &[("reviews.jsonl", erase)], None);
    found.faults_max = 0;
    let said = read(&found, NDJSON).unwrap_err().to_string();
    assert!(said.contains("type: is neither record nor item"), "{said}");
}
