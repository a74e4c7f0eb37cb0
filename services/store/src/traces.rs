//! What erased users, records and tenants leave in streams.
//!
//! A purge forgets where messages are, but their bytes stay in the server's files until a file is
//! rewritten or removed. Deleting one message by its sequence overwrites it where it lies. So
//! whatever may hold a user's text is deleted one by one; what holds keys alone is purged.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    DeleteMessageErrorKind, PurgeErrorKind, RawMessageErrorKind, Stream,
};
use foil_proto::names::{event, header, stream, subject};
use foil_proto::token::encode;
use foil_proto::v1::{self, update::Change};
use prost::Message as _;

use crate::db::endless;
use crate::model::{Erasure, RecordKey};
use crate::{Store, StoreError};

/// Most messages of one subject filter that are looked through.
const MESSAGES_MAX: usize = 10_000_000;
/// Events of a user beside the receipts of their erasures, which stay: they hold counts alone, and
/// a repeated attempt must not remove its own.
const USER_EVENTS: [&str; 4] = [
    event::PROFILE_UPDATED,
    event::DIFFERENCE_STORED,
    event::RECORD_ERASED,
    event::DEAD,
];

impl Store {
    /// Removes an update from FOIL_UPDATES because what it is about is erased. It may come back
    /// there, as a restore publishes it again.
    ///
    /// # Errors
    /// From NATS.
    pub async fn forget_update(&self, sequence: u64) -> Result<(), StoreError> {
        let updates = self.stream(stream::UPDATES).await?;
        overwrite(&updates, sequence).await.map(drop)
    }

    /// Of the log and of its dead letters what came before the erasing message.
    pub(crate) async fn erase_traces_of_user(
        &self,
        tenant: &str,
        user: &str,
        erasure: Erasure,
    ) -> Result<v1::Removed, StoreError> {
        let of_user = format!("{}.{}", encode(tenant), encode(user));
        let updates = subject::update(tenant, user);
        let mut events = 0;
        for kind in USER_EVENTS {
            let of_kind = subject::event(kind, tenant, user);
            events += self.purge(stream::EVENTS, of_kind).await?;
        }
        Ok(v1::Removed {
            log: self
                .wipe(stream::UPDATES, updates, Some(erasure.sequence), |_| true)
                .await?,
            queued: self
                .purge_work(&[
                    (stream::EXTRACT, below(subject::EXTRACT_ALL, &of_user)),
                    (stream::PROFILE, subject::profile_schedule(tenant, user)),
                    (stream::PROFILE, subject::profile(tenant, user)),
                ])
                .await?,
            dead_letters: self
                .wipe(stream::DEAD, dead_of(tenant), None, |letter| {
                    letter_names_user(letter, user, &of_user) && !came_after(letter, erasure)
                })
                .await?,
            events,
            ..v1::Removed::default()
        })
    }

    /// Up to `revision` of the record; of the log what stands before `sequence`.
    pub(crate) async fn erase_traces_of_record(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
    ) -> Result<v1::Removed, StoreError> {
        let (tenant, user) = (key.tenant.as_str(), key.user.as_str());
        let updates = subject::update(tenant, user);
        let extract = subject::extract(tenant, user, &key.item);
        let holds = |payload: &[u8]| is_text_of(payload, key, revision);
        Ok(v1::Removed {
            log: self
                .wipe(stream::UPDATES, updates, Some(sequence), |message| {
                    holds(&message.payload)
                })
                .await?,
            queued: self
                .purge_work(&[(stream::EXTRACT, extract.clone())])
                .await?,
            dead_letters: self
                .wipe(stream::DEAD, dead_of(tenant), None, |letter| {
                    let original = original(letter);
                    original == Some(&extract)
                        || original.is_some_and(is_update) && holds(&letter.payload)
                })
                .await?,
            ..v1::Removed::default()
        })
    }

