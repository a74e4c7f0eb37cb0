//! Files of reviews and items, plain or gzipped, into records and items. A bad line is named and left
//! out; too many of them end the reading, because then the format is another one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use foil_proto::v1::update::Change;
use foil_proto::{check, v1};
use serde::Serialize;
use serde_json::{Map, Value};

use super::amazon::{self, Year};
use super::{Item, Record};

/// Tenant of what comes from files that know none.
pub const TENANT: &str = "eval";
/// Longest line, bytes.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Everything is held in memory.
const LINES_MAX: u64 = 20_000_000;
/// Faults kept to be shown; more are only counted.
const FAULTS_KEPT: usize = 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How the lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Reviews and metadata of the Amazon sets.
    Amazon(Year),
    /// What `foil ingest` reads: lines of type `record` and `item`, in any file.
    Ndjson,
}

impl Format {
    /// Every one, by the name it has on the command line.
    pub const ALL: [(&'static str, Self); 3] = [
        ("amazon-2014", Self::Amazon(Year::Y2014)),
        ("amazon-2023", Self::Amazon(Year::Y2023)),
        ("ndjson", Self::Ndjson),
    ];

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format)
    }

    /// By the keys of a line of reviews; none fits every line.
    fn of(line: &Map<String, Value>) -> Option<Self> {
        let has = |key| line.contains_key(key);
        if has("reviewerID") {
            Some(Self::Amazon(Year::Y2014))
        } else if has("user_id") && (has("parent_asin") || has("asin")) {
            Some(Self::Amazon(Year::Y2023))
        } else {
            has("type").then_some(Self::Ndjson)
        }
    }
}

/// How `foil ingest` reads a line: who runs the evaluation brings it along, so that there is one
/// reader of that format.
#[derive(Clone, Copy)]
pub struct Ndjson<'a> {
    /// Into an update, with every fault by field.
    pub parse: &'a dyn Fn(&[u8]) -> Result<v1::Update, check::Faults>,
    /// Lines of other tenants are left out.
    pub tenant: &'a str,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Sources {
    pub reviews: Vec<PathBuf>,
    pub meta: Vec<PathBuf>,
    /// None: as the first line of reviews looks.
    pub format: Option<Format>,
    /// Bad lines that are borne with.
    pub faults_max: u64,
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub file: String,
    /// From 1.
    pub line: u64,
    /// Begins with the field; holds no text of a user.
    pub error: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Raw {
    pub items: Vec<Item>,
    pub records: Vec<Record>,
    /// The first few of the bad lines.
    pub faults: Vec<Fault>,
    pub fault_count: u64,
    /// Well-formed lines of Amazon's that Foil takes no update from: blank or too long a text.
    pub refused: u64,
    /// Lines of another tenant.
    pub other_tenants: u64,
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{file}: {cause}")]
    Io { file: String, cause: std::io::Error },
    #[error("{file} line 1: {cause}")]
    First { file: String, cause: String },
    #[error("{} line {}: {}; {count} bad lines, at most {max} (--faults-max)", .last.file, .last.line, .last.error)]
    Faults { last: Fault, count: u64, max: u64 },
    #[error("{file}: more than {LINES_MAX} lines in all; prepare a part of it")]
    TooMany { file: String },
    #[error("{0}: no records in it")]
    Empty(String),
}

