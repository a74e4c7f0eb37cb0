//! From a token to a stored profile. The only file that sees wire and domain types together.

use std::time::{Duration, SystemTime};

use foil_llm::ask::model_name;
use foil_llm::prompt::{PromptError, PromptFile};
use foil_llm::{Answer, Asker};
use foil_proto::names::subject;
use foil_proto::{check, v1};
use foil_runtime::{Classify as _, Context, Emit, KeyedMutex, Outcome, Reason, Stage, StageError};
use foil_store::{MadeBy, OrStage as _, ProfileSlot, Record, Store, Written, events};

use crate::config::ProfilerConfig;
use crate::gather;
use crate::metrics;
use crate::summary::{self, History};

/// Of a user whom nobody read, milliseconds: what they wrote longer than this before they were asked
/// for again waited for nobody.
const UNREAD_MS: i64 = 24 * 60 * 60 * 1_000;
/// Another version came in between: look again soon.
const STALE_DELAY: Duration = Duration::from_secs(1);

/// The stage.
pub struct Profiler {
    config: ProfilerConfig,
    store: Store,
    asker: Asker,
    prompt: PromptFile,
    /// Of one user, by tenant and user, one profile is made at a time.
    turns: KeyedMutex<(String, String)>,
}

impl Stage for Profiler {
    type Input = v1::ProfileWork;

    async fn handle(&self, work: v1::ProfileWork, cx: &Context) -> Result<Outcome, StageError> {
        check::keys(&work.tenant, Some(&work.user), None).reject(Reason::Invalid)?;
        let (tenant, user) = (work.tenant.as_str(), work.user.as_str());
        let key = (tenant.to_owned(), user.to_owned());
        let _turn = self.turns.lock(&key).await;
        // Before the records: an erasure in between then refuses the write.
        let slot = self.store.profile_slot(tenant, user).await.or_stage()?;
        let records = self.store.user_records(tenant, user, self.config.records);
        let records = records.await.or_stage()?;
        if records.is_empty() {
            return self.forget(tenant, user, &slot).await;
        }
        if let Some(wait) = self.wait(&slot, &records) {
            let later = Emit::new(subject::profile(tenant, user), &work).scheduled(
                subject::profile_schedule(tenant, user),
                SystemTime::now() + wait,
            );
            return Ok(Outcome::Emit(vec![later]));
        }
        let config = self.config.of(tenant);
        let fingerprint = self.fingerprint(&config, &records);
        if is_fresh(&slot, &fingerprint) {
            // An attempt that stored it may have died before it told of it.
            let told_again = slot.current.as_ref().filter(|_| cx.delivered > 1);
            return Ok(match told_again {
                Some(profile) => Outcome::Emit(vec![updated(profile)]),
                None => Outcome::Skip("fresh"),
            });
        }
        let compared = gather::compared_since(&records, slot.current.as_ref());
        self.store
            .link_traces(tenant, &compared, MadeBy::Comparison)
            .await;
        let evidence = gather::mean_evidence(&records);
        let summed = self.summarise(&config, &records, &evidence, cx).await?;
        let profile = self.profile(&work, &slot, &records, evidence, (summed, fingerprint));
        let written = self.store.put_profile(&profile, slot.kv_revision).await;
        match written.or_stage()? {
            Written::Stored | Written::Same => {
                let since = waiting_since(&records, slot.current.as_ref(), cx.updated_at_ms());
                metrics::stored(&profile.strategy, since, now_ms());
                Ok(Outcome::Emit(vec![updated(&profile)]))
            }
            Written::Stale => {
                Err("another version or an erasure came in between").retry_after(STALE_DELAY)
            }
        }
    }
}

impl Profiler {
    pub(crate) fn new(
        config: &ProfilerConfig,
        store: Store,
        asker: Asker,
    ) -> Result<Self, PromptError> {
        Ok(Self {
            config: config.clone(),
            store,
            asker,
            prompt: summary::file()?,
            turns: KeyedMutex::default(),
        })
    }

    /// A user whose last record was deleted has no profile either.
    async fn forget(
        &self,
        tenant: &str,
        user: &str,
        slot: &ProfileSlot,
    ) -> Result<Outcome, StageError> {
        if slot.current.is_none() {
            return Ok(Outcome::Skip("no_history"));
        }
        let deleted = self.store.delete_profile(tenant, user, slot.kv_revision);
        match deleted.await.or_stage()? {
            Written::Stored | Written::Same => Ok(Outcome::Skip("forgotten")),
            Written::Stale => Err("another version came in between").retry_after(STALE_DELAY),
        }
    }

