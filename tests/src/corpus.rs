//! The sample corpus in `tests/corpus`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

const RECORD_FILES: [&str; 3] = ["users-1.ndjson", "users-2.ndjson", "users-3.ndjson"];

/// A line of `items.ndjson`.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    pub tenant: String,
    pub id: String,
    pub title: String,
    pub description: String,
}

/// A line of the other files.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    pub tenant: String,
    pub user: String,
    pub item: String,
    pub title: String,
    pub rating: f64,
    pub revision: u64,
    pub text: String,
}

/// The whole of it; records in the order of the files.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub items: Vec<Item>,
    pub records: Vec<Record>,
    /// The lines of items, then those of records, as they stand.
    pub lines: Vec<String>,
}

impl Corpus {
    /// Reads every file.
    ///
    /// # Panics
    /// When a file is missing, or a line is no item or record.
    pub fn read() -> Self {
        let mut lines = read("items.ndjson");
        let items = parsed(&lines);
        let records: Vec<String> = RECORD_FILES.iter().flat_map(|name| read(name)).collect();
        let parsed = parsed(&records);
        lines.extend(records);
        Self {
            items,
            records: parsed,
            lines,
        }
    }

    /// The files, items first, as `foil ingest` takes them.
    pub fn files() -> Vec<PathBuf> {
        let records = RECORD_FILES.iter().map(|name| folder().join(name));
        std::iter::once(folder().join("items.ndjson"))
            .chain(records)
            .collect()
    }

    /// Every user once.
    pub fn users(&self) -> BTreeSet<&str> {
        self.records.iter().map(|r| r.user.as_str()).collect()
    }

    /// The lines that are about one of `items`.
    pub fn lines_on<'a>(&'a self, items: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(String::as_str).filter(move |line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("parsed before");
            let about = line.get("item").or(line.get("id"));
            about
                .and_then(|id| id.as_str())
                .is_some_and(|id| items.contains(&id))
        })
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn read(name: &str) -> Vec<String> {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn parsed<T: DeserializeOwned>(lines: &[String]) -> Vec<T> {
    let line = |line: &String| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    lines.iter().map(line).collect()
}
