//! The updates of a run: bursts, edits, deletes, duplicates, revisions out of order, and messages that
//! never can be worked on.

use std::collections::BTreeMap;
use std::time::Duration;

use foil_proto::names::subject;
use foil_proto::v1::{self, update::Change as Wire};
use prost::Message as _;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::schedule::Options;

/// When the first of the texts was written: milliseconds since 1970.
const WRITTEN_AT_MS: i64 = 1_760_000_000_000;
const WORDS: [&str; 32] = [
    "the", "a", "this", "quiet", "loud", "bright", "dull", "cheap", "dear", "old", "new", "kettle",
    "chair", "film", "room", "garden", "works", "breaks", "shines", "leaks", "hums", "and", "but",
    "never", "always", "again", "I", "we", "loved", "regret", "kept", "returned",
];

/// A place for a text: tenant, user, item. Ids of users and items are shared by the tenants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub tenant: String,
    pub user: String,
    pub item: String,
}

/// What an update does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Upsert {
        revision: u64,
        text: String,
    },
    Delete {
        revision: u64,
    },
    /// It must become a dead letter with this reason.
    Bad {
        payload: Vec<u8>,
        reason: &'static str,
    },
}

/// One publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// From the start.
    pub at: Duration,
    /// `Nats-Msg-Id`.
    pub message_id: String,
    pub key: Key,
    pub change: Change,
}

impl Update {
    /// The subject it is published to.
    pub fn subject(&self) -> String {
        subject::update(&self.key.tenant, &self.key.user)
    }

    /// The message.
    pub fn payload(&self) -> Vec<u8> {
        let Key { tenant, user, item } = self.key.clone();
        let change = match &self.change {
            Change::Bad { payload, .. } => return payload.clone(),
            Change::Delete { revision } => Wire::RecordDelete(v1::RecordDelete {
                user,
                item,
                revision: *revision,
            }),
            Change::Upsert { revision, text } => Wire::RecordUpsert(v1::RecordUpsert {
                user,
                item,
                text: text.clone(),
                title: String::new(),
                rating: Some((*revision % 5) as f64 + 1.0),
                occurred_at_ms: WRITTEN_AT_MS + i64::try_from(*revision).unwrap_or(0),
                revision: *revision,
            }),
        };
        let change = Some(change);
        v1::Update { tenant, change }.encode_to_vec()
    }
}

/// The updates of a run, by time.
pub(super) fn draw(rng: &mut ChaCha8Rng, options: &Options, length: Duration) -> Vec<Update> {
    let mut drawn = Drawn {
        options,
        updates: Vec::new(),
        newest: BTreeMap::new(),
    };
    // Bursts in the order of their time, so that edits come after what they edit; about as many as
    // will be needed, and the rest of the updates with the last.
    let bursts = (options.updates / 20).max(1);
    let mut starts: Vec<Duration> = (0..bursts)
        .map(|_| length.mul_f64(rng.random::<f64>()))
        .collect();
    starts.sort();
    let mut starts = starts.into_iter();
    let mut at = Duration::ZERO;
    while drawn.updates.len() < options.updates {
        at = starts.next().unwrap_or(at);
        drawn.burst(rng, at);
    }
    drawn.updates.truncate(options.updates);
    drawn.updates.sort_by_key(|update| update.at);
    drawn.updates
}

struct Drawn<'a> {
    options: &'a Options,
    updates: Vec<Update>,
    /// Revision of each record so far, and whether it is there.
    newest: BTreeMap<Key, (u64, bool)>,
}

