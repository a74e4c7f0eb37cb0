//! What a request needs from the store, now or once it is there.

use std::time::Duration;

use foil_store::{Store, StoreError};
use tokio::time::Instant;

use crate::config::GeneratorConfig;
use crate::context::{Known, Strategy};
use crate::history::{Topic, key_samples};

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// A profile that holds differences.
    pub(crate) differences: bool,
    /// This version or a newer one; 0: any.
    pub(crate) min_version: u64,
}

impl Wish {
    fn is_granted(self, known: &Known) -> bool {
        let profile = known.profile.as_ref();
        let compared = !self.differences || profile.is_some_and(|p| p.strategy == "dpl");
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
    Ok(Known {
        profile: profile.map(|stored| stored.profile),
        has_history: !records.is_empty(),
        samples: key_samples(topic, records, &items, config.key_samples),
    })
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
    while personal && !wish.is_granted(&known) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(config.poll.min(left)).await;
        // Only the small part is read again and again.
        let profile = store.profile(question.tenant, question.user).await?;
        known.profile = profile.map(|stored| stored.profile);
        if wish.is_granted(&known) {
            known = gather(store, config, question, topic).await?;
        }
    }
    Ok(known)
}

/// When to stop waiting, with `left` until the deadline.
pub(crate) fn waiting_ends(left: Duration, reserve: Duration) -> Instant {
    Instant::now() + left.saturating_sub(reserve.min(left / 2))
}
