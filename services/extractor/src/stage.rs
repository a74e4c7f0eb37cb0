//! From a token to a stored difference. The only file that sees wire and domain types together.

use std::time::SystemTime;

use foil_llm::ask::model_name;
use foil_llm::prompt::{PromptError, PromptFile};
use foil_llm::{Answer, Asker};
use foil_proto::names::subject;
use foil_proto::{check, v1};
use foil_runtime::{Classify as _, Context, Emit, KeyedMutex, Outcome, Reason, Stage, StageError};
use foil_store::{MadeBy, OrStage as _, Record, RecordKey, Store, Written, events};
use uuid::Uuid;

use crate::compare::{self, Comparison, sample};
use crate::config::ExtractorConfig;
use crate::evidence::{self, Sample};
use crate::findings;
use crate::metrics;

/// Most representatives of a comparison, as in [`v1::ExtractWork`].
const REPRESENTATIVES_MAX: usize = 16;
/// The stage.
pub struct Extractor {
    config: ExtractorConfig,
    store: Store,
    asker: Asker,
    prompt: PromptFile,
    /// A record that is compared already is not compared beside that.
    turns: KeyedMutex<RecordKey>,
}

impl Stage for Extractor {
    type Input = v1::ExtractWork;

    async fn handle(&self, work: v1::ExtractWork, cx: &Context) -> Result<Outcome, StageError> {
        let (ids, selection) = checked(&work)?;
        let key = RecordKey::new(work.tenant, work.user, work.item);
        let _turn = self.turns.lock(&key).await;
        let target = self.store.record(&key).await.or_stage()?;
        let Some(target) = target else {
            return Ok(Outcome::Skip("gone"));
        };
        if is_compared(&target, &selection.fingerprint) {
            let mark = &selection.fingerprint;
            self.store.clear_due(&key, mark).await.or_stage()?;
            let mut emits = vec![self.profile_token(&key)];
            // An attempt that stored it may have died before it told of it.
            if cx.delivered > 1 {
                emits.push(stored_event(&key, target.revision));
            }
            return Ok(Outcome::Emit(emits));
        }
        let representatives = self.representatives(&key, &ids).await?;
        if representatives.is_empty() {
            let mark = &selection.fingerprint;
            self.store.clear_due(&key, mark).await.or_stage()?;
            return Ok(Outcome::Emit(vec![look_again(&key)]));
        }
        // A token stands for all that led to it; the update was one of them.
        self.store
            .link_traces(&key.tenant, &[&target], MadeBy::Update)
            .await;
        let evidence = self.evidence(&target, &representatives).await?;
        let item = self.store.item(&key.tenant, &key.item).await.or_stage()?;
        let comparison = Comparison {
            item: item.as_ref(),
            representatives: &representatives,
            target: &target,
            evidence: &evidence,
        };
        let compared = self.compare(&comparison, cx).await?;
        let provenance = v1::DifferenceProvenance {
            revision: target.revision,
            representatives: representatives.iter().map(|r| r.id.to_string()).collect(),
            selection: Some(selection),
            model: model_name(&*self.asker.model),
            prompt_version: self.prompt.version().to_owned(),
            created_at_ms: jiff::Timestamp::now().as_millisecond(),
            prompt_tokens: compared.prompt_tokens,
            completion_tokens: compared.completion_tokens,
        };
        let difference = v1::Difference {
            findings: compared.value,
            evidence,
            provenance: Some(provenance),
        };
        let written = self
            .store
            .put_difference(&key, target.revision, &difference);
        if written.await.or_stage()? == Written::Stale {
            return Ok(Outcome::Emit(vec![look_again(&key)]));
        }
        metrics::stored(&difference);
        let event = stored_event(&key, target.revision);
        Ok(Outcome::Emit(vec![self.profile_token(&key), event]))
    }
}

impl Extractor {
    pub(crate) fn new(
        config: &ExtractorConfig,
        store: Store,
        asker: Asker,
    ) -> Result<Self, PromptError> {
        Ok(Self {
            config: config.clone(),
            store,
            asker,
            prompt: compare::file()?,
            turns: KeyedMutex::default(),
        })
    }

