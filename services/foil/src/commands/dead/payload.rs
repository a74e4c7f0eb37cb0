//! What a dead letter's message holds, with users' text cut short: enough to see why it failed.

use foil_proto::v1;
use foil_proto::v1::update::Change;
use prost::Message;

use crate::commands::status::table::shortened;

/// Characters of a text or a description.
const TEXT_CHARACTERS: usize = 80;

/// Names and values, in order.
#[derive(Debug, Default)]
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    fn text(self, name: &'static str, text: &str) -> Self {
        let bytes = text.len();
        self.with(
            name,
            format!("{} ({bytes} bytes)", shortened(text, TEXT_CHARACTERS)),
        )
    }

    pub fn list(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub fn into_json(self) -> serde_json::Value {
        let pairs = self.0.into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
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
            .text("title", &record.title)
            .with(
                "rating",
                record.rating.map_or("none".to_owned(), |r| r.to_string()),
            )
            .with("occurred_at_ms", record.occurred_at_ms)
            .with("revision", record.revision)
            .text("text", &record.text),
        Some(Change::RecordDelete(delete)) => keys("record_delete", tenant)
            .with("user", delete.user)
            .with("item", delete.item)
            .with("revision", delete.revision),
        Some(Change::ItemUpsert(item)) => keys("item", tenant)
            .with("item", item.item)
            .with("revision", item.revision)
            .text("title", &item.title)
            .text("description", &item.description),
        Some(Change::UserErase(erase)) => keys("user_erase", tenant).with("user", erase.user),
        Some(Change::PeerOptOut(choice)) => keys("peer_opt_out", tenant)
            .with("user", choice.user)
            .with("opted_out", choice.opted_out)
            .with("revision", choice.revision),
    }
}

fn generate(request: v1::GenerateRequest) -> Fields {
    keys("generate", &request.tenant)
        .with("user", request.user)
        .with("item", request.item)
        .text("item_title", &request.item_title)
        .text("title", &request.title)
        .with("strategy", request.strategy)
        .with("max_tokens", request.max_tokens)
        .with("deadline_ms", request.deadline_ms)
}
