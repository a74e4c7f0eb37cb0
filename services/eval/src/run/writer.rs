//! One text: what is known, the context, the answer, and what all of it cost.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use foil_generator::bm25::Words;
use foil_generator::context::Material;
use foil_generator::guard::{Guard, GuardError};
use foil_generator::history::{Sample, Topic, key_samples, of_items};
use foil_generator::others::{self, CANDIDATES, SHARED_ITEMS};
use foil_generator::prompt::{self, ComposeError, Task};
use foil_generator::strategy::Contrast;
use foil_generator::{Known, Strategy, Summary, summary};
use foil_llm::prompt::PromptFile;
use foil_llm::{ChatRequest, EngineError, Finish, LanguageModel, Role, collect};
use foil_store::Record;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cache::{Cache, Cost, Meter};
use super::engine::refuses;
use super::variant::{Settings, Variant};
use super::world::{Tally, Use, World};
use crate::data::Target;

/// What a text cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// When the text is asked for.
    pub request: Cost,
    /// Before that, when updates arrive: differences and profiles, which every later text shares.
    pub ahead: Cost,
}

/// How a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// By the model.
    Stop,
    /// For want of tokens.
    Length,
    /// Every try repeated another user's text: there is none.
    Repeats,
    /// The engine refused the question, as one that is too long: there is no text.
    Refused,
}

/// A text with what it rests on.
#[derive(Clone, Debug)]
pub struct Written {
    /// What could be had, and why it is less than what was asked for.
    pub used: &'static str,
    pub degraded: &'static str,
    /// As a caller gets it.
    pub context: String,
    /// Who speaks and what, as the model got it.
    pub prompt: Vec<(String, String)>,
    pub output: String,
    pub ended: Ended,
    /// Why, where the engine refused.
    pub refusal: Option<String>,
    pub tally: Tally,
    pub cost: Costs,
}

/// What the model was asked for a text, and what it wrote.
struct Text {
    prompt: Vec<(String, String)>,
    output: String,
    ended: Ended,
}

/// A target as the generator is asked about it.
pub struct Case<'a> {
    pub target: &'a Target<'a>,
    pub topic: Topic,
    /// Newest first.
    pub history: Vec<Record>,
    /// Peers written at this time or later are not used.
    pub before_ms: Option<i64>,
}

