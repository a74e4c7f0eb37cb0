//! From an update to the store: the only files that see wire and domain types together.

mod text;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foil_proto::names::subject;
use foil_proto::{check, token, v1};
use foil_runtime::{
    BoxError, Classify as _, Context, Decode as _, Emit, Outcome, Reason, Stage, StageError,
    tenant_of,
};
use foil_store::{
    Erasure, Item, OrStage as _, RecordKey, RecordWrite, Store, StoreError, Written, events,
};
use v1::update::Change;

use crate::config::EmbedderConfig;
use crate::embed::{EmbedError, TextEmbedder};
use crate::erasures::Erasures;
use text::Text;

/// The stage.
pub struct Embedder {
    store: Store,
    embedder: Arc<dyn TextEmbedder>,
    eager: bool,
    profile_debounce: Duration,
    erasures: Erasures,
}

impl Embedder {
    /// Over shared parts.
    pub fn new(config: &EmbedderConfig, store: Store, embedder: Arc<dyn TextEmbedder>) -> Self {
        Self {
            store,
            embedder,
            eager: config.eager,
            profile_debounce: config.profile_debounce,
            erasures: Erasures::default(),
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
            Some(Change::ItemUpsert(item)) => self.item(&tenant, item, cx).await,
            Some(Change::UserErase(erase)) => self.erase(&tenant, &erase.user, cx).await,
            Some(Change::PeerOptOut(choice)) => self.opt_out(&tenant, &choice).await,
            Some(Change::TenantErase(_)) => self.erase_tenant(&tenant, cx).await,
            None => Err("change: is missing").reject(Reason::Invalid),
        }
    }

