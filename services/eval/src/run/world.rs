//! The corpus as the stages see it: records and items of the store, and what the selector, the extractor
//! and the profiler make of them, by their own code. The store and the queues are all that is left out.

use std::collections::HashMap;

use anyhow::Result;
use foil_extractor::compare::{self, Comparison};
use foil_extractor::evidence;
use foil_extractor::findings;
use foil_llm::ask::{AskError, ask};
use foil_llm::prompt::PromptFile;
use foil_llm::{BuildError, LanguageModel};
use foil_profiler::gather;
use foil_profiler::summary::{self, History};
use foil_proto::names::subject;
use foil_proto::v1;
use foil_selector::SelectorConfig;
use foil_selector::choose::{Point, representatives};
use foil_store::{Item, Record, RecordKey};
use serde::{Deserialize, Serialize};

use super::variant::Settings;
use crate::data::read::TENANT;
use crate::data::{self, Corpus};

/// Everything that stays the same throughout a run.
pub struct World<'a> {
    pub corpus: &'a Corpus,
    /// Of the corpus, in its order; vectors where they are needed.
    records: Vec<Record>,
    pub items: HashMap<String, Item>,
    difference_prompt: PromptFile,
    profile_prompt: PromptFile,
}

/// What is used of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub differences: bool,
    pub evidence: bool,
}

/// What a model was asked for ahead of a text, and what of it failed because no answer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub comparisons: usize,
    pub comparisons_failed: usize,
    pub profiles: usize,
    pub profiles_failed: usize,
}

impl Tally {
    /// Counts `other` too.
    pub fn add(&mut self, other: Self) {
        self.comparisons += other.comparisons;
        self.comparisons_failed += other.comparisons_failed;
        self.profiles += other.profiles;
        self.profiles_failed += other.profiles_failed;
    }
}

impl<'a> World<'a> {
    /// # Errors
    /// When a prompt file is none.
    pub fn new(corpus: &'a Corpus) -> Result<Self> {
        let item = |item: &data::Item| {
            let item = Item {
                id: item.id.clone(),
                title: item.title.clone(),
                description: item.description.clone(),
                revision: 1,
            };
            (item.id.clone(), item)
        };
        Ok(Self {
            corpus,
            records: corpus.records().iter().map(record).collect(),
            items: corpus.items().iter().map(item).collect(),
            difference_prompt: compare::file()?,
            profile_prompt: summary::file()?,
        })
    }

    /// Sets the vector of a record.
    pub fn set_vector(&mut self, at: usize, vector: Vec<f32>) {
        self.records[at].vector = Some(vector);
    }

    /// The vector of a record, where it is set.
    pub fn vector(&self, at: usize) -> Option<Vec<f32>> {
        self.records[at].vector.clone()
    }

    /// What a user wrote before the target, newest first, as the store gives it.
    pub fn history(&self, user: &str, target: &data::Record) -> Vec<Record> {
        let before = self.corpus.before(user, target).into_iter();
        let mut history: Vec<Record> = before.map(|at| self.records[at].clone()).collect();
        history.sort_by_key(|r| (std::cmp::Reverse(r.occurred_at_ms), r.id));
        history
    }

    /// The other users' records of an item, lowest ids first, at most `most`.
    pub fn peers(&self, own: &Record, before_ms: Option<i64>, most: usize) -> Vec<Record> {
        let all = self.corpus.of_item(&own.key.item).iter();
        let mut peers: Vec<&Record> = all
            .map(|&at| &self.records[at])
            .filter(|peer| peer.key.user != own.key.user)
            .filter(|peer| before_ms.is_none_or(|before| peer.occurred_at_ms < before))
            .collect();
        peers.sort_by_key(|peer| peer.id);
        peers.truncate(most);
        peers.into_iter().cloned().collect()
    }

