//! A folder of prepared data: items and records as `foil ingest` reads them, which records are held
//! out, and how it was made.
//!
//! | file | holds |
//! |---|---|
//! | `items.ndjson`, `records.ndjson` | what is kept |
//! | `targets.jsonl` | `user` and `item` of each held-out record |
//! | `prepared.json` | the filters and the statistics |

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::{self, Filters, HeldOut, Statistics};
use super::read::{self, Format, Ndjson, Raw, Sources};
use super::{Corpus, Target};
use crate::fingerprint::Fingerprint;

const ABOUT: &str = "prepared.json";
const ITEMS: &str = "items.ndjson";
const RECORDS: &str = "records.ndjson";
const TARGETS: &str = "targets.jsonl";

/// What can be evaluated.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub corpus: Corpus,
    pub held_out: Vec<HeldOut>,
    pub filters: Filters,
    pub statistics: Statistics,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    filters: Filters,
    statistics: Statistics,
}

impl Prepared {
    /// Filters what was read.
    pub fn new(raw: Raw, filters: Filters) -> Self {
        let (corpus, held_out, statistics) = filter::apply(raw, &filters);
        Self {
            corpus,
            held_out,
            filters,
            statistics,
        }
    }

    /// Every held-out record with its history, by user, then oldest first.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let held_out = self.held_out.iter();
        held_out.filter_map(|key| self.corpus.target(&key.user, &key.item))
    }

    /// SHA-256 of all items, records and held-out keys, in hexadecimal: equal for the same data, however
    /// they were written.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprint::default();
        for item in self.corpus.items() {
            for part in [&item.id, &item.title, &item.description] {
                all.add(part);
            }
        }
        all.add("records");
        for record in self.corpus.records() {
            for part in [&record.user, &record.item, &record.title, &record.text] {
                all.add(part);
            }
            all.add(record.rating.map_or(String::new(), |r| r.to_string()));
            all.add(record.occurred_at_ms.to_le_bytes());
        }
        all.add("targets");
        for key in &self.held_out {
            all.add(&key.user);
            all.add(&key.item);
        }
        all.hex()
    }

    /// Writes the folder; makes it if missing.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, tenant: &str) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let items = self.corpus.items().iter().map(|item| {
            json!({
                "type": "item", "tenant": tenant, "id": item.id, "title": item.title,
                "description": item.description,
            })
        });
        lines(&folder.join(ITEMS), items)?;
        let records = self.corpus.records().iter().map(|record| {
            json!({
                "type": "record", "tenant": tenant, "user": record.user, "item": record.item,
                "title": record.title, "rating": record.rating, "text": record.text,
                "occurred_at_ms": record.occurred_at_ms,
                // Foil takes no record without a time and a revision.
                "revision": u64::from(record.occurred_at_ms == 0),
            })
        });
        lines(&folder.join(RECORDS), records)?;
        let targets = self.held_out.iter().map(|key| json!(key));
        lines(&folder.join(TARGETS), targets)?;
        // Last: a folder without it is not read as prepared.
        let about = About {
            filters: self.filters.clone(),
            statistics: self.statistics.clone(),
        };
        let path = folder.join(ABOUT);
        let text = serde_json::to_string_pretty(&about)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Reads a folder: one that [`Self::write`] made, or one with the data itself, to which the
    /// filters of [`Filters::small`] are applied. Data are files `*.ndjson`, or Amazon's
    /// `reviews*` and `meta*`, plain or gzipped.
    ///
    /// # Errors
    /// When there is nothing of that in it, or it cannot be read.
    pub fn read(folder: &Path, ndjson: Ndjson<'_>) -> Result<Self> {
        let about = folder.join(ABOUT);
        if !about.exists() {
            let raw = read::read(&found_in(folder)?, ndjson)?;
            return Ok(Self::new(raw, Filters::small()));
        }
        let name = || about.display().to_string();
        let text = std::fs::read_to_string(&about).with_context(name)?;
        let About {
            filters,
            statistics,
        } = serde_json::from_str(&text).with_context(name)?;
        let sources = Sources {
            reviews: vec![folder.join(RECORDS)],
            meta: vec![folder.join(ITEMS)],
            format: Some(Format::Ndjson),
            faults_max: 0,
        };
        let raw = read::read(&sources, ndjson)?;
        let path = folder.join(TARGETS);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let held_out: Result<Vec<HeldOut>, _> = text.lines().map(serde_json::from_str).collect();
        let prepared = Self {
            corpus: Corpus::new(raw.items, raw.records),
            held_out: held_out.with_context(|| path.display().to_string())?,
            filters,
            statistics,
        };
        if prepared.targets().count() != prepared.held_out.len() {
            bail!("{}: names a record that is not there", path.display());
        }
        Ok(prepared)
    }
}

fn lines(path: &Path, lines: impl Iterator<Item = Value>) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    };
    write().with_context(|| path.display().to_string())
}

/// The files of a folder that nobody prepared.
fn found_in(folder: &Path) -> Result<Sources> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| folder.display().to_string())?.path());
    }
    paths.sort();
    let those = |fits: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        let name = |path: &PathBuf| path.file_name().is_some_and(|n| fits(&n.to_string_lossy()));
        paths.iter().filter(|path| name(path)).cloned().collect()
    };
    let lines = those(&|name| name.ends_with(".ndjson") || name.ends_with(".ndjson.gz"));
    let (reviews, meta, format) = match lines.is_empty() {
        false => (lines, Vec::new(), Some(Format::Ndjson)),
        true => {
            let starts = |with: &'static str| those(&move |name| name.starts_with(with));
            (starts("reviews"), starts("meta"), None)
        }
    };
    if reviews.is_empty() {
        let folder = folder.display();
        bail!("{folder}: holds neither prepared data, nor *.ndjson, nor reviews* and meta*");
    }
    Ok(Sources {
        reviews,
        meta,
        format,
        faults_max: 0,
    })
}