    /// A dead letter would keep a text that was erased while it was worked on. What is about to be
    /// forgotten leaves the log too.
    async fn may_be_kept(&self, payload: &[u8], cx: &Context) -> Result<bool, BoxError> {
        let erased = match v1::Update::decode(payload.to_vec().into()) {
            Ok(update) => match Text::of(&update, cx) {
                Some(text) => text.is_erased(&self.store).await,
                None => return Ok(true),
            },
            // A text may be in there all the same.
            Err(_) => {
                let (tenant, user) = owner(&cx.subject);
                let state = self.store.user_state(&tenant, &user).await;
                state.map(|state| state.refuses(cx.stream_sequence, None))
            }
        };
        match erased {
            Ok(true) => self.store.forget_update(cx.stream_sequence).await?,
            // Under a name that cannot be stored nothing was erased.
            Ok(false) | Err(StoreError::Invalid { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        Ok(false)
    }
}

impl Embedder {
    /// The update is about what is erased: it leaves the log too.
    async fn forget(&self, cx: &Context) -> Result<Outcome, StageError> {
        self.store
            .forget_update(cx.stream_sequence)
            .await
            .or_stage()?;
        Ok(Outcome::Skip("erased"))
    }

    async fn upsert(
        &self,
        tenant: String,
        record: v1::RecordUpsert,
        cx: &Context,
    ) -> Result<Outcome, StageError> {
        let key = RecordKey::new(&tenant, &record.user, &record.item);
        let revision = check::revision_of(&record);
        let place = (cx.stream_sequence, record.occurred_at_ms);
        if self
            .store
            .is_erased(&key, revision, place)
            .await
            .or_stage()?
        {
            return self.forget(cx).await;
        }
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
            Written::Stale => {
                let erased = self.store.is_erased(&write.key, revision, place).await;
                match erased.or_stage()? {
                    true => self.forget(cx).await,
                    false => Ok(Outcome::Skip("stale")),
                }
            }
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
        let (user, revision) = (delete.user.as_str(), delete.revision);
        let key = RecordKey::new(&tenant, user, &delete.item);
        let mut progress = self.erasures.resume(cx.stream_sequence, cx.timeout);
        let erased = self
            .store
            .erase_record_within(&key, revision, cx.stream_sequence, &mut progress)
            .await;
        self.erasures.note(cx.stream_sequence, progress, &erased);
        let Some(erased) = erased.or_stage()? else {
            return Ok(Outcome::Skip("stale"));
        };
        let mut emits = self.follow_erasure(&tenant, &erased.recompare, &erased.reprofile);
        emits.extend(self.queue_again(&tenant, &erased.survivors).await?);
        // Whether or not anybody reads it: a profile that is there, or went, told of the deleted text.
        let slot = self.store.profile_slot(&tenant, user).await.or_stage()?;
        match slot.version {
            0 => emits.extend(self.profile(&tenant, user).await?),
            _ => emits.push(self.profile_token(&tenant, user)),
        }
        let sequence = cx.stream_sequence;
        emits.push(events::record_erased(&key, revision, sequence, &erased));
        Ok(Outcome::Emit(emits))
    }

    /// What rested on what is erased is made anew.
    fn follow_erasure(
        &self,
        tenant: &str,
        recompare: &[RecordKey],
        reprofile: &[String],
    ) -> Vec<Emit> {
        let mut emits = items_of(tenant, recompare);
        let profiles = reprofile
            .iter()
            .map(|user| self.profile_token(tenant, user));
        emits.extend(profiles);
        emits
    }

    /// An erasure empties queues by user, by record or by tenant, and with what it is about goes the
    /// work for records that came after it.
    async fn queue_again(
        &self,
        tenant: &str,
        survivors: &[RecordKey],
    ) -> Result<Vec<Emit>, StageError> {
        let users: BTreeSet<&str> = survivors.iter().map(|key| key.user.as_str()).collect();
        let users: Vec<&str> = users.into_iter().collect();
        let active = match self.eager {
            true => users.iter().map(|user| (*user).to_owned()).collect(),
            false => self.store.are_active(tenant, &users).await.or_stage()?,
        };
        let mut emits = items_of(tenant, survivors);
        emits.extend(active.iter().map(|user| self.profile_token(tenant, user)));
        Ok(emits.into_iter().map(Emit::anew).collect())
    }

    async fn item(
        &self,
        tenant: &str,
        item: v1::ItemUpsert,
        cx: &Context,
    ) -> Result<Outcome, StageError> {
        let sequence = cx.stream_sequence;
        let item = Item {
            id: item.item,
            title: item.title,
            description: item.description,
            revision: item.revision,
        };
        // Who reads the item next sees it; nothing is compared anew for a changed description.
        let written = self.store.put_item(tenant, &item, sequence).await;
        if written.or_stage()? != Written::Stale {
            return Ok(Outcome::Emit(Vec::new()));
        }
        let place = (item.revision, sequence);
        let erased = self.store.is_item_erased(tenant, &item.id, place).await;
        match erased.or_stage()? {
            true => self.forget(cx).await,
            false => Ok(Outcome::Skip("stale")),
        }
    }

    async fn erase(&self, tenant: &str, user: &str, cx: &Context) -> Result<Outcome, StageError> {
        let erasure = erasure(cx);
        let mut progress = self.erasures.resume(erasure.sequence, cx.timeout);
        let erased = self
            .store
            .erase_user_within(tenant, user, erasure, &mut progress)
            .await;
        self.erasures.note(erasure.sequence, progress, &erased);
        let erased = erased.or_stage()?;
        let mut emits = self.follow_erasure(tenant, &erased.recompare, &erased.reprofile);
        emits.extend(self.queue_again(tenant, &erased.survivors).await?);
        emits.push(events::user_erased(tenant, user, erasure, &erased));
        Ok(Outcome::Emit(emits))
    }

    async fn erase_tenant(&self, tenant: &str, cx: &Context) -> Result<Outcome, StageError> {
        let erasure = erasure(cx);
        let mut progress = self.erasures.resume(erasure.sequence, cx.timeout);
        let erased = self
            .store
            .erase_tenant_within(tenant, erasure, &mut progress)
            .await;
        self.erasures.note(erasure.sequence, progress, &erased);
        let erased = erased.or_stage()?;
        let mut emits = self.follow_erasure(tenant, &erased.recompare, &[]);
        emits.extend(self.queue_again(tenant, &erased.survivors).await?);
        emits.push(events::tenant_erased(tenant, erasure, &erased));
        Ok(Outcome::Emit(emits))
    }

    async fn opt_out(&self, tenant: &str, choice: &v1::PeerOptOut) -> Result<Outcome, StageError> {
        let (user, revision) = (&choice.user, choice.revision);
        let choice = self
            .store
            .put_opt_out(tenant, user, choice.opted_out, revision)
            .await;
        let choice = choice.or_stage()?;
        if choice.written == Written::Stale {
            return Ok(Outcome::Skip("stale"));
        }
        let recompare = &choice.recompare;
        let forgotten = self.store.forget_profiles_on(tenant, recompare).await;
        let (_, reprofile) = forgotten.or_stage()?;
        let emits = self.follow_erasure(tenant, recompare, &reprofile);
        Ok(Outcome::Emit(emits))
    }
}

/// Tenant and user that an update's subject names; empty where it names none.
fn owner(subject: &str) -> (String, String) {
    let user = subject
        .rsplit('.')
        .next()
        .and_then(|user| token::decode(user).ok())
        .and_then(|user| String::from_utf8(user).ok());
    (tenant_of(subject), user.unwrap_or_default())
}

fn erasure(cx: &Context) -> Erasure {
    let stored = cx.published_at.duration_since(SystemTime::UNIX_EPOCH);
    Erasure {
        sequence: cx.stream_sequence,
        at_ms: stored.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX)),
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
fn items_of(tenant: &str, keys: &[RecordKey]) -> Vec<Emit> {
    let items: BTreeSet<&str> = keys.iter().map(|key| key.item.as_str()).collect();
    items.into_iter().map(|item| select(tenant, item)).collect()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
