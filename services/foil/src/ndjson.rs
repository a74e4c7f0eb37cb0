//! Updates as JSON lines.
//!
//! | type | keys beside `type` and `tenant` |
//! |---|---|
//! | `record` | `user`, `item`, `text`; `title`, `rating`, `occurred_at` or `occurred_at_ms`, `revision` |
//! | `item` | `id`; `title`, `description`, `revision` (0 when absent, so that a later edit needs one) |
//! | `record_delete` | `user`, `item`, `revision` |
//! | `user_erase` | `user` |
//! | `peer_opt_out` | `user`, `opted_out`, `revision` |
//!
//! `null` is as good as absent. A key that is not in the table is an error: a misspelt one would
//! otherwise be lost in silence.

use foil_proto::{check, v1};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Longest line, bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one line as an update. `tenant` stands in where the line names none; `now_ms`:
/// milliseconds since 1970.
///
/// # Errors
/// Every fault of the line, each beginning with the field.
pub fn parse(line: &[u8], tenant: &str, now_ms: i64) -> Result<v1::Update, check::Faults> {
    let fault = |text: String| check::Faults(vec![text]);
    let text = std::str::from_utf8(line).map_err(|e| {
        fault(format!(
            "line: invalid UTF-8 at byte {}",
            e.valid_up_to() + 1
        ))
    })?;
    let value: Value = serde_json::from_str(text).map_err(|e| fault(not_json(&e)))?;
    let Value::Object(map) = value else {
        return Err(fault(format!(
            "line: is {}, expected an object",
            kind(&value)
        )));
    };
    let mut fields = Fields {
        map,
        faults: Vec::new(),
        known: Vec::new(),
    };
    let kind = fields.required("type", Fields::string).unwrap_or_default();
    let tenant = fields.string("tenant").unwrap_or_else(|| tenant.to_owned());
    let change = fields.change(&kind);
    let update = v1::Update { tenant, change };
    let mut faults = fields.into_faults(&kind);
    // A field of the wrong type would be reported a second time as missing.
    if faults.is_empty()
        && let Err(invalid) = check::update(&update, now_ms)
    {
        faults = invalid.0;
    }
    if faults.is_empty() {
        Ok(update)
    } else {
        Err(check::Faults(faults))
    }
}

fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // "... at line 1 column 7": the line is known better than that.
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("line: not JSON: {text} at column {}", error.column())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The keys of a line, taken out one by one.
struct Fields {
    map: Map<String, Value>,
    faults: Vec<String>,
    known: Vec<&'static str>,
}

impl Fields {
    fn change(&mut self, kind: &str) -> Option<v1::update::Change> {
        use v1::update::Change;
        Some(match kind {
            "record" => Change::RecordUpsert(v1::RecordUpsert {
                user: self.required("user", Self::string).unwrap_or_default(),
                item: self.required("item", Self::string).unwrap_or_default(),
                text: self.required("text", Self::string).unwrap_or_default(),
                title: self.string("title").unwrap_or_default(),
                rating: self.number("rating"),
                occurred_at_ms: self.occurred_at(),
                revision: self.revision("revision").unwrap_or_default(),
            }),
            "item" => Change::ItemUpsert(v1::ItemUpsert {
                item: self.required("id", Self::string).unwrap_or_default(),
                title: self.string("title").unwrap_or_default(),
                description: self.string("description").unwrap_or_default(),
                revision: self.revision("revision").unwrap_or_default(),
            }),
            // Without a revision it would delete nothing, or too much.
            "record_delete" => Change::RecordDelete(v1::RecordDelete {
                user: self.required("user", Self::string).unwrap_or_default(),
                item: self.required("item", Self::string).unwrap_or_default(),
                revision: self
                    .required("revision", Self::revision)
                    .unwrap_or_default(),
            }),
            "user_erase" => Change::UserErase(v1::UserErase {
                user: self.required("user", Self::string).unwrap_or_default(),
            }),
            // Without a revision a second change of mind would be ignored.
            "peer_opt_out" => Change::PeerOptOut(v1::PeerOptOut {
                user: self.required("user", Self::string).unwrap_or_default(),
                opted_out: self
                    .required("opted_out", Self::boolean)
                    .unwrap_or_default(),
                revision: self
                    .required("revision", Self::revision)
                    .unwrap_or_default(),
            }),
            _ => return None,
        })
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn wrong<T>(&mut self, key: &str, value: &Value, expected: &str) -> Option<T> {
        self.faults
            .push(format!("{key}: is {}, expected {expected}", kind(value)));
        None
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        read: fn(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        let before = self.faults.len();
        let value = read(self, key);
        if value.is_none() && self.faults.len() == before {
            self.faults.push(format!("{key}: is missing"));
        }
        value
    }

    fn string(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => self.wrong(key, &other, "a string"),
        }
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(value) => Some(value),
            other => self.wrong(key, &other, "true or false"),
        }
    }

    fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.take(key)?;
        value
            .as_f64()
            .or_else(|| self.wrong(key, &value, "a number"))
    }

    fn revision(&mut self, key: &'static str) -> Option<u64> {
        let value = self.take(key)?;
        value
            .as_u64()
            .or_else(|| self.wrong(key, &value, "a whole number, 0 or more"))
    }

    /// Milliseconds since 1970, from either key; 0 without one.
    fn occurred_at(&mut self) -> i64 {
        let text = self.string("occurred_at");
        let number = self.take("occurred_at_ms");
        if text.is_some() && number.is_some() {
            self.faults
                .push("occurred_at: is given twice, as occurred_at_ms too".to_owned());
        }
        if let Some(value) = number {
            let ms = value
                .as_i64()
                .or_else(|| self.wrong("occurred_at_ms", &value, "a whole number"));
            return ms.unwrap_or_default();
        }
        let Some(text) = text else { return 0 };
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => time.as_millisecond(),
            Err(_) => {
                self.faults
                    .push("occurred_at: is no RFC 3339 time with its offset".to_owned());
                0
            }
        }
    }

    fn into_faults(mut self, kind: &str) -> Vec<String> {
        let known_kind = self.known.len() > 2; // more than type and tenant were asked for
        if !known_kind {
            if !kind.is_empty() {
                self.faults.push(
                    "type: is none of record, item, record_delete, user_erase, peer_opt_out"
                        .to_owned(),
                );
            }
            return self.faults;
        }
        for key in self.map.keys().take(8) {
            let key: String = key.chars().take(40).flat_map(char::escape_debug).collect();
            let known = self.known.join(", ");
            self.faults.push(format!(
                "{key}: is no key of a line of type {kind}; those are {known}"
            ));
        }
        self.faults
    }
}

/// One line of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end.
    Text(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]; skipped.
    TooLong,
}

/// Lines, one at a time, in bounded memory.
pub struct Lines<R> {
    reader: R,
    number: u64,
    bytes: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            number: 0,
            bytes: 0,
        }
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not blank, with its number from 1; none at the end.
    ///
    /// # Errors
    /// When reading fails.
    pub async fn next(&mut self) -> std::io::Result<Option<(u64, Line)>> {
        loop {
            let Some(mut line) = self.read().await? else {
                return Ok(None);
            };
            if let Line::Text(text) = &mut line {
                if self.number == 1 && text.starts_with(BYTE_ORDER_MARK) {
                    text.drain(..BYTE_ORDER_MARK.len());
                }
                if text.trim_ascii().is_empty() {
                    continue;
                }
            }
            return Ok(Some((self.number, line)));
        }
    }

    async fn read(&mut self) -> std::io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut too_long = false;
        let mut any = false;
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= text.len() + part.len() > LINE_BYTES_MAX;
            if too_long {
                text = Vec::new();
            } else {
                text.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            self.bytes += used as u64;
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(if too_long {
            Line::TooLong
        } else {
            Line::Text(text)
        }))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
