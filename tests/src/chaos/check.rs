//! What is stored against what must be. What is wrong is named by ids, never by a text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_nats::jetstream::message::StreamMessage;
use foil_proto::names::{header, stream};
use foil_proto::v1;
use foil_store::Record;
use prost::Message as _;
use v1::event::Kind;

use super::model::Model;
use super::updates::Key;
use crate::look::Look;

/// More than any user of a schedule has.
const RECORDS_MAX: usize = 1000;

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Not there.
    pub lost: Vec<String>,
    /// There twice.
    pub doubled: Vec<String>,
    /// There, and out of date.
    pub stale: Vec<String>,
    /// Dead letters that the driver did not cause.
    pub unexplained: Vec<String>,
    /// Differences and profiles that are there, of which no event tells. No fault: who stored one may
    /// be killed before telling, and another message of the same record or user takes its input's
    /// place meanwhile.
    pub untold: u64,
}

/// What became of the messages that could never be worked on, and of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    pub by_reason: BTreeMap<String, u64>,
}

/// Compares everything.
///
/// # Panics
/// When the store or NATS cannot be read.
pub async fn check(look: &Look, model: &Model) -> (Wrong, Dead) {
    let mut wrong = Wrong::default();
    let told = told(look).await;
    let mut stored = BTreeMap::new();
    for (tenant, user) in &model.users {
        for record in records(look, tenant, user, &mut wrong).await {
            let key = key_of(&record);
            if stored.insert(key.clone(), record).is_some() {
                wrong.doubled.push(format!("record {key:?}"));
            }
        }
    }
    check_records(model, &stored, &mut wrong);
    check_differences(model, &stored, &told, &mut wrong);
    for (tenant, user) in &model.users {
        check_profile(look, (tenant, user), &stored, &told, &mut wrong).await;
    }
    for (tenant, item) in &model.items {
        let there = look.store.count_item_records(tenant, item).await;
        let there = there.expect("the store counts");
        let keys = model.records.keys();
        let wanted = keys.filter(|key| key.tenant == *tenant && key.item == *item);
        if there > wanted.count() as u64 {
            wrong
                .doubled
                .push(format!("records of {tenant} {item}: {there}"));
        }
    }
    let dead = check_dead(look, model, &mut wrong).await;
    (wrong, dead)
}

fn key_of(record: &Record) -> Key {
    Key {
        tenant: record.key.tenant.clone(),
        user: record.key.user.clone(),
        item: record.key.item.clone(),
    }
}

async fn records(look: &Look, tenant: &str, user: &str, wrong: &mut Wrong) -> Vec<Record> {
    let records = look.store.user_records(tenant, user, RECORDS_MAX).await;
    let records = records.expect("the store lists");
    let counted = look.store.count_user_records(tenant, user).await;
    let counted = counted.expect("the store counts");
    if counted != records.len() as u64 {
        let listed = records.len();
        let problem = format!("{tenant} {user}: {counted} counted, {listed} listed");
        wrong.doubled.push(problem);
    }
    records
}

fn check_records(model: &Model, stored: &BTreeMap<Key, Record>, wrong: &mut Wrong) {
    for (key, wanted) in &model.records {
        match stored.get(key) {
            None => wrong
                .lost
                .push(format!("record {key:?}, revision {}", wanted.revision)),
            Some(there) if there.revision != wanted.revision => wrong.lost.push(format!(
                "revision {} of {key:?}: {} is there",
                wanted.revision, there.revision
            )),
            Some(there) if there.text != wanted.text => {
                wrong
                    .lost
                    .push(format!("text of {key:?}, revision {}", wanted.revision));
            }
            Some(_) => {}
        }
    }
    for key in stored.keys().filter(|key| !model.records.contains_key(key)) {
        wrong.stale.push(format!("record {key:?}: it was deleted"));
    }
}

/// Every record with peers has a difference, for its revision, that rests on records that are there.
fn check_differences(
    model: &Model,
    stored: &BTreeMap<Key, Record>,
    told: &Told,
    wrong: &mut Wrong,
) {
    let by_id: HashMap<String, &Key> = stored
        .iter()
        .map(|(key, record)| (record.id.to_string(), key))
        .collect();
    for (key, record) in stored {
        let provenance = record
            .difference
            .as_ref()
            .and_then(|d| d.provenance.as_ref());
        let Some(provenance) = provenance else {
            if model.has_peers(key) {
                wrong.lost.push(format!("difference of {key:?}"));
            }
            continue;
        };
        let revision = provenance.revision;
        if revision != record.revision {
            let newest = record.revision;
            wrong.stale.push(format!(
                "difference of {key:?}: of {revision}, not {newest}"
            ));
        }
        let mut peers = provenance.representatives.iter().map(|id| by_id.get(id));
        let is_peer = |peer: Option<&&Key>| {
            peer.is_some_and(|peer| {
                peer.tenant == key.tenant && peer.item == key.item && peer.user != key.user
            })
        };
        if provenance.representatives.is_empty() || !peers.all(is_peer) {
            wrong
                .stale
                .push(format!("difference of {key:?}: a representative is none"));
        }
        if !told.differences.contains(&(key.clone(), revision)) {
            wrong.untold += 1;
        }
    }
}

