//! What a message must satisfy before any stage touches it. Pure; every fault names its field.

use crate::token::ID_BYTES_MAX;
use crate::v1;

/// Longest tenant id, bytes.
pub const TENANT_BYTES_MAX: usize = 64;
/// Longest record text, bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest title of a record or an item, bytes.
pub const TITLE_BYTES_MAX: usize = 1024;
/// Longest item description, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// Largest rating, either sign.
pub const RATING_ABS_MAX: f64 = 1e6;
/// How far ahead of our clock an `occurred_at_ms` may lie: clocks differ, time zones get mistaken.
pub const FUTURE_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// Most tokens a generation may ask for.
pub const GENERATE_TOKENS_MAX: u32 = 2048;
/// How a context can be built, as a request names it; the empty name is the configured one.
pub const STRATEGIES: [&str; 7] = [
    "dpl",
    "intsum",
    "llm-trsr",
    "cicl",
    "persona-db",
    "rag",
    "non-perso",
];

/// All that is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Faults(pub Vec<String>);

#[derive(Default)]
struct Checker(Vec<String>);

impl Checker {
    fn fault(&mut self, field: &str, problem: impl std::fmt::Display) {
        self.0.push(format!("{field}: {problem}"));
    }

    fn id(&mut self, field: &str, id: &str, max: usize) {
        if id.is_empty() {
            self.fault(field, "is missing");
        } else if id.len() > max {
            self.fault(field, format_args!("{} bytes, at most {max}", id.len()));
        }
    }

    fn size(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.fault(field, format_args!("{} bytes, at most {max}", text.len()));
        }
    }

    fn rating(&mut self, rating: Option<f64>) {
        if let Some(rating) = rating
            && !(rating.is_finite() && rating.abs() <= RATING_ABS_MAX)
        {
            self.fault(
                "rating",
                format_args!("{rating} is not a finite number within 1e6"),
            );
        }
    }

    fn finish(self) -> Result<(), Faults> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Faults(self.0))
        }
    }
}

/// Checks an update. `now_ms`: milliseconds since 1970.
///
/// # Errors
/// [`Faults`] with every fault found.
pub fn update(update: &v1::Update, now_ms: i64) -> Result<(), Faults> {
    use v1::update::Change;
    let mut c = Checker::default();
    c.id("tenant", &update.tenant, TENANT_BYTES_MAX);
    match &update.change {
        None => c.fault(
            "change",
            "is missing, or of a kind this version does not know",
        ),
        Some(Change::RecordUpsert(record)) => {
            c.id("user", &record.user, ID_BYTES_MAX);
            c.id("item", &record.item, ID_BYTES_MAX);
            if record.text.trim().is_empty() {
                c.fault("text", "is blank");
            }
            c.size("text", &record.text, TEXT_BYTES_MAX);
            c.size("title", &record.title, TITLE_BYTES_MAX);
            c.rating(record.rating);
            if record.occurred_at_ms < 0 {
                c.fault("occurred_at_ms", "lies before 1970");
            } else if record.occurred_at_ms > now_ms.saturating_add(FUTURE_MS_MAX) {
                c.fault("occurred_at_ms", "lies more than a day in the future");
            }
            if record.revision == 0 && record.occurred_at_ms == 0 {
                c.fault(
                    "revision",
                    "is missing, and there is no occurred_at_ms to stand for it",
                );
            }
        }
        Some(Change::RecordDelete(delete)) => {
            c.id("user", &delete.user, ID_BYTES_MAX);
            c.id("item", &delete.item, ID_BYTES_MAX);
        }
        Some(Change::ItemUpsert(item)) => {
            c.id("item", &item.item, ID_BYTES_MAX);
            c.size("title", &item.title, TITLE_BYTES_MAX);
            c.size("description", &item.description, DESCRIPTION_BYTES_MAX);
        }
        Some(Change::UserErase(erase)) => c.id("user", &erase.user, ID_BYTES_MAX),
        Some(Change::PeerOptOut(opt)) => c.id("user", &opt.user, ID_BYTES_MAX),
        Some(Change::TenantErase(erase)) if erase.tenant != update.tenant => {
            c.fault("tenant_erase.tenant", "is not the tenant of the update");
        }
        Some(Change::TenantErase(_)) => {}
    }
    c.finish()
}

/// The user an update is about; empty for an item and for a tenant.
pub fn user_of(update: &v1::Update) -> &str {
    use v1::update::Change;
    match &update.change {
        Some(Change::RecordUpsert(c)) => &c.user,
        Some(Change::RecordDelete(c)) => &c.user,
        Some(Change::UserErase(c)) => &c.user,
        Some(Change::PeerOptOut(c)) => &c.user,
        Some(Change::ItemUpsert(_) | Change::TenantErase(_)) | None => "",
    }
}

/// The revision of a record: its time stands in where it names none.
pub fn revision_of(record: &v1::RecordUpsert) -> u64 {
    match record.revision {
        0 => u64::try_from(record.occurred_at_ms).unwrap_or(0),
        revision => revision,
    }
}

/// Checks a generation request.
///
/// # Errors
/// [`Faults`] with every fault found.
pub fn generate(request: &v1::GenerateRequest) -> Result<(), Faults> {
    let mut c = Checker::default();
    c.id("tenant", &request.tenant, TENANT_BYTES_MAX);
    c.id("user", &request.user, ID_BYTES_MAX);
    if request.item.is_empty()
        && request.item_title.is_empty()
        && request.item_description.is_empty()
    {
        c.fault(
            "item",
            "is missing, and so are item_title and item_description",
        );
    }
    c.size("item", &request.item, ID_BYTES_MAX);
    c.size("item_title", &request.item_title, TITLE_BYTES_MAX);
    c.size(
        "item_description",
        &request.item_description,
        DESCRIPTION_BYTES_MAX,
    );
    c.size("title", &request.title, TITLE_BYTES_MAX);
    c.rating(request.rating);
    let strategy = request.strategy.as_str();
    if !strategy.is_empty() && !STRATEGIES.contains(&strategy) {
        let names = STRATEGIES.join(", ");
        c.fault("strategy", format_args!("is none of {names}"));
    }
    if request.max_tokens > GENERATE_TOKENS_MAX {
        c.fault(
            "max_tokens",
            format_args!("{}, at most {GENERATE_TOKENS_MAX}", request.max_tokens),
        );
    }
    if let Some(t) = request.temperature
        && !(0.0..=2.0).contains(&t)
    {
        c.fault("temperature", format_args!("{t} is not within 0 and 2"));
    }
    if request.deadline_ms <= 0 {
        c.fault("deadline_ms", "is missing");
    }
    c.finish()
}

/// Checks the keys of a work message.
///
/// # Errors
/// [`Faults`] with every fault found.
pub fn keys(tenant: &str, user: Option<&str>, item: Option<&str>) -> Result<(), Faults> {
    let mut c = Checker::default();
    c.id("tenant", tenant, TENANT_BYTES_MAX);
    if let Some(user) = user {
        c.id("user", user, ID_BYTES_MAX);
    }
    if let Some(item) = item {
        c.id("item", item, ID_BYTES_MAX);
    }
    c.finish()
}

#[cfg(test)]
mod tests;