    /// The record with its difference, and whether that failed because no answer of the model held.
    /// Without a model only the evidence is in it; without peers, or where it failed, there is none.
    ///
    /// # Errors
    /// When the model fails.
    pub async fn compared(
        &self,
        mut record: Record,
        peers: &[Record],
        settings: &Settings,
        used: Use,
        model: Option<&dyn LanguageModel>,
    ) -> Result<(Record, Tally)> {
        record.difference = None;
        let mut tally = Tally::default();
        let chosen = chosen(&record, peers, &settings.selector);
        if chosen.is_empty() {
            return Ok((record, tally));
        }
        let samples: Vec<_> = chosen.iter().map(compare::sample).collect();
        let all: Vec<_> = peers.iter().chain([&record]).map(compare::sample).collect();
        let evidence = evidence::compare(&compare::sample(&record), &samples, &all);
        let mut difference = v1::Difference::default();
        if let Some(model) = model.filter(|_| used.differences) {
            let comparison = Comparison {
                item: self.items.get(&record.key.item),
                representatives: &chosen,
                target: &record,
                evidence: &evidence,
            };
            tally.comparisons = 1;
            let Some(findings) = self.find(&comparison, settings, model).await? else {
                tally.comparisons_failed = 1;
                return Ok((record, tally));
            };
            difference.findings = findings;
        }
        if used.evidence {
            difference.evidence = evidence;
        }
        if !(difference.findings.is_empty() && difference.evidence.is_empty()) {
            record.difference = Some(difference);
        }
        Ok((record, tally))
    }

    async fn find(
        &self,
        comparison: &Comparison<'_>,
        settings: &Settings,
        model: &dyn LanguageModel,
    ) -> Result<Option<Vec<v1::Finding>>> {
        let config = &settings.extractor;
        let sources = comparison.sources(config);
        let request = |share| comparison.request(&self.difference_prompt, config, model, share);
        let check = |answer: &_| findings::check(answer, &config.criteria, &sources);
        held(ask(model, (config.temperature, 1), request, check).await)
    }

    /// The profile that rests on these records, newest first; none of no records, and where no answer
    /// of the model holds.
    ///
    /// # Errors
    /// When the model fails.
    pub async fn profile(
        &self,
        records: &[Record],
        settings: &Settings,
        model: &dyn LanguageModel,
    ) -> Result<(Option<v1::Profile>, Tally)> {
        let config = &settings.profiler;
        let records = &records[..records.len().min(config.records)];
        let Some(first) = records.first() else {
            return Ok((None, Tally::default()));
        };
        let evidence = gather::mean_evidence(records);
        let history = History {
            records,
            evidence: &evidence,
        };
        let criteria = history.criteria(config);
        let request = |share| history.request(&self.profile_prompt, config, model, share);
        let check = |answer: &_| summary::check(answer, &criteria);
        let summary = held(ask(model, (config.temperature, 1), request, check).await)?;
        let tally = Tally {
            profiles: 1,
            profiles_failed: usize::from(summary.is_none()),
            ..Tally::default()
        };
        let profile = summary.map(|summary| v1::Profile {
            tenant: TENANT.to_owned(),
            user: first.key.user.clone(),
            version: 1,
            summary,
            strategy: gather::strategy(records).to_owned(),
            evidence,
            provenance: None,
        });
        Ok((profile, tally))
    }
}

/// What does not hold is left out, as a dead letter leaves it out in production.
fn held<T>(answer: Result<foil_llm::Answer<T>, AskError>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer.value)),
        Err(AskError::Answer(_)) => Ok(None),
        // What an engine finds too long is left out too: the next record is shorter.
        Err(AskError::Engine(error) | AskError::Build(BuildError::Engine(error)))
            if !error.is_transient() =>
        {
            tracing::warn!(%error, "a question was not put");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The representatives of a record among its peers, as the selector picks them.
fn chosen(record: &Record, peers: &[Record], selector: &SelectorConfig) -> Vec<Record> {
    let others = peers.iter().take(selector.max_candidates.saturating_sub(1));
    let mut all: Vec<&Record> = others.chain([record]).collect();
    all.sort_by_key(|r| r.id);
    let points: Vec<Point<'_>> = all.iter().map(|&r| r.into()).collect();
    let key = subject::select(&record.key.tenant, &record.key.item);
    let chosen = representatives(&points, selector.strategy, selector.k, key.as_bytes());
    let own = all.iter().position(|r| r.id == record.id);
    let ids = own.map(|own| &chosen[own]);
    let by_id = |id: &uuid::Uuid| all.iter().find(|r| r.id == *id).map(|r| (*r).clone());
    ids.into_iter().flatten().filter_map(by_id).collect()
}

fn record(record: &data::Record) -> Record {
    let key = RecordKey::new(TENANT, &record.user, &record.item);
    Record {
        title: record.title.clone(),
        rating: record.rating,
        occurred_at_ms: record.occurred_at_ms,
        updated_at_ms: record.occurred_at_ms,
        ..Record::new(key, record.text.as_str())
    }
}
