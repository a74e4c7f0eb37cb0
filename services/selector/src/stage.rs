//! From an item to what is to be compared: the only file that sees wire and domain types together.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use foil_proto::names::{self, subject};
use foil_proto::v1;
use foil_runtime::{Classify as _, Context, Emit, Outcome, Reason, Stage, StageError};
use foil_store::{Due, MadeBy, OrStage as _, Record, Store};

use crate::config::{Compare, SelectorConfig};
use crate::plan::{Step, plan};

/// The stage.
pub struct Selector {
    store: Store,
    config: SelectorConfig,
}

impl Selector {
    /// Over a shared store.
    pub fn new(config: &SelectorConfig, store: Store) -> Self {
        let config = config.clone();
        Self { store, config }
    }
}

impl Stage for Selector {
    type Input = v1::SelectWork;

    async fn handle(&self, work: v1::SelectWork, cx: &Context) -> Result<Outcome, StageError> {
        if cx.subject != subject::select(&work.tenant, &work.item) {
            return Err("tenant, item: are not the subject's").reject(Reason::Invalid);
        }
        let (tenant, item) = (work.tenant.as_str(), work.item.as_str());
        let config = self.config.of(tenant);
        // An active user's profile is looked at with each of their updates, another one's with the
        // first request for them: neither needs this stage.
        if config.compare == Compare::None {
            return Ok(Outcome::Skip("nothing_due"));
        }
        let limit = config.max_candidates;
        let records = self.store.item_records(tenant, item, limit).await;
        let records = Arc::new(records.or_stage()?);
        let steps = steps(&config, (tenant, item), Arc::clone(&records)).await?;
        let steps = self.wanted(&config, tenant, &records, steps).await?;
        self.mark(tenant, &records, &steps).await?;
        // One token an item is kept: it stands for the updates of several users.
        let due: Vec<&Record> = steps.iter().map(|step| &records[step.record()]).collect();
        self.store.link_traces(tenant, &due, MadeBy::Update).await;
        let emits: Vec<Emit> = steps
            .into_iter()
            .map(|step| emit(&config, &records, step))
            .collect();
        Ok(match emits.is_empty() {
            true => Outcome::Skip("nothing_due"),
            false => Outcome::Emit(emits),
        })
    }
}

impl Selector {
    /// Those of users who are read, unless everybody's are compared.
    async fn wanted(
        &self,
        config: &SelectorConfig,
        tenant: &str,
        records: &[Record],
        mut steps: Vec<Step>,
    ) -> Result<Vec<Step>, StageError> {
        if config.compare == Compare::Eager || steps.is_empty() {
            return Ok(steps);
        }
        let user = |step: &Step| records[step.record()].key.user.as_str();
        let users: BTreeSet<&str> = steps.iter().map(user).collect();
        let users: Vec<&str> = users.into_iter().collect();
        let active = self.store.are_active(tenant, &users).await;
        let active: HashSet<String> = active.or_stage()?;
        steps.retain(|step| active.contains(user(step)));
        Ok(steps)
    }

    /// Before anything is emitted, so that whoever waits for a comparison sees that one is coming.
    async fn mark(
        &self,
        tenant: &str,
        records: &[Record],
        steps: &[Step],
    ) -> Result<(), StageError> {
        let marks: Vec<Due> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Alone { .. } => None,
                Step::Compare {
                    record,
                    fingerprint,
                    ..
                } => Some(Due {
                    id: records[*record].id,
                    fingerprint: fingerprint.clone(),
                }),
            })
            .collect();
        if marks.is_empty() {
            return Ok(());
        }
        let marked = self.store.mark_due(tenant, &marks).await;
        marked.or_stage()
    }
}

async fn steps(
    config: &SelectorConfig,
    (tenant, item): (&str, &str),
    records: Arc<Vec<Record>>,
) -> Result<Vec<Step>, StageError> {
    let how = (config.strategy, config.k);
    let growth = config.growth;
    // The encoded ids hold no separator, so no two items share a key.
    let key = names::subject::select(tenant, item);
    let planned = move || plan(&records, how, growth, key.as_bytes());
    tokio::task::spawn_blocking(planned).await.retry()
}

fn emit(config: &SelectorConfig, records: &[Record], step: Step) -> Emit {
    let key = &records[step.record()].key;
    let (tenant, user, item) = (&key.tenant, &key.user, &key.item);
    match step {
        Step::Compare {
            representatives,
            fingerprint,
            ..
        } => {
            let work = v1::ExtractWork {
                tenant: tenant.clone(),
                user: user.clone(),
                item: item.clone(),
                representatives: representatives.iter().map(ToString::to_string).collect(),
                selection: Some(v1::Selection {
                    strategy: config.strategy.as_str().to_owned(),
                    records: u32::try_from(records.len()).unwrap_or(u32::MAX),
                    fingerprint,
                }),
            };
            Emit::new(subject::extract(tenant, user, item), &work)
        }
        // Without peers the profile rests on the history alone.
        Step::Alone { .. } => {
            let work = v1::ProfileWork {
                tenant: tenant.clone(),
                user: user.clone(),
            };
            let at = SystemTime::now() + config.profile_debounce;
            Emit::new(subject::profile(tenant, user), &work)
                .scheduled(subject::profile_schedule(tenant, user), at)
        }
    }
}