/// The profile cites what is there, all of it, with the newest differences.
async fn check_profile(
    look: &Look,
    (tenant, user): (&str, &str),
    stored: &BTreeMap<Key, Record>,
    told: &Told,
    wrong: &mut Wrong,
) {
    let profile = look.store.profile(tenant, user).await;
    let profile = profile
        .expect("the bucket is read")
        .map(|stored| stored.profile);
    let theirs = stored
        .iter()
        .filter(|(key, _)| key.tenant == tenant && key.user == user);
    let wanted: BTreeSet<_> = theirs
        .map(|(key, record)| {
            let difference = record.difference.as_ref();
            let provenance = difference.and_then(|d| d.provenance.as_ref());
            let made = provenance.map_or(0, |provenance| provenance.created_at_ms);
            (
                key.item.clone(),
                record.revision,
                difference.is_some(),
                made,
            )
        })
        .collect();
    let Some(profile) = profile else {
        if !wanted.is_empty() {
            wrong.lost.push(format!("profile of {tenant} {user}"));
        }
        return;
    };
    let provenance = profile.provenance.clone().unwrap_or_default();
    let cited: BTreeSet<_> = provenance
        .sources
        .into_iter()
        .map(|s| (s.item, s.revision, s.compared, s.difference_at_ms))
        .collect();
    if wanted.is_empty() {
        wrong
            .stale
            .push(format!("profile of {tenant} {user}: no record is left"));
    } else if cited != wanted {
        let gone: Vec<_> = cited.difference(&wanted).collect();
        let missing: Vec<_> = wanted.difference(&cited).collect();
        wrong.stale.push(format!(
            "profile of {tenant} {user}, version {}: cites {gone:?} but not {missing:?}",
            profile.version
        ));
    }
    let version = (tenant.to_owned(), user.to_owned(), profile.version);
    if !told.profiles.contains(&version) {
        wrong.untold += 1;
    }
}

/// What the events tell.
#[derive(Default)]
struct Told {
    differences: BTreeSet<(Key, u64)>,
    profiles: BTreeSet<(String, String, u64)>,
}

async fn told(look: &Look) -> Told {
    let mut told = Told::default();
    for message in all(look, stream::EVENTS).await {
        let event = v1::Event::decode(message.payload).expect("an event");
        let (tenant, user) = (event.tenant, event.user);
        match event.kind {
            Some(Kind::DifferenceStored(stored)) => {
                let item = stored.item;
                let key = Key { tenant, user, item };
                told.differences.insert((key, stored.revision));
            }
            Some(Kind::ProfileUpdated(updated)) => {
                told.profiles.insert((tenant, user, updated.version));
            }
            _ => {}
        }
    }
    told
}

/// Everything in a stream.
async fn all(look: &Look, name: &str) -> Vec<StreamMessage> {
    let stream = look
        .jetstream
        .get_stream(name)
        .await
        .expect("the stream is there");
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        messages.extend(stream.direct_get(sequence).await.ok());
    }
    let read = messages.len() as u64;
    assert_eq!(read, state.messages, "all messages of {name} are read");
    messages
}

/// Each message that could never be worked on is there once, and nothing else.
async fn check_dead(look: &Look, model: &Model, wrong: &mut Wrong) -> Dead {
    let mut dead = Dead::default();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for letter in all(look, stream::DEAD).await {
        let value = |name| letter.headers.get(name).map_or("", |value| value.as_str());
        let reason = value(header::DEAD_REASON).to_owned();
        let id = value(header::DEAD_MESSAGE_ID).to_owned();
        *dead.by_reason.entry(reason.clone()).or_default() += 1;
        if model.dead.get(&id).is_none_or(|caused| *caused != reason) {
            let (subject, error) = (value(header::DEAD_SUBJECT), value(header::DEAD_ERROR));
            wrong
                .unexplained
                .push(format!("{reason} {id} {subject}: {error}"));
        } else if !found.insert(id.clone()) {
            wrong.doubled.push(format!("dead letter {id}"));
        }
    }
    for id in model.dead.keys().filter(|id| !found.contains(*id)) {
        wrong.lost.push(format!("dead letter of {id}"));
    }
    dead
}
