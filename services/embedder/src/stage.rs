//! From an update to the store: the only file that sees wire and domain types together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foil_proto::names::subject;
use foil_proto::{check, v1};
use foil_runtime::{Classify as _, Context, Emit, Outcome, Reason, Stage, StageError};
use foil_store::{Item, OrStage as _, RecordKey, RecordWrite, Store, Written, events};
use v1::update::Change;

use crate::config::EmbedderConfig;
use crate::embed::{EmbedError, TextEmbedder};

/// The stage.
pub struct Embedder {
    store: Store,
    embedder: Arc<dyn TextEmbedder>,
    eager: bool,
    profile_debounce: Duration,
}

impl Embedder {
    /// Over shared parts.
    pub fn new(config: &EmbedderConfig, store: Store, embedder: Arc<dyn TextEmbedder>) -> Self {
        Self {
            store,
            embedder,
            eager: config.eager,
            profile_debounce: config.profile_debounce,
        }
    }
}

impl Stage for Embedder {
    type Input = v1::Update;

    async fn handle(&self, update: v1::Update, cx: &Context) -> Result<Outcome, StageError> {
        check::update(&update, now_ms()).reject(Reason::Invalid)?;
        check_subject(&update, &cx.subject)?;
        let tenant = update.tenant;
        match update.change {
            Some(Change::RecordUpsert(record)) => self.upsert(tenant, record, cx).await,
            Some(Change::RecordDelete(delete)) => self.delete(tenant, delete, cx).await,
            Some(Change::ItemUpsert(item)) => self.item(&tenant, item).await,
            Some(Change::UserErase(erase)) => self.erase(&tenant, &erase.user, cx).await,
            Some(Change::PeerOptOut(choice)) => self.opt_out(&tenant, &choice).await,
            None => Err("change: is missing").reject(Reason::Invalid),
        }
    }
}

impl Embedder {
    async fn upsert(
        &self,
        tenant: String,
        record: v1::RecordUpsert,
        cx: &Context,
    ) -> Result<Outcome, StageError> {
        let key = RecordKey::new(&tenant, &record.user, &record.item);
        let state = self
            .store
            .user_state(&tenant, &record.user)
            .await
            .or_stage()?;
        if state.erased_sequence >= cx.stream_sequence {
            return Ok(Outcome::Skip("erased"));
        }
        let revision = match record.revision {
            0 => u64::try_from(record.occurred_at_ms).unwrap_or(0),
            revision => revision,
        };
        if let Some(there) = self.store.record(&key).await.or_stage()?
            && there.revision >= revision
        {
            let same = there.revision == revision && there.text == record.text;
            // An attempt that stored it may have died before it published.
            return match same && there.sequence == cx.stream_sequence {
                true => Ok(Outcome::Emit(self.follow_up(&key).await?)),
                false => Ok(Outcome::Skip("stale")),
            };
        }
        let vector = self.embed(record.text.clone()).await?;
        let write = RecordWrite {
            key,
            text: record.text,
            title: record.title,
            rating: record.rating,
            occurred_at_ms: record.occurred_at_ms,
            revision,
            updated_at_ms: cx.updated_at_ms(),
            sequence: cx.stream_sequence,
            vector,
        };
        // The store looks for an erasure once more after the write.
        match self.store.put_record(&write).await.or_stage()? {
            Written::Stored | Written::Same => Ok(Outcome::Emit(self.follow_up(&write.key).await?)),
            Written::Stale => Ok(Outcome::Skip("stale")),
        }
    }

    async fn embed(&self, text: String) -> Result<Vec<f32>, StageError> {
        let vectors = match self.embedder.embed(vec![text]).await {
            Ok(vectors) => vectors,
            // Full only for as long as the running batches take.
            Err(error @ EmbedError::Busy { .. }) => {
                return Err(error).retry_after(Duration::from_secs(1));
            }
            Err(error) => return Err(error).retry(),
        };
        vectors.into_iter().next().ok_or("no vector").retry()
    }

    /// The item is to be compared, and the profile of a user who is read brought up to date.
    async fn follow_up(&self, key: &RecordKey) -> Result<Vec<Emit>, StageError> {
        let mut emits = vec![select(&key.tenant, &key.item)];
        emits.extend(self.profile(&key.tenant, &key.user).await?);
        Ok(emits)
    }

