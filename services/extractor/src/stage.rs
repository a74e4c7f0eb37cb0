//! From a token to a stored difference. The only file that sees wire and domain types together.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foil_llm::prompt::{PromptError, PromptFile};
use foil_llm::{ChatRequest, Completion, EngineError, LanguageModel, collect};
use foil_proto::names::subject;
use foil_proto::{check, v1};
use foil_runtime::{BoxError, Classify as _, Context, Emit, Outcome, Reason, Stage, StageError};
use foil_store::{Record, RecordKey, Store, StoreError, Written, events};
use uuid::Uuid;

use crate::compare::{BuildError, Comparison, sample};
use crate::config::ExtractorConfig;
use crate::evidence::{self, Sample};
use crate::findings;
use crate::flights::Flights;
use crate::outage::ModelHealth;

/// Most representatives of a comparison, as in [`v1::ExtractWork`].
const REPRESENTATIVES_MAX: usize = 16;
/// Tries with one input before it is given back.
const TRIES: u64 = 2;
/// The second try's temperature, at least: the first one's answer would only come again.
const WARM: f32 = 0.7;
const BUSY_DELAY: Duration = Duration::from_secs(3);

/// The stage.
pub struct Extractor {
    config: ExtractorConfig,
    store: Store,
    model: Arc<dyn LanguageModel>,
    health: ModelHealth,
    prompt: PromptFile,
    flights: Flights,
}

/// What a model's answers gave.
struct Compared {
    findings: Vec<v1::Finding>,
    prompt_tokens: u32,
    completion_tokens: u32,
}

impl Stage for Extractor {
    type Input = v1::ExtractWork;

    async fn handle(&self, work: v1::ExtractWork, cx: &Context) -> Result<Outcome, StageError> {
        let (ids, selection) = checked(&work)?;
        let key = RecordKey::new(work.tenant, work.user, work.item);
        let _turn = self.flights.board(&key).await;
        let target = self.store.record(&key).await.or_stage()?;
        let Some(target) = target else {
            return Ok(Outcome::Skip("gone"));
        };
        if is_compared(&target, &selection.fingerprint) {
            let mark = &selection.fingerprint;
            self.store.clear_due(&key, mark).await.or_stage()?;
            return Ok(Outcome::Emit(vec![self.profile_token(&key)]));
        }
        let representatives = self.representatives(&key, &ids).await?;
        if representatives.is_empty() {
            let mark = &selection.fingerprint;
            self.store.clear_due(&key, mark).await.or_stage()?;
            return Ok(Outcome::Skip("no_peers"));
        }
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
            model: model_name(&*self.model),
            prompt_version: self.prompt.version().to_owned(),
            created_at_ms: jiff::Timestamp::now().as_millisecond(),
            prompt_tokens: compared.prompt_tokens,
            completion_tokens: compared.completion_tokens,
        };
        let difference = v1::Difference {
            findings: compared.findings,
            evidence,
            provenance: Some(provenance),
        };
        let written = self
            .store
            .put_difference(&key, target.revision, &difference);
        if written.await.or_stage()? == Written::Stale {
            return Ok(Outcome::Skip("stale"));
        }
        let event = events::difference_stored(&key.tenant, &key.user, &key.item, target.revision);
        Ok(Outcome::Emit(vec![self.profile_token(&key), event]))
    }
}

impl Extractor {
    pub(crate) fn new(
        config: &ExtractorConfig,
        store: Store,
        model: Arc<dyn LanguageModel>,
        health: ModelHealth,
    ) -> Result<Self, PromptError> {
        Ok(Self {
            config: config.clone(),
            store,
            model,
            health,
            prompt: PromptFile::parse(include_str!("../prompts/difference.v1.md"))?,
            flights: Flights::default(),
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

    /// Asks the model until its answer holds.
    async fn compare(
        &self,
        comparison: &Comparison<'_>,
        cx: &Context,
    ) -> Result<Compared, StageError> {
        let peers: Vec<&str> = comparison
            .representatives
            .iter()
            .flat_map(|r| [r.text.as_str(), r.title.as_str()])
            .collect();
        let (mut prompt_tokens, mut completion_tokens) = (0, 0);
        let mut problem = None;
        for attempt in 0..TRIES {
            let completion = self.ask(comparison, cx.delivered, attempt).await?;
            prompt_tokens += completion.usage.prompt_tokens;
            completion_tokens += completion.usage.completion_tokens;
            match findings::check(&completion, &self.config.criteria, &peers) {
                Ok(findings) => {
                    return Ok(Compared {
                        findings,
                        prompt_tokens,
                        completion_tokens,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, attempt, "the model's answer cannot be used");
                    problem = Some(error);
                }
            }
        }
        let problem = problem.map_or_else(|| "no answer".into(), BoxError::from);
        if cx.last_attempt {
            Err(problem).reject(Reason::BadOutput)
        } else {
            Err(problem).retry()
        }
    }

    /// One answer. A prompt that the engine finds too long after all is trimmed once more.
    async fn ask(
        &self,
        comparison: &Comparison<'_>,
        delivered: u64,
        attempt: u64,
    ) -> Result<Completion, StageError> {
        let mut result = Err(EngineError::Invalid("no prompt was tried".to_owned()));
        for share in [1.0, 0.6] {
            let request = comparison.request(&self.prompt, &self.config, &*self.model, share);
            let mut request = request.map_err(|error| self.build_error(error))?;
            request.seed = (delivered << 8) + attempt;
            let first = delivered == 1 && attempt == 0;
            let temperature = self.config.temperature;
            request.temperature = if first {
                temperature
            } else {
                temperature.max(WARM)
            };
            result = self.answer(request).await;
            if !matches!(result, Err(EngineError::PromptTooLong { .. })) {
                break;
            }
        }
        result.map_err(|error| self.engine_error(error))
    }

    async fn answer(&self, request: ChatRequest) -> Result<Completion, EngineError> {
        collect(self.model.chat(request).await?).await
    }

    fn engine_error(&self, error: EngineError) -> StageError {
        self.health.note(&error);
        match error {
            EngineError::Busy { .. } => StageError::Retry {
                after: Some(BUSY_DELAY),
                cause: error.into(),
            },
            EngineError::Load { .. } => StageError::Fatal {
                cause: error.into(),
            },
            _ if error.is_transient() => StageError::Retry {
                after: Some(self.config.outage_delay),
                cause: error.into(),
            },
            _ => StageError::Reject {
                reason: Reason::Invalid,
                cause: error.into(),
            },
        }
    }

    fn build_error(&self, error: BuildError) -> StageError {
        match error {
            BuildError::Engine(error) => self.engine_error(error),
            // The prompt is a part of the program.
            BuildError::Prompt(error) => StageError::Fatal {
                cause: error.into(),
            },
        }
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

fn model_name(model: &dyn LanguageModel) -> String {
    let info = model.info();
    format!("{}/{}", info.provider, info.model)
}

/// The store's usual verdicts.
trait OrStage<T> {
    fn or_stage(self) -> Result<T, StageError>;
}

impl<T> OrStage<T> for Result<T, StoreError> {
    fn or_stage(self) -> Result<T, StageError> {
        self.map_err(StoreError::into_stage)
    }
}
