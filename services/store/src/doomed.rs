//! Which messages of the log and of the dead letters an erasure removes.

use async_nats::jetstream::message::StreamMessage;
use foil_proto::names::{header, stream, subject};
use foil_proto::token::encode;
use foil_proto::v1::{self, update::Change};
use prost::Message as _;

use crate::model::{Erasure, RecordKey};

/// What a message must be to go.
pub(crate) enum Doomed<'a> {
    /// Any.
    All,
    /// In the log: of what was erased, user or tenant.
    Update(Erasure),
    /// In the log: a text of the record, up to the revision.
    TextOf(&'a RecordKey, u64),
    /// A dead letter of the user.
    LetterOfUser(&'a User, Erasure),
    /// A dead letter with such a text, or of the record's comparison.
    LetterOfRecord(&'a RecordKey, u64),
    /// A dead letter of the tenant.
    LetterOfTenant(Erasure),
}

/// A user, and how subjects name them.
pub(crate) struct User {
    name: String,
    /// `<t>.<u>`.
    token: String,
}

impl User {
    pub(crate) fn new(tenant: &str, user: &str) -> Self {
        Self {
            name: user.to_owned(),
            token: format!("{}.{}", encode(tenant), encode(user)),
        }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Its original subject or what it holds tells whose a letter is. An update that names another
    /// user than its subject was refused, but its text is in there.
    fn is_named_by(&self, letter: &StreamMessage) -> bool {
        let Some(original) = original(letter) else {
            return false;
        };
        let requests = subject::GENERATE_ALL.trim_end_matches('>');
        names_user(original, &self.token)
            || is_update(original) && self.is_of(&letter.payload)
            || original.starts_with(requests)
                && v1::GenerateRequest::decode(&*letter.payload).is_ok_and(|r| r.user == self.name)
    }

    fn is_of(&self, payload: &[u8]) -> bool {
        v1::Update::decode(payload).is_ok_and(|update| {
            let user = foil_proto::check::user_of(&update);
            !user.is_empty() && user == self.name
        })
    }
}

impl Doomed<'_> {
    pub(crate) fn takes(&self, message: &StreamMessage) -> bool {
        match self {
            Self::All => true,
            Self::Update(erasure) => came_before(message.sequence, &message.payload, *erasure),
            Self::TextOf(key, revision) => is_text_of(&message.payload, key, *revision),
            Self::LetterOfUser(user, erasure) => {
                user.is_named_by(message) && !came_after(message, *erasure)
            }
            Self::LetterOfRecord(key, revision) => {
                let extract = subject::extract(&key.tenant, &key.user, &key.item);
                let original = original(message);
                original == Some(&*extract)
                    || original.is_some_and(is_update)
                        && is_text_of(&message.payload, key, *revision)
            }
            Self::LetterOfTenant(erasure) => !came_after(message, *erasure),
        }
    }

    /// Where in the log the update stands whose copy this dead letter is, if it stands there under
    /// another user than the one of whom all updates go anyway.
    pub(crate) fn copied_from(&self, letter: &StreamMessage) -> Option<u64> {
        let own = match self {
            Self::LetterOfUser(user, _) => user.token.clone(),
            Self::LetterOfRecord(key, _) => User::new(&key.tenant, &key.user).token,
            _ => return None,
        };
        let original = original(letter)?;
        let from = letter.headers.get(header::DEAD_STREAM)?;
        let of_another = is_update(original) && !names_user(original, &own);
        (of_another && from.as_str() == stream::UPDATES)
            .then(|| sequence_of(letter))
            .flatten()
    }
}

fn original(letter: &StreamMessage) -> Option<&str> {
    letter
        .headers
        .get(header::DEAD_SUBJECT)
        .map(async_nats::HeaderValue::as_str)
}

/// In the stream that it is a copy from.
fn sequence_of(letter: &StreamMessage) -> Option<u64> {
    let sequence = letter.headers.get(header::DEAD_SEQUENCE)?;
    sequence.as_str().parse().ok()
}

fn is_update(subject: &str) -> bool {
    subject.starts_with(subject::UPDATE_ALL.trim_end_matches('>'))
}

/// Whether an update in the log stands before the erasing one, which stays itself, or holds a text
/// from before it, wherever it stands: such a one is refused whenever it comes.
fn came_before(sequence: u64, payload: &[u8], erasure: Erasure) -> bool {
    sequence < erasure.sequence
        || sequence > erasure.sequence && was_written_before(payload, erasure)
}

fn was_written_before(payload: &[u8], erasure: Erasure) -> bool {
    match v1::Update::decode(payload).map(|update| update.change) {
        Ok(Some(Change::RecordUpsert(record))) => record.occurred_at_ms <= erasure.at_ms,
        _ => false,
    }
}

/// Whether it keeps an update that came after the erasure and holds no text from before it: nobody
/// asked for that to go.
fn came_after(letter: &StreamMessage, erasure: Erasure) -> bool {
    original(letter).is_some_and(is_update)
        && sequence_of(letter).is_some_and(|sequence| sequence > erasure.sequence)
        && !was_written_before(&letter.payload, erasure)
}

/// Whether `foil.v1.<kind>.<t>.<u>[.<i>]` is about the user `<t>.<u>`.
fn names_user(subject: &str, token: &str) -> bool {
    let kinds = [
        subject::UPDATE_ALL,
        subject::EXTRACT_ALL,
        subject::PROFILE_ALL,
        subject::PROFILE_SCHEDULE_ALL,
    ];
    kinds.iter().any(|all| {
        let rest = subject.strip_prefix(all.trim_end_matches('>'));
        let rest = rest.and_then(|rest| rest.strip_prefix(token));
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

    fn upsert(tenant: &str, item: &str, revision: u64, occurred_at_ms: i64) -> Vec<u8> {
        let record = v1::RecordUpsert {
            user: "mara".to_owned(),
            item: item.to_owned(),
            revision,
            occurred_at_ms,
            ..v1::RecordUpsert::default()
        };
        let update = v1::Update {
            tenant: tenant.to_owned(),
            change: Some(Change::RecordUpsert(record)),
        };
        update.encode_to_vec()
    }

    #[test]
    fn a_subject_names_its_user_and_no_other() {
        let mara = User::new("acme", "mara");
        let names = |subject: String| names_user(&subject, mara.token());
        assert!(names(subject::update("acme", "mara")));
        assert!(names(subject::extract("acme", "mara", "k")));
        assert!(names(subject::profile("acme", "mara")));
        assert!(names(subject::profile_schedule("acme", "mara")));
        assert!(!names(subject::update("acme", "mara2")));
        assert!(!names(subject::update("other", "mara")));
        assert!(!names(subject::select("acme", "mara")));
    }

    #[test]
    fn a_payload_is_told_by_its_user() {
        assert!(User::new("acme", "mara").is_of(&upsert("acme", "kettle", 1, 1)));
        assert!(!User::new("acme", "theo").is_of(&upsert("acme", "kettle", 1, 1)));
        // An update of no user is nobody's.
        assert!(!User::new("acme", "").is_of(&[]));
        assert!(!User::new("acme", "mara").is_of(b"\xff"));
    }

    #[test]
    fn an_update_goes_by_its_place_or_by_its_time() {
        let erasure = Erasure {
            sequence: 20,
            at_ms: 9,
        };
        let goes = |sequence, at| came_before(sequence, &upsert("acme", "k", 1, at), erasure);
        assert!(goes(19, 10));
        assert!(!goes(20, 9), "the erasing one");
        assert!(goes(21, 9));
        assert!(goes(21, 0), "it does not say when");
        assert!(!goes(21, 10));
        assert!(came_before(19, b"\xff", erasure));
        assert!(!came_before(21, b"\xff", erasure));
    }

    #[test]
    fn a_payload_is_told_by_record_and_revision() {
        let key = RecordKey::new("acme", "mara", "kettle");
        assert!(is_text_of(&upsert("acme", "kettle", 5, 9), &key, 5));
        assert!(!is_text_of(&upsert("acme", "kettle", 6, 9), &key, 5));
        // Without a revision the time stands for it.
        assert!(is_text_of(&upsert("acme", "kettle", 0, 9), &key, 9));
        assert!(!is_text_of(&upsert("acme", "kettle", 0, 9), &key, 8));
        assert!(!is_text_of(&upsert("acme", "lamp", 5, 9), &key, 5));
        assert!(!is_text_of(&upsert("other", "kettle", 5, 9), &key, 5));
        assert!(!is_text_of(b"\xff", &key, 5));
    }
}
