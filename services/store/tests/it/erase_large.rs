//! Erasures that take more than one attempt, and what stands under another's name.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context as JetStream;
use foil_proto::names::{header, stream, subject};
use foil_store::{Progress, RecordKey, StoreError};

use crate::support::{Rig, TENANT, at, update};

/// More than one attempt looks through.
const LETTERS: usize = 6_000;
/// Every so many letters one is of the erased user.
const EVERY: usize = 300;
/// Each looks through 2,048 messages, less where it removes one.
const ATTEMPTS_MAX: usize = 20;

/// A dead letter of an update that stood as `sequence` in the log, under `user`.
fn letter(user: &str, sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let original = subject::update(TENANT, user);
    headers.insert(header::DEAD_SUBJECT, original.as_str());
    headers.insert(header::DEAD_STREAM, stream::UPDATES);
    headers.insert(header::DEAD_SEQUENCE, sequence.to_string().as_str());
    headers
}

async fn count(js: &JetStream, name: &str) -> u64 {
    let stream = js.get_stream(name).await.unwrap();
    stream.cached_info().state.messages
}

async fn fill(js: &JetStream) {
    let numbers: Vec<usize> = (0..LETTERS).collect();
    for some in numbers.chunks(200) {
        let mut acks = Vec::new();
        for n in some {
            let user = if n % EVERY == 0 { "ben" } else { "mara" };
            let subject = subject::dead("embedder", TENANT);
            let payload = update(user, at(1).at_ms);
            let sent = js.publish_with_headers(subject, letter(user, 1), payload.into());
            acks.push(sent.await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }
}

/// Calls until it is finished, and gives how often.
async fn in_attempts(
    progress: &mut Progress,
    mut attempt: impl AsyncFnMut(&mut Progress) -> Result<u64, StoreError>,
) -> (usize, u64) {
    for attempts in 1..=ATTEMPTS_MAX {
        progress.allow(Duration::ZERO);
        match attempt(progress).await {
            Ok(removed) => return (attempts, removed),
            Err(StoreError::Unfinished { .. }) => (),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("unfinished after {ATTEMPTS_MAX} attempts");
}

#[tokio::test]
async fn an_attempt_goes_on_where_the_last_one_ended() {
    let rig = Rig::start().await;
    let (store, js) = (&rig.store, rig.jetstream().await);
    fill(&js).await;
    let mut progress = Progress::default();
    let (attempts, removed) = in_attempts(&mut progress, async |progress: &mut Progress| {
        let erased = store.erase_user_within(TENANT, "ben", at(20), progress);
        Ok(erased.await?.removed.dead_letters)
    })
    .await;
    assert!(attempts > 1, "nothing of this was tested");
    // All attempts together.
    let of_ben = (LETTERS / EVERY) as u64;
    assert_eq!(removed, of_ben);
    assert_eq!(count(&js, stream::DEAD).await, LETTERS as u64 - of_ben);

    // One that is done looks at nothing but what came since.
    let subject = subject::dead("embedder", TENANT);
    let payload = update("ben", at(1).at_ms);
    let sent = js.publish_with_headers(subject, letter("ben", 1), payload.into());
    sent.await.unwrap().await.unwrap();
    progress.allow(Duration::ZERO);
    let again = store.erase_user_within(TENANT, "ben", at(20), &mut progress);
    assert_eq!(again.await.unwrap().removed.dead_letters, of_ben + 1);

    let key = RecordKey::new(TENANT, "cleo", "kettle");
    let mut progress = Progress::default();
    let (attempts, removed) = in_attempts(&mut progress, async |progress: &mut Progress| {
        let erased = store.erase_record_within(&key, 1, 20, progress).await?;
        Ok(erased.map_or(0, |erased| erased.removed.dead_letters))
    })
    .await;
    assert!(attempts > 1, "nothing of this was tested");
    assert_eq!(removed, 0);
}

#[tokio::test]
async fn an_update_under_anothers_name_goes_with_its_dead_letter() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let log = async |under: &str, user: &str| {
        let payload = update(user, at(1).at_ms);
        let sent = js.publish(subject::update(TENANT, under), payload.into());
        sent.await.unwrap().await.unwrap().sequence
    };
    let dead = async |under: &str, user: &str, sequence| {
        let subject = subject::dead("embedder", TENANT);
        let payload = update(user, at(1).at_ms);
        let sent = js.publish_with_headers(subject, letter(under, sequence), payload.into());
        sent.await.unwrap().await.unwrap().sequence
    };
    // Refused, since each user's updates stand under their own name.
    let refused = log("theo", "mara").await;
    dead("theo", "mara", refused).await;
    // A letter from before a restore: another message stands in that place now.
    let own = log("theo", "theo").await;
    dead("theo", "mara", own).await;
    let stays = dead("theo", "theo", own).await;
    let erased = rig.store.erase_user(TENANT, "mara", at(20)).await.unwrap();
    assert_eq!((erased.removed.dead_letters, erased.removed.log), (2, 1));
    let updates = js.get_stream(stream::UPDATES).await.unwrap();
    assert!(updates.get_raw_message(refused).await.is_err());
    assert!(updates.get_raw_message(own).await.is_ok());
    let letters = js.get_stream(stream::DEAD).await.unwrap();
    assert!(letters.get_raw_message(stays).await.is_ok());

    // The same of one record.
    let refused = log("mara", "theo").await;
    dead("mara", "theo", refused).await;
    let key = RecordKey::new(TENANT, "theo", "kettle");
    let erased = rig.store.erase_record(&key, 1, 20).await.unwrap().unwrap();
    // Theo's own update and its letter, too.
    assert_eq!((erased.removed.dead_letters, erased.removed.log), (2, 2));
    assert!(updates.get_raw_message(refused).await.is_err());
}