    async fn profile(&self, tenant: &str, user: &str) -> Result<Option<Emit>, StageError> {
        let wanted = self.eager || {
            let active = self.store.are_active(tenant, &[user]).await;
            active.or_stage()?.contains(user)
        };
        Ok(wanted.then(|| self.profile_token(tenant, user)))
    }

    fn profile_token(&self, tenant: &str, user: &str) -> Emit {
        let work = v1::ProfileWork {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let at = SystemTime::now() + self.profile_debounce;
        Emit::new(subject::profile(tenant, user), &work)
            .scheduled(subject::profile_schedule(tenant, user), at)
    }

    async fn delete(
        &self,
        tenant: String,
        delete: v1::RecordDelete,
        cx: &Context,
    ) -> Result<Outcome, StageError> {
        let key = RecordKey::new(&tenant, &delete.user, &delete.item);
        let deleted = self
            .store
            .delete_record(&key, delete.revision, cx.stream_sequence)
            .await;
        let Some(deleted) = deleted.or_stage()? else {
            return Ok(Outcome::Skip("stale"));
        };
        let mut emits = recompare(&tenant, &deleted.recompare);
        // Whether or not anybody reads it: a profile that is there may tell of the deleted text.
        match self.store.profile(&tenant, &delete.user).await.or_stage()? {
            Some(_) => emits.push(self.profile_token(&tenant, &delete.user)),
            None => emits.extend(self.profile(&tenant, &delete.user).await?),
        }
        Ok(Outcome::Emit(emits))
    }

    async fn item(&self, tenant: &str, item: v1::ItemUpsert) -> Result<Outcome, StageError> {
        let item = Item {
            id: item.item,
            title: item.title,
            description: item.description,
            revision: item.revision,
        };
        // Who reads the item next sees it; nothing is compared anew for a changed description.
        Ok(match self.store.put_item(tenant, &item).await.or_stage()? {
            Written::Stale => Outcome::Skip("stale"),
            Written::Stored | Written::Same => Outcome::Emit(Vec::new()),
        })
    }

    async fn erase(&self, tenant: &str, user: &str, cx: &Context) -> Result<Outcome, StageError> {
        let sequence = cx.stream_sequence;
        let erased = self
            .store
            .erase_user(tenant, user, sequence)
            .await
            .or_stage()?;
        let mut emits = recompare(tenant, &erased.recompare);
        emits.push(events::user_erased(tenant, user, sequence, &erased));
        Ok(Outcome::Emit(emits))
    }

    async fn opt_out(&self, tenant: &str, choice: &v1::PeerOptOut) -> Result<Outcome, StageError> {
        let (user, revision) = (&choice.user, choice.revision);
        let choice = self
            .store
            .put_opt_out(tenant, user, choice.opted_out, revision)
            .await;
        let choice = choice.or_stage()?;
        Ok(match choice.written {
            Written::Stale => Outcome::Skip("stale"),
            Written::Stored | Written::Same => Outcome::Emit(recompare(tenant, &choice.recompare)),
        })
    }
}

/// Rights to publish are given by subject, so a message must not speak for another tenant or user.
fn check_subject(update: &v1::Update, subject: &str) -> Result<(), StageError> {
    let wanted = subject::update(&update.tenant, check::user_of(update));
    let tenant = |subject| subject::tenant_token(subject);
    if tenant(subject) != tenant(&wanted) {
        return Err("tenant: is not the subject's").reject(Reason::Invalid);
    }
    // An item belongs to no user; any user's token will do.
    let of_item = matches!(update.change, Some(Change::ItemUpsert(_)));
    if !of_item && subject != wanted {
        return Err("user: is not the subject's").reject(Reason::Invalid);
    }
    Ok(())
}

fn select(tenant: &str, item: &str) -> Emit {
    let work = v1::SelectWork {
        tenant: tenant.to_owned(),
        item: item.to_owned(),
    };
    Emit::new(subject::select(tenant, item), &work)
}

/// One select token for each item, in an order that a repeated attempt repeats.
fn recompare(tenant: &str, keys: &[RecordKey]) -> Vec<Emit> {
    let items: BTreeSet<&str> = keys.iter().map(|key| key.item.as_str()).collect();
    items.into_iter().map(|item| select(tenant, item)).collect()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