/// Writes texts.
pub struct Writer<'a> {
    pub world: &'a World<'a>,
    pub cache: &'a Arc<Cache>,
    pub seed: u64,
    prompt: PromptFile,
    summary_prompt: PromptFile,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// When a prompt file is none.
    pub fn new(world: &'a World<'a>, cache: &'a Arc<Cache>, seed: u64) -> Result<Self> {
        Ok(Self {
            world,
            cache,
            seed,
            prompt: prompt::file()?,
            summary_prompt: summary::file()?,
        })
    }

    /// The text of one variant for one target. That the engine refuses a question is an outcome, not a
    /// failure: the next target's may be shorter.
    ///
    /// # Errors
    /// When the model fails.
    pub async fn write(
        &self,
        case: &Case<'_>,
        variant: &Variant,
        settings: &Settings,
    ) -> Result<Written> {
        let (ahead, request) = (Meter::new(self.cache), Meter::new(self.cache));
        let (mut known, tally) = self.known(case, variant, settings, &ahead).await?;
        let text = self.text(case, variant, settings, &mut known, &request);
        let (text, refusal) = match text.await {
            Ok(text) => (text, None),
            Err(error) => {
                let refusal = refusal(&error).ok_or(error)?;
                (Text::none(), Some(refusal))
            }
        };
        let (used, degraded) = known.strategy(variant.strategy);
        let material = Material::new(used, &known, &settings.generator);
        Ok(Written {
            used: used.as_str(),
            degraded,
            context: material.render(&self.prompt)?,
            prompt: text.prompt,
            output: text.output,
            ended: text.ended,
            refusal,
            tally,
            cost: Costs {
                request: request.cost(),
                ahead: ahead.cost(),
            },
        })
    }

    async fn text(
        &self,
        case: &Case<'_>,
        variant: &Variant,
        settings: &Settings,
        known: &mut Known,
        request: &Meter,
    ) -> Result<Text> {
        let config = &settings.generator;
        let how = (variant.strategy, config.summary);
        summary::make(&self.summary_prompt, how, known, config, request).await?;
        let (used, _) = known.strategy(variant.strategy);
        let material = Material::new(used, known, config);
        let task = Task {
            topic: case.topic.clone(),
            rating: case.target.record.rating,
            max_tokens: 0,
            temperature: None,
            seed: self.seed,
        };
        let chat = prompt::compose(&self.prompt, &material, &task, config, request);
        let chat = chat.map_err(|error| match error {
            ComposeError::Engine(error) => anyhow::Error::new(error),
            error @ ComposeError::Prompt(_) => anyhow!("{error}"),
        })?;
        let prompt = messages(&chat);
        let guard = Guard::of(known, &case.topic);
        let (output, ended) = answer(chat, guard.as_ref(), request).await?;
        Ok(Text {
            prompt,
            output,
            ended,
        })
    }

    async fn known(
        &self,
        case: &Case<'_>,
        variant: &Variant,
        settings: &Settings,
        ahead: &Meter,
    ) -> Result<(Known, Tally)> {
        let strategy = variant.strategy;
        let mut tally = Tally::default();
        if strategy == Strategy::NonPerso {
            return Ok((Known::default(), tally));
        }
        let config = &settings.generator;
        let records: Vec<Record> = case
            .history
            .iter()
            .take(config.history_max)
            .cloned()
            .collect();
        let items = &self.world.items;
        let wanted = summary::history_needed(strategy, config);
        let mut known = Known {
            has_history: !records.is_empty(),
            history: of_items(records.iter().take(wanted).cloned(), items),
            samples: key_samples(
                &case.topic,
                records,
                items,
                config.key_samples,
                Words::default(),
            ),
            ..Known::default()
        };
        match strategy {
            Strategy::Dpl => {
                let compared = self.compare(case, variant, settings, ahead, &mut known);
                tally = compared.await?;
            }
            Strategy::Cicl => known.contrasts = self.contrasts(case, &known.samples),
            Strategy::PersonaDb => {
                let similar = self.similar(case, settings, ahead, &known.samples);
                (known.similar, tally) = similar.await?;
            }
            _ => {}
        }
        Ok((known, tally))
    }

    /// Differences of the key samples and of those records that a profile cites, and the profile.
    async fn compare(
        &self,
        case: &Case<'_>,
        variant: &Variant,
        settings: &Settings,
        ahead: &Meter,
        known: &mut Known,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        let used = Use {
            differences: variant.differences,
            evidence: variant.evidence,
        };
        let mut compared: HashMap<Uuid, Record> = HashMap::new();
        for sample in &mut known.samples {
            let record = sample.record.clone();
            let peers = self.candidates(&record, case, settings);
            let with = self
                .world
                .compared(record, &peers, settings, used, Some(ahead));
            let (with, counted) = with.await?;
            tally.add(counted);
            sample.record = with;
            compared.insert(sample.record.id, sample.record.clone());
        }
        if settings.generator.summary == Summary::Task {
            return Ok(tally);
        }
        let mut cited = 0;
        let mut records = Vec::new();
        for record in case.history.iter().take(settings.profiler.records) {
            let peers = self.candidates(record, case, settings);
            let cites = cited < settings.profiler.differences && !peers.is_empty();
            cited += usize::from(cites);
            // Each comparison counts once, as it is made once.
            if let Some(known) = compared.remove(&record.id) {
                records.push(known);
                continue;
            }
            let model: Option<&dyn LanguageModel> = cites.then_some(ahead as _);
            let with = self
                .world
                .compared(record.clone(), &peers, settings, used, model);
            let (with, counted) = with.await?;
            tally.add(counted);
            records.push(with);
        }
        let profile = self.world.profile(&records, settings, ahead);
        let (profile, counted) = profile.await?;
        tally.add(counted);
        known.profile = profile;
        Ok(tally)
    }

    fn candidates(&self, record: &Record, case: &Case<'_>, settings: &Settings) -> Vec<Record> {
        let most = settings.selector.max_candidates;
        self.world.peers(record, case.before_ms, most)
    }

    fn contrasts(&self, case: &Case<'_>, samples: &[Sample]) -> Vec<Contrast> {
        let places = samples.iter().enumerate();
        let contrast = |(place, sample): (usize, &Sample)| {
            let peers = self.world.peers(&sample.record, case.before_ms, CANDIDATES);
            others::contrast(place, sample, &peers)
        };
        places.filter_map(contrast).collect()
    }

    async fn similar(
        &self,
        case: &Case<'_>,
        settings: &Settings,
        ahead: &Meter,
        samples: &[Sample],
    ) -> Result<(Vec<String>, Tally)> {
        let shared = samples.iter().take(SHARED_ITEMS);
        let own: Vec<Record> = shared.map(|sample| sample.record.clone()).collect();
        let peers: Vec<Record> = own
            .iter()
            .flat_map(|record| self.world.peers(record, case.before_ms, CANDIDATES))
            .collect();
        let target = case.target.record;
        let (mut found, mut tally) = (Vec::new(), Tally::default());
        for user in others::similar(&own, &peers) {
            if found.len() == settings.generator.similar_users {
                break;
            }
            let history = self.world.history(&user, target);
            let profile = self.world.profile(&history, settings, ahead);
            let (profile, counted) = profile.await?;
            tally.add(counted);
            found.extend(profile.map(|profile| profile.summary));
        }
        Ok((found, tally))
    }
}

impl Text {
    fn none() -> Self {
        Self {
            prompt: Vec::new(),
            output: String::new(),
            ended: Ended::Refused,
        }
    }
}

/// What the engine says of a question that it refuses; none of any other failure.
fn refusal(error: &anyhow::Error) -> Option<String> {
    let mut causes = error.chain();
    let engine = causes.find_map(|cause| cause.downcast_ref::<EngineError>())?;
    refuses(engine).then(|| engine.to_string())
}

async fn answer(
    chat: ChatRequest,
    guard: Option<&Guard>,
    model: &Meter,
) -> Result<(String, Ended)> {
    let completion = match guard {
        None => collect(model.chat(chat).await?).await?,
        Some(guard) => match guard.ask(model, chat).await {
            Ok((completion, _)) => completion,
            Err(GuardError::Repeats) => return Ok((String::new(), Ended::Repeats)),
            Err(GuardError::Engine(error)) => return Err(error.into()),
        },
    };
    let ended = match completion.finish {
        Finish::Stop => Ended::Stop,
        Finish::Length => Ended::Length,
    };
    Ok((completion.text, ended))
}

fn messages(chat: &ChatRequest) -> Vec<(String, String)> {
    let role = |role| match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let messages = chat.messages.iter();
    messages
        .map(|m| (role(m.role).to_owned(), m.content.clone()))
        .collect()
}
