//! What a request needs from the store, now or once it is there.

use std::time::Duration;

use foil_proto::v1;
use foil_store::{Store, StoreError};
use tokio::time::Instant;

use crate::bm25::Words;
use crate::config::GeneratorConfig;
use crate::history::{Sample, Topic, key_samples, of_items};
use crate::others::{self, CANDIDATES, SHARED_ITEMS};
use crate::strategy::{Contrast, Known, Strategy};
use crate::summary;

/// Most users whose profiles are looked for: those asked for lately have one.
const SIMILAR_READ: usize = 16;

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// A profile that holds differences; any for a strategy that uses none.
    pub(crate) differences: bool,
    /// This version or a newer one; 0: any.
    pub(crate) min_version: u64,
}

impl Wish {
    fn is_granted(self, strategy: Strategy, known: &Known) -> bool {
        let profile = known.profile.as_ref();
        let enough = |p: &v1::Profile| strategy == Strategy::IntSum || p.strategy == "dpl";
        let compared = !self.differences || profile.is_some_and(enough);
        let version = profile.map_or(0, |profile| profile.version);
        compared && version >= self.min_version
    }
}

/// Who is asked about, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) user: &'a str,
    pub(crate) strategy: Strategy,
}

/// The topic with what is known of its item; what the request says of it goes before.
///
/// # Errors
/// From the store.
pub(crate) async fn complete(
    store: &Store,
    tenant: &str,
    mut topic: Topic,
) -> Result<Topic, StoreError> {
    let complete = !topic.item_title.is_empty() && !topic.item_description.is_empty();
    if topic.item.is_empty() || complete {
        return Ok(topic);
    }
    if let Some(item) = store.item(tenant, &topic.item).await? {
        if topic.item_title.is_empty() {
            topic.item_title = item.title;
        }
        if topic.item_description.is_empty() {
            topic.item_description = item.description;
        }
    }
    Ok(topic)
}

/// What is known now.
///
/// # Errors
/// From the store.
pub(crate) async fn gather(
    store: &Store,
    config: &GeneratorConfig,
    question: Question<'_>,
    topic: &Topic,
) -> Result<Known, StoreError> {
    let Question { tenant, user, .. } = question;
    if question.strategy == Strategy::NonPerso {
        return Ok(Known::default());
    }
    let profile = store.profile(tenant, user).await?;
    let records = store.user_records(tenant, user, config.history_max).await?;
    let ids: Vec<&str> = records.iter().map(|r| r.key.item.as_str()).collect();
    let items = store.items(tenant, &ids).await?;
    let wanted = summary::history_needed(question.strategy, config);
    let history = records.iter().take(wanted).cloned();
    let mut known = Known {
        profile: profile.map(|stored| stored.profile),
        has_history: !records.is_empty(),
        history: of_items(history, &items),
        samples: key_samples(topic, records, &items, config.key_samples, Words::default()),
        ..Known::default()
    };
    match question.strategy {
        Strategy::Cicl => known.contrasts = contrasts(store, tenant, &known.samples).await?,
        Strategy::PersonaDb => {
            let most = config.similar_users;
            known.similar = similar(store, tenant, &known.samples, most).await?;
        }
        _ => {}
    }
    Ok(known)
}

async fn contrasts(
    store: &Store,
    tenant: &str,
    samples: &[Sample],
) -> Result<Vec<Contrast>, StoreError> {
    let mut contrasts = Vec::new();
    for (place, sample) in samples.iter().enumerate() {
        let item = &sample.record.key.item;
        let peers = store.item_records(tenant, item, CANDIDATES).await?;
        contrasts.extend(others::contrast(place, sample, &peers));
    }
    Ok(contrasts)
}

/// Summaries of the most similar users who have a profile.
async fn similar(
    store: &Store,
    tenant: &str,
    samples: &[Sample],
    most: usize,
) -> Result<Vec<String>, StoreError> {
    let shared = &samples[..samples.len().min(SHARED_ITEMS)];
    let ids: Vec<_> = shared.iter().map(|sample| sample.record.id).collect();
    let own = store.records_by_ids(tenant, &ids, true).await?;
    let mut peers = Vec::new();
    for record in &own {
        let item = &record.key.item;
        peers.extend(store.item_records(tenant, item, CANDIDATES).await?);
    }
    let mut found = Vec::new();
    for user in others::similar(&own, &peers).iter().take(SIMILAR_READ) {
        if found.len() == most {
            break;
        }
        let stored = store.profile(tenant, user).await?;
        found.extend(stored.map(|stored| stored.profile.summary));
    }
    Ok(found)
}

/// What is known once the wish is granted, or at `end`.
///
/// # Errors
/// From the store.
pub(crate) async fn await_known(
    store: &Store,
    config: &GeneratorConfig,
    question: Question<'_>,
    topic: &Topic,
    (wish, end): (Wish, Instant),
) -> Result<Known, StoreError> {
    let mut known = gather(store, config, question, topic).await?;
    let personal = matches!(question.strategy, Strategy::Dpl | Strategy::IntSum);
    while personal && !wish.is_granted(question.strategy, &known) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(config.poll.min(left)).await;
        // Only the small part is read again and again.
        let profile = store.profile(question.tenant, question.user).await?;
        known.profile = profile.map(|stored| stored.profile);
        if wish.is_granted(question.strategy, &known) {
            known = gather(store, config, question, topic).await?;
        }
    }
    Ok(known)
}

/// When to stop waiting, with `left` until the deadline.
pub(crate) fn waiting_ends(left: Duration, reserve: Duration) -> Instant {
    Instant::now() + left.saturating_sub(reserve.min(left / 2))
}