    /// Those of the chosen that may still serve.
    async fn representatives(
        &self,
        key: &RecordKey,
        ids: &[Uuid],
    ) -> Result<Vec<Record>, StageError> {
        let found = self.store.records_by_ids(&key.tenant, ids, false).await;
        let mut found = found.or_stage()?;
        found.retain(|r| !r.opted_out && r.key.item == key.item && r.key.user != key.user);
        Ok(found)
    }

    async fn evidence(
        &self,
        target: &Record,
        representatives: &[Record],
    ) -> Result<Vec<v1::Evidence>, StageError> {
        let (tenant, item) = (&target.key.tenant, &target.key.item);
        let records = self
            .store
            .item_records(tenant, item, self.config.item_records);
        let records = records.await.or_stage()?;
        // The sample may have missed the target; its own newest text counts, once.
        let others = records.iter().filter(|r| !r.opted_out && r.id != target.id);
        let all: Vec<Sample<'_>> = others.chain([target]).map(sample).collect();
        let peers: Vec<Sample<'_>> = representatives.iter().map(sample).collect();
        Ok(evidence::compare(&sample(target), &peers, &all))
    }

    async fn compare(
        &self,
        comparison: &Comparison<'_>,
        cx: &Context,
    ) -> Result<Answer<Vec<v1::Finding>>, StageError> {
        let config = self.config.of(&comparison.target.key.tenant);
        let sources = comparison.sources(&config);
        let request = |share| comparison.request(&self.prompt, &config, &*self.asker.model, share);
        let check = |answer: &_| findings::check(answer, &config.criteria, &sources);
        self.asker.ask(cx, request, check).await
    }

    /// Later, so that the differences of a burst make one profile.
    fn profile_token(&self, key: &RecordKey) -> Emit {
        let work = v1::ProfileWork {
            tenant: key.tenant.clone(),
            user: key.user.clone(),
        };
        Emit::new(subject::profile(&key.tenant, &key.user), &work).scheduled(
            subject::profile_schedule(&key.tenant, &key.user),
            SystemTime::now() + self.config.profile_debounce,
        )
    }
}

/// The selection that this token came from is out of date: the record's text changed, or its
/// representatives went. Who removed them has the records selected anew whose difference went with
/// them, and this one had none yet; so it is selected again from here.
fn look_again(key: &RecordKey) -> Emit {
    let work = v1::SelectWork {
        tenant: key.tenant.clone(),
        item: key.item.clone(),
    };
    Emit::new(subject::select(&key.tenant, &key.item), &work)
}

fn stored_event(key: &RecordKey, revision: u64) -> Emit {
    events::difference_stored(&key.tenant, &key.user, &key.item, revision)
}

/// Ids of the representatives, and the selection, of a token that is one.
fn checked(work: &v1::ExtractWork) -> Result<(Vec<Uuid>, v1::Selection), StageError> {
    check::keys(&work.tenant, Some(&work.user), Some(&work.item)).reject(Reason::Invalid)?;
    let count = work.representatives.len();
    if count > REPRESENTATIVES_MAX {
        let problem = format!("representatives: {count}, at most {REPRESENTATIVES_MAX}");
        return Err(problem).reject(Reason::Invalid);
    }
    let ids = work.representatives.iter().map(|id| Uuid::parse_str(id));
    let ids = ids.collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|_| "representatives: holds no point id");
    let selection = work.selection.clone().ok_or("selection: is missing");
    Ok((
        ids.reject(Reason::Invalid)?,
        selection.reject(Reason::Invalid)?,
    ))
}

/// Whether this revision was compared by this selection already.
fn is_compared(record: &Record, fingerprint: &str) -> bool {
    let difference = record.difference.as_ref();
    let provenance = difference.and_then(|difference| difference.provenance.as_ref());
    provenance.is_some_and(|provenance| {
        let selection = provenance.selection.as_ref();
        provenance.revision == record.revision
            && selection.is_some_and(|selection| selection.fingerprint == fingerprint)
    })
}