impl Drawn<'_> {
    /// Several updates at once: of an item, of a user, of one record, or of anybody.
    fn burst(&mut self, rng: &mut ChaCha8Rng, at: Duration) {
        let (user, item) = (self.user(rng), self.item(rng));
        let kind = rng.random_range(0..4);
        let size = match kind {
            0 => rng.random_range(10..40),
            1 => rng.random_range(5..20),
            2 => rng.random_range(3..10),
            _ => rng.random_range(5..25),
        };
        for _ in 0..size {
            let (user, item) = match kind {
                0 => (self.user(rng), item),
                1 => (user, self.item(rng)),
                2 => (user, item),
                _ => (self.user(rng), self.item(rng)),
            };
            let at = at + Duration::from_millis(rng.random_range(0..1_500));
            self.one(rng, at, user, item);
        }
    }

    /// A few users write most.
    fn user(&self, rng: &mut ChaCha8Rng) -> usize {
        (self.options.users as f64 * rng.random::<f64>().powf(1.5)) as usize
    }

    /// A few items are much written about, others by one user or two.
    fn item(&self, rng: &mut ChaCha8Rng) -> usize {
        (self.options.items as f64 * rng.random::<f64>().powi(2)) as usize
    }

    fn one(&mut self, rng: &mut ChaCha8Rng, at: Duration, user: usize, item: usize) {
        let tenant = if user.is_multiple_of(4) {
            "south"
        } else {
            "north"
        };
        let key = Key {
            tenant: tenant.to_owned(),
            // As odd as ids may be.
            user: format!("user {user}@example.org"),
            item: format!("item/{item}"),
        };
        if rng.random_range(0..100) == 0 {
            let change = bad(rng, &key);
            self.push(at, key, change);
            return;
        }
        let (revision, there) = self.newest.get(&key).copied().unwrap_or((0, false));
        let change = match there && rng.random_range(0..100) < 9 {
            true => Change::Delete { revision },
            false => Change::Upsert {
                revision: revision + 1,
                text: text(rng, &key, revision + 1),
            },
        };
        let newest = match change {
            Change::Upsert { revision, .. } => (revision, true),
            _ => (revision, false),
        };
        self.newest.insert(key.clone(), newest);
        // Some come late, after newer ones of the same record.
        let late = match rng.random_range(0..100) {
            0..12 => Duration::from_millis(rng.random_range(0..8_000)),
            _ => Duration::ZERO,
        };
        let number = self.push(at + late, key, change);
        self.repeat(rng, number);
    }

    fn push(&mut self, at: Duration, key: Key, change: Change) -> usize {
        let number = self.updates.len();
        self.updates.push(Update {
            at,
            message_id: format!("u{number}"),
            key,
            change,
        });
        number
    }

    /// Some are published twice: with the same id, which NATS drops, or with another one, which the
    /// store has to see.
    fn repeat(&mut self, rng: &mut ChaCha8Rng, number: usize) {
        let kind = rng.random_range(0..100);
        if kind >= 14 {
            return;
        }
        let mut again = self.updates[number].clone();
        again.at += Duration::from_millis(rng.random_range(0..10_000));
        if kind < 6 {
            again.message_id += "-again";
        }
        self.updates.push(again);
    }
}

/// Words at random, and whose they are.
pub(crate) fn text(rng: &mut ChaCha8Rng, key: &Key, revision: u64) -> String {
    let words = rng.random_range(6..40);
    let words: Vec<&str> = (0..words)
        .map(|_| WORDS[rng.random_range(0..WORDS.len())])
        .collect();
    let Key { tenant, user, item } = key;
    format!("{} ({tenant} {user} {item} {revision}).", words.join(" "))
}

/// A message that no attempt will make good.
fn bad(rng: &mut ChaCha8Rng, key: &Key) -> Change {
    let upsert = |tenant: &str, text: &str| {
        let change = Wire::RecordUpsert(v1::RecordUpsert {
            user: key.user.clone(),
            item: key.item.clone(),
            text: text.to_owned(),
            occurred_at_ms: WRITTEN_AT_MS,
            revision: 1_000_000,
            ..v1::RecordUpsert::default()
        });
        let tenant = tenant.to_owned();
        let change = Some(change);
        v1::Update { tenant, change }.encode_to_vec()
    };
    let (payload, reason) = match rng.random_range(0..3) {
        0 => (vec![0xff, 0xff, 0xff, 0xff], "undecodable"),
        1 => (upsert(&key.tenant, " \n\t "), "invalid"),
        _ => (upsert("elsewhere", "A text for another tenant."), "invalid"),
    };
    Change::Bad { payload, reason }
}