    /// Of the log and of its dead letters what came before the erasing message; of the rest everything
    /// but the tenant's receipts.
    pub(crate) async fn erase_traces_of_tenant(
        &self,
        tenant: &str,
        erasure: Erasure,
    ) -> Result<v1::Removed, StoreError> {
        let token = encode(tenant);
        let updates = below(subject::UPDATE_ALL, &token);
        let requests = below(subject::GENERATE_ALL, &token);
        let mut events = 0;
        for kind in USER_EVENTS.into_iter().chain([event::USER_ERASED]) {
            let of_kind = below(subject::EVENT_ALL, &format!("{kind}.{token}"));
            events += self.purge(stream::EVENTS, of_kind).await?;
        }
        let keys = [
            (stream::SELECT, subject::SELECT_ALL),
            (stream::EXTRACT, subject::EXTRACT_ALL),
            (stream::PROFILE, subject::PROFILE_SCHEDULE_ALL),
            (stream::PROFILE, subject::PROFILE_ALL),
        ]
        .map(|(stream, all)| (stream, below(all, &token)));
        Ok(v1::Removed {
            log: self
                .wipe(stream::UPDATES, updates, Some(erasure.sequence), |_| true)
                .await?,
            // A request may hold what its caller wrote.
            queued: self.purge_work(&keys).await?
                + self
                    .wipe(stream::GENERATE, requests, None, |_| true)
                    .await?,
            dead_letters: self
                .wipe(stream::DEAD, dead_of(tenant), None, |letter| {
                    !came_after(letter, erasure)
                })
                .await?,
            events,
            ..v1::Removed::default()
        })
    }

    /// Overwrites the messages under `filter` that stand before sequence `before` and that match.
    async fn wipe(
        &self,
        name: &'static str,
        filter: String,
        before: Option<u64>,
        matches: impl Fn(&StreamMessage) -> bool,
    ) -> Result<u64, StoreError> {
        let stream = self.stream(name).await?;
        let (mut removed, mut next) = (0, 1);
        for _ in 0..MESSAGES_MAX {
            let Some(message) =
                next_at_leader(&stream, &format!("stream {name}"), &filter, next).await?
            else {
                return Ok(removed);
            };
            if before.is_some_and(|before| message.sequence >= before) {
                return Ok(removed);
            }
            if matches(&message) {
                removed += u64::from(overwrite(&stream, message.sequence).await?);
            }
            next = message.sequence + 1;
        }
        Err(endless("wipe messages"))
    }

    async fn purge_work(&self, queues: &[(&'static str, String)]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for (stream, filter) in queues {
            removed += self.purge(stream, filter.clone()).await?;
        }
        Ok(removed)
    }

    async fn purge(&self, name: &'static str, filter: String) -> Result<u64, StoreError> {
        let stream = self.stream(name).await?;
        let answer = stream.purge().filter(filter).await;
        let answer = answer.map_err(|error| match error.kind() {
            PurgeErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                StoreError::NotProvisioned {
                    what: format!("stream {name}"),
                }
            }
            _ => unavailable("purge", &error),
        })?;
        Ok(answer.purged)
    }
}

/// The first message at or after `from` that `filter` lets through, as the stream's leader has it: a
/// replica that lags would hide what is to be removed. `what` names the stream in an error.
pub(crate) async fn next_at_leader(
    stream: &Stream<()>,
    what: &str,
    filter: &str,
    from: u64,
) -> Result<Option<StreamMessage>, StoreError> {
    match stream.get_first_raw_message_by_subject(filter, from).await {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                let what = what.to_owned();
                Err(StoreError::NotProvisioned { what })
            }
            _ => Err(unavailable("read messages", &error)),
        },
    }
}

/// Removes one message, its bytes overwritten on disk. False: it was gone already.
pub(crate) async fn overwrite(stream: &Stream<()>, sequence: u64) -> Result<bool, StoreError> {
    let deleted = stream.delete_message(sequence).await;
    let Err(error) = deleted else {
        return Ok(true);
    };
    if let DeleteMessageErrorKind::JetStream(cause) = error.kind() {
        // The server has no code of its own for this.
        let there = stream.get_raw_message(sequence).await;
        let gone = there.is_err_and(|e| e.kind() == RawMessageErrorKind::NoMessageFound);
        if gone || cause.error_code() == ErrorCode::SEQUENCE_NOT_FOUND {
            return Ok(false);
        }
    }
    Err(unavailable("delete message", &error))
}

fn unavailable(operation: &'static str, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable {
        operation,
        cause: error.to_string(),
    }
}

/// `foil.v1.kind.>` with `tokens` before the `>`.
fn below(all: &str, tokens: &str) -> String {
    all.replace('>', &format!("{tokens}.>"))
}

/// Dead letters stand under stage and tenant.
fn dead_of(tenant: &str) -> String {
    subject::DEAD_ALL.replace('>', &format!("*.{}", encode(tenant)))
}