/// Reads every file.
///
/// # Errors
/// When a file cannot be read, is of no known format, or has too many bad lines.
pub fn read(sources: &Sources, ndjson: Ndjson<'_>) -> Result<Raw, ReadError> {
    let format = match sources.format {
        Some(format) => format,
        None => detect(&sources.reviews)?,
    };
    let mut reader = Reader {
        format,
        ndjson,
        faults_max: sources.faults_max,
        now_ms: jiff::Timestamp::now().as_millisecond(),
        lines: 0,
        raw: Raw::default(),
    };
    for file in &sources.reviews {
        reader.file(file, false)?;
    }
    for file in &sources.meta {
        reader.file(file, true)?;
    }
    if reader.raw.records.is_empty() {
        return Err(ReadError::Empty(names(&sources.reviews)));
    }
    Ok(reader.raw)
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, ReadError> {
    let open = || {
        let mut reader = BufReader::new(File::open(file)?);
        // By its first bytes: a name says little.
        Ok(match reader.fill_buf()?.starts_with(&GZIP) {
            true => Box::new(BufReader::new(MultiGzDecoder::new(reader))) as Box<dyn BufRead>,
            false => Box::new(reader),
        })
    };
    open().map_err(|cause| io(file, cause))
}

fn io(file: &Path, cause: std::io::Error) -> ReadError {
    ReadError::Io {
        file: file.display().to_string(),
        cause,
    }
}

fn detect(files: &[PathBuf]) -> Result<Format, ReadError> {
    let first = files
        .first()
        .map_or(Path::new("--reviews"), PathBuf::as_path);
    let mut reader = open(first)?;
    let line = next(&mut reader).map_err(|cause| io(first, cause))?;
    let line = line.ok_or_else(|| ReadError::Empty(first.display().to_string()))?;
    let format = line.and_then(|line| {
        let format = Format::of(&object(&line)?);
        format.ok_or_else(|| {
            "line: has the keys of no known format (reviewerID, user_id, type); \
             --format names it"
                .to_owned()
        })
    });
    format.map_err(|cause| ReadError::First {
        file: first.display().to_string(),
        cause,
    })
}

/// The next line without its end, or why there is none of it; none at the end of the file.
fn next(reader: &mut dyn BufRead) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
    let mut line = Vec::new();
    let read = reader
        .take(LINE_BYTES_MAX + 1)
        .read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Ok(line)));
    }
    if read as u64 <= LINE_BYTES_MAX {
        return Ok(Some(Ok(line)));
    }
    reader.skip_until(b'\n')?;
    Ok(Some(Err(format!(
        "line: longer than {LINE_BYTES_MAX} bytes"
    ))))
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("line: is no object".to_owned()),
        Err(error) => Err(format!("line: not JSON at column {}", error.column())),
    }
}

struct Reader<'a> {
    format: Format,
    ndjson: Ndjson<'a>,
    faults_max: u64,
    now_ms: i64,
    lines: u64,
    raw: Raw,
}

impl Reader<'_> {
    fn file(&mut self, file: &Path, meta: bool) -> Result<(), ReadError> {
        let mut reader = open(file)?;
        let mut number = 0;
        while let Some(line) = next(&mut reader).map_err(|cause| io(file, cause))? {
            number += 1;
            self.lines += 1;
            if self.lines > LINES_MAX {
                let file = file.display().to_string();
                return Err(ReadError::TooMany { file });
            }
            let taken = line.and_then(|line| match line.trim_ascii().is_empty() {
                true => Ok(()),
                false => self.line(&line, meta),
            });
            if let Err(error) = taken {
                self.fault(file, number, error)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], meta: bool) -> Result<(), String> {
        let update = match self.format {
            Format::Ndjson => (self.ndjson.parse)(line).map_err(|faults| faults.to_string())?,
            Format::Amazon(year) if meta => amazon::item(&object(line)?, year)?,
            Format::Amazon(year) => amazon::review(&object(line)?, year)?,
        };
        if self.format != Format::Ndjson && check::update(&update, self.now_ms).is_err() {
            self.raw.refused += 1;
            return Ok(());
        }
        if self.format == Format::Ndjson && update.tenant != self.ndjson.tenant {
            self.raw.other_tenants += 1;
            return Ok(());
        }
        match update.change {
            Some(Change::RecordUpsert(record)) => self.raw.records.push(Record {
                user: record.user,
                item: record.item,
                rating: record.rating,
                title: record.title,
                text: record.text,
                occurred_at_ms: record.occurred_at_ms,
            }),
            Some(Change::ItemUpsert(item)) => self.raw.items.push(Item {
                id: item.item,
                title: item.title,
                description: item.description,
            }),
            _ => return Err("type: is neither record nor item".to_owned()),
        }
        Ok(())
    }

    fn fault(&mut self, file: &Path, line: u64, error: String) -> Result<(), ReadError> {
        let file = file.display().to_string();
        let fault = Fault { file, line, error };
        self.raw.fault_count += 1;
        if self.raw.fault_count > self.faults_max {
            return Err(ReadError::Faults {
                last: fault,
                count: self.raw.fault_count,
                max: self.faults_max,
            });
        }
        if self.raw.faults.len() < FAULTS_KEPT {
            self.raw.faults.push(fault);
        }
        Ok(())
    }
}
