//! Lines of the Amazon review sets, 2014 and 2023, as updates. Only the keys that are used are read.

use foil_proto::v1;
use foil_proto::v1::update::Change;
use serde_json::{Map, Value};

use super::read::TENANT;

/// Which of the two sets. They name the same things differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Year {
    /// `reviewerID`, `asin`, `reviewText`, `summary`, `overall`, `unixReviewTime` (seconds).
    Y2014,
    /// `user_id`, `parent_asin`, `text`, `title`, `rating`, `timestamp` (milliseconds).
    Y2023,
}

/// One review.
///
/// # Errors
/// What is missing or of another type, beginning with the field.
pub fn review(line: &Map<String, Value>, year: Year) -> Result<v1::Update, String> {
    let record = match year {
        Year::Y2014 => v1::RecordUpsert {
            user: text(line, "reviewerID")?,
            item: text(line, "asin")?,
            text: text(line, "reviewText")?,
            title: optional(line, "summary")?,
            rating: number(line, "overall")?,
            occurred_at_ms: whole(line, "unixReviewTime")?.saturating_mul(1_000),
            revision: 0,
        },
        Year::Y2023 => v1::RecordUpsert {
            user: text(line, "user_id")?,
            // Colours and sizes of one thing share their parent.
            item: text(line, "parent_asin").or_else(|_| text(line, "asin"))?,
            text: text(line, "text")?,
            title: optional(line, "title")?,
            rating: number(line, "rating")?,
            occurred_at_ms: whole(line, "timestamp")?,
            revision: 0,
        },
    };
    Ok(update(Change::RecordUpsert(record)))
}

/// What is known of one item.
///
/// # Errors
/// What is missing or of another type, beginning with the field.
pub fn item(line: &Map<String, Value>, year: Year) -> Result<v1::Update, String> {
    // A review names its item too, and would be taken for one without a title.
    let user = match year {
        Year::Y2014 => "reviewerID",
        Year::Y2023 => "user_id",
    };
    if line.contains_key(user) {
        return Err(format!(
            "{user}: is a review's, and items are expected here"
        ));
    }
    let id = match year {
        Year::Y2014 => text(line, "asin")?,
        Year::Y2023 => text(line, "parent_asin")?,
    };
    let description = match line.get("description") {
        // 2023: paragraphs.
        Some(Value::Array(parts)) => {
            let part = |part: &Value| part.as_str().map(str::trim).map(str::to_owned);
            let parts: Option<Vec<String>> = parts.iter().map(part).collect();
            parts
                .ok_or("description: holds what is no string")?
                .join("\n")
        }
        _ => optional(line, "description")?,
    };
    Ok(update(Change::ItemUpsert(v1::ItemUpsert {
        item: id,
        title: optional(line, "title")?,
        description,
        revision: 0,
    })))
}

fn update(change: Change) -> v1::Update {
    v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(change),
    }
}

fn text(line: &Map<String, Value>, key: &str) -> Result<String, String> {
    match line.get(key) {
        None | Some(Value::Null) => Err(format!("{key}: is missing")),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{key}: is no string")),
    }
}

fn optional(line: &Map<String, Value>, key: &str) -> Result<String, String> {
    match line.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(_) => text(line, key),
    }
}

fn number(line: &Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    match line.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{key}: is no number")),
        },
    }
}

fn whole(line: &Map<String, Value>, key: &str) -> Result<i64, String> {
    let value = line.get(key).filter(|value| !value.is_null());
    let value = value.ok_or_else(|| format!("{key}: is missing"))?;
    value
        .as_i64()
        .ok_or_else(|| format!("{key}: is no whole number"))
}
