//! What a dead letter's message holds. For people users' text is cut short, enough to see why it
//! failed; as JSON every value is the message's own.

use foil_proto::v1;
use foil_proto::v1::update::Change;
use prost::Message;
use serde_json::Value;

use crate::commands::status::table::shortened;
use crate::render;

/// Characters of a text or a description.
const TEXT_CHARACTERS: usize = 80;

/// What a value is, for a person.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    /// A user's text.
    Text,
    /// Milliseconds since 1970, or a revision, which may be such a time.
    Time,
}

/// Names and values, in order.
#[derive(Debug, Default)]
pub struct Fields(Vec<(&'static str, Kind, Value)>);

impl Fields {
    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, Kind::Plain, value.into()));
        self
    }

    fn text(mut self, name: &'static str, text: String) -> Self {
        self.0.push((name, Kind::Text, text.into()));
        self
    }

    fn time(mut self, name: &'static str, ms: impl Into<Value>) -> Self {
        self.0.push((name, Kind::Time, ms.into()));
        self
    }

    /// For people.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, String)> {
        let shown = |(name, kind, value): &(_, Kind, Value)| (*name, shown(*kind, value));
        self.0.iter().map(shown)
    }

    pub fn into_json(self) -> Value {
        let pairs = self.0.into_iter();
        pairs
            .map(|(name, _, value)| (name.to_owned(), value))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn shown(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Text, Value::String(text)) => {
            let bytes = text.len();
            format!("{} ({bytes} bytes)", shortened(text, TEXT_CHARACTERS))
        }
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => "none".to_owned(),
        (Kind::Time, value) => value.as_u64().map_or(value.to_string(), render::revision),
        (_, value) => value.to_string(),
    }
}

/// Decodes by the original subject.
///
/// # Errors
/// Says what does not decode.
pub fn fields(subject: &str, payload: &[u8]) -> Result<Fields, String> {
    match subject.split('.').nth(2) {
        Some("update") => decode(payload).map(update),
        Some("select") => decode(payload)
            .map(|work: v1::SelectWork| keys("select", &work.tenant).with("item", work.item)),
        Some("extract") => decode(payload).map(|work: v1::ExtractWork| {
            keys("extract", &work.tenant)
                .with("user", work.user)
                .with("item", work.item)
                .with("representatives", work.representatives.len())
        }),
        Some("profile") => decode(payload)
            .map(|work: v1::ProfileWork| keys("profile", &work.tenant).with("user", work.user)),
        Some("generate") => decode(payload).map(generate),
        _ => Err("is of no kind that this version knows".to_owned()),
    }
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, String> {
    M::decode(payload).map_err(|error| format!("does not decode: {error}"))
}

fn keys(kind: &'static str, tenant: &str) -> Fields {
    Fields::default().with("kind", kind).with("tenant", tenant)
}

fn update(update: v1::Update) -> Fields {
    let tenant = &update.tenant;
    match update.change {
        None => keys("unknown", tenant),
        Some(Change::RecordUpsert(record)) => keys("record", tenant)
            .with("user", record.user)
            .with("item", record.item)
            .text("title", record.title)
            .with("rating", record.rating)
            .time("occurred_at_ms", record.occurred_at_ms)
            .time("revision", record.revision)
            .text("text", record.text),
        Some(Change::RecordDelete(delete)) => keys("record_delete", tenant)
            .with("user", delete.user)
            .with("item", delete.item)
            .time("revision", delete.revision),
        Some(Change::ItemUpsert(item)) => keys("item", tenant)
            .with("item", item.item)
            .time("revision", item.revision)
            .text("title", item.title)
            .text("description", item.description),
        Some(Change::UserErase(erase)) => keys("user_erase", tenant).with("user", erase.user),
        Some(Change::TenantErase(_)) => keys("tenant_erase", tenant),
        Some(Change::PeerOptOut(choice)) => keys("peer_opt_out", tenant)
            .with("user", choice.user)
            .with("opted_out", choice.opted_out)
            .time("revision", choice.revision),
    }
}

fn generate(request: v1::GenerateRequest) -> Fields {
    keys("generate", &request.tenant)
        .with("user", request.user)
        .with("item", request.item)
        .text("item_title", request.item_title)
        .text("title", request.title)
        .with("strategy", request.strategy)
        .with("max_tokens", request.max_tokens)
        .time("deadline_ms", request.deadline_ms)
}