fn original(letter: &StreamMessage) -> Option<&str> {
    letter
        .headers
        .get(header::DEAD_SUBJECT)
        .map(async_nats::HeaderValue::as_str)
}

fn is_update(subject: &str) -> bool {
    subject.starts_with(subject::UPDATE_ALL.trim_end_matches('>'))
}

/// Whether it keeps an update that came after the erasure and holds no text from before it: nobody
/// asked for that to go.
fn came_after(letter: &StreamMessage, erasure: Erasure) -> bool {
    let sequence = letter.headers.get(header::DEAD_SEQUENCE);
    let sequence = sequence.and_then(|value| value.as_str().parse::<u64>().ok());
    let written_before = || match v1::Update::decode(&*letter.payload).map(|u| u.change) {
        Ok(Some(Change::RecordUpsert(record))) => record.occurred_at_ms <= erasure.at_ms,
        _ => false,
    };
    original(letter).is_some_and(is_update)
        && sequence.is_some_and(|sequence| sequence > erasure.sequence)
        && !written_before()
}

/// Their original subject tells whose they are; a request's tells its tenant only.
fn letter_names_user(letter: &StreamMessage, user: &str, of_user: &str) -> bool {
    let Some(original) = original(letter) else {
        return false;
    };
    let requests = subject::GENERATE_ALL.trim_end_matches('>');
    names_user(original, of_user)
        || original.starts_with(requests)
            && v1::GenerateRequest::decode(&*letter.payload).is_ok_and(|r| r.user == user)
}

/// Whether `foil.v1.<kind>.<t>.<u>[.<i>]` is about the user `<t>.<u>`.
fn names_user(subject: &str, of_user: &str) -> bool {
    let kinds = [
        subject::UPDATE_ALL,
        subject::EXTRACT_ALL,
        subject::PROFILE_ALL,
        subject::PROFILE_SCHEDULE_ALL,
    ];
    kinds.iter().any(|all| {
        let rest = subject.strip_prefix(all.trim_end_matches('>'));
        let rest = rest.and_then(|rest| rest.strip_prefix(of_user));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether the payload is an update with a text of this record, up to `revision`.
fn is_text_of(payload: &[u8], key: &RecordKey, revision: u64) -> bool {
    let Ok(update) = v1::Update::decode(payload) else {
        return false;
    };
    match update.change {
        Some(Change::RecordUpsert(record)) => {
            update.tenant == key.tenant
                && record.user == key.user
                && record.item == key.item
                && foil_proto::check::revision_of(&record) <= revision
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_user_and_no_other() {
        let of_mara = format!("{}.{}", encode("acme"), encode("mara"));
        assert!(names_user(&subject::update("acme", "mara"), &of_mara));
        assert!(names_user(&subject::extract("acme", "mara", "k"), &of_mara));
        assert!(names_user(&subject::profile("acme", "mara"), &of_mara));
        assert!(names_user(
            &subject::profile_schedule("acme", "mara"),
            &of_mara
        ));
        assert!(!names_user(&subject::update("acme", "mara2"), &of_mara));
        assert!(!names_user(&subject::update("other", "mara"), &of_mara));
        assert!(!names_user(&subject::select("acme", "mara"), &of_mara));
    }

    #[test]
    fn a_payload_is_told_by_record_and_revision() {
        let key = RecordKey::new("acme", "mara", "kettle");
        let payload = |tenant: &str, item: &str, revision, at| {
            let record = v1::RecordUpsert {
                user: "mara".to_owned(),
                item: item.to_owned(),
                revision,
                occurred_at_ms: at,
                ..v1::RecordUpsert::default()
            };
            let update = v1::Update {
                tenant: tenant.to_owned(),
                change: Some(Change::RecordUpsert(record)),
            };
            update.encode_to_vec()
        };
        assert!(is_text_of(&payload("acme", "kettle", 5, 9), &key, 5));
        assert!(!is_text_of(&payload("acme", "kettle", 6, 9), &key, 5));
        // Without a revision the time stands for it.
        assert!(is_text_of(&payload("acme", "kettle", 0, 9), &key, 9));
        assert!(!is_text_of(&payload("acme", "kettle", 0, 9), &key, 8));
        assert!(!is_text_of(&payload("acme", "lamp", 5, 9), &key, 5));
        assert!(!is_text_of(&payload("other", "kettle", 5, 9), &key, 5));
        assert!(!is_text_of(b"\xff", &key, 5));
    }
}