    /// How long to wait before looking again, while comparisons are under way.
    fn wait(&self, slot: &ProfileSlot, records: &[Record]) -> Option<Duration> {
        let provenance = slot.current.as_ref().and_then(|p| p.provenance.as_ref());
        let profiled_at = provenance.map_or(0, |provenance| provenance.created_at_ms);
        let max_wait = i64::try_from(self.config.max_wait.as_millis()).unwrap_or(i64::MAX);
        let left = gather::waiting_for(records, profiled_at, now_ms(), max_wait)?;
        let left = Duration::from_millis(left.unsigned_abs());
        Some(left.min(self.config.debounce))
    }

    fn fingerprint(&self, config: &ProfilerConfig, records: &[Record]) -> String {
        let limits = (
            config.differences,
            config.texts,
            config.facts,
            config.max_tokens,
        );
        let limits = format!("{limits:?}");
        let model = model_name(&*self.asker.model);
        gather::fingerprint(records, &[&model, self.prompt.version(), &limits])
    }

    fn profile(
        &self,
        work: &v1::ProfileWork,
        slot: &ProfileSlot,
        records: &[Record],
        evidence: Vec<v1::Evidence>,
        (summed, fingerprint): (Answer<String>, String),
    ) -> v1::Profile {
        let updated_at_ms = records.iter().map(|record| record.updated_at_ms).max();
        let provenance = v1::ProfileProvenance {
            sources: gather::sources(records),
            model: model_name(&*self.asker.model),
            prompt_version: self.prompt.version().to_owned(),
            created_at_ms: now_ms(),
            updated_at_ms: updated_at_ms.unwrap_or(0),
            fingerprint,
            prompt_tokens: summed.prompt_tokens,
            completion_tokens: summed.completion_tokens,
        };
        v1::Profile {
            tenant: work.tenant.clone(),
            user: work.user.clone(),
            version: slot.version + 1,
            summary: summed.value,
            strategy: gather::strategy(records).to_owned(),
            evidence,
            provenance: Some(provenance),
        }
    }

    async fn summarise(
        &self,
        config: &ProfilerConfig,
        records: &[Record],
        evidence: &[v1::Evidence],
        cx: &Context,
    ) -> Result<Answer<String>, StageError> {
        let history = History { records, evidence };
        let criteria = history.criteria(config);
        let request = |share| history.request(&self.prompt, config, &*self.asker.model, share);
        let check = |answer: &_| summary::check(answer, &criteria);
        self.asker.ask(cx, request, check).await
    }
}

/// When the oldest update came that is behind this version and not behind `previous`, milliseconds
/// since 1970. `told_ms`, as the token has it, is the newest of those that fold into the token, and
/// another user's where they share an item. It alone counts for a first version, which may be there
/// because of a request, and where no record is new.
fn waiting_since(records: &[Record], previous: Option<&v1::Profile>, told_ms: i64) -> i64 {
    let provenance = previous.and_then(|profile| profile.provenance.as_ref());
    let known_ms = provenance.map_or(0, |provenance| provenance.updated_at_ms);
    if known_ms <= 0 {
        return told_ms;
    }
    let from_ms = known_ms.max(told_ms.saturating_sub(UNREAD_MS));
    let news = records.iter().map(|record| record.updated_at_ms);
    let news = news.filter(|at_ms| *at_ms > from_ms);
    news.fold(told_ms, i64::min)
}

fn is_fresh(slot: &ProfileSlot, fingerprint: &str) -> bool {
    let provenance = slot.current.as_ref().and_then(|p| p.provenance.as_ref());
    provenance.is_some_and(|provenance| provenance.fingerprint == fingerprint)
}

fn updated(profile: &v1::Profile) -> Emit {
    let provenance = profile.provenance.clone().unwrap_or_default();
    let compared = provenance.sources.iter().filter(|source| source.compared);
    let freshness_ms = match provenance.updated_at_ms {
        0 => 0,
        at => (now_ms() - at).max(0),
    };
    let updated = v1::ProfileUpdated {
        version: profile.version,
        strategy: profile.strategy.clone(),
        differences: u32::try_from(compared.count()).unwrap_or(u32::MAX),
        freshness_ms,
    };
    events::profile_updated(&profile.tenant, &profile.user, updated)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
