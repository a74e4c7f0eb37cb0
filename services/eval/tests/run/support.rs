//! The sample corpus, the stub, and an output folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use foil_embedder::{EmbedConfig, EmbedEngine};
use foil_eval::data::filter::HeldOut;
use foil_eval::data::read::Raw;
use foil_eval::data::{Filters, Item, Prepared, Record};
use foil_eval::report::{self, About};
use foil_eval::run::{Engine, Options, Outcome, Parts, Settings, Variant, run};
use foil_eval::selection::vectors::Vectors;
use foil_llm::stub::{StubConfig, StubServer};
use foil_llm::{
    ChatRequest, ChatStream, EngineConfig, EngineError, EngineKind, LanguageModel, ModelInfo,
};
use futures::future::BoxFuture;
use serde_json::Value;

pub const TARGETS: usize = 3;
pub const JUDGEMENTS: usize = 2;

/// Everything a run needs, and what is done to it.
pub struct Place {
    pub stub: StubServer,
    /// Targets that are worked on at once.
    pub parallel: usize,
    pub peers_before: bool,
    /// Prompts with this in them are refused as too long.
    pub refused: Option<&'static str>,
    prepared: Prepared,
    folder: tempfile::TempDir,
    /// Every prompt that the model got, not those of the judge.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Place {
    pub fn new() -> Self {
        Self {
            stub: StubServer::start(StubConfig::default()).unwrap(),
            parallel: 2,
            peers_before: true,
            refused: None,
            prepared: Prepared::new(raw(), Filters::small()),
            folder: tempfile::tempdir().unwrap(),
            asked: Arc::default(),
        }
    }

    /// With one target alone: every prompt is one for it.
    pub fn of_one(target: &HeldOut) -> Self {
        let mut place = Self::new();
        place.prepared.held_out = vec![target.clone()];
        place
    }

    pub fn held_out(&self) -> &[HeldOut] {
        &self.prepared.held_out
    }

    pub fn records(&self) -> &[Record] {
        self.prepared.corpus.records()
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// When the user wrote about the item.
    pub fn at(&self, user: &str, item: &str) -> i64 {
        let target = self.prepared.corpus.target(user, item).unwrap();
        target.record.occurred_at_ms
    }

    pub fn texts_but_of(&self, user: &str) -> impl Iterator<Item = &Record> {
        let records = self.records().iter();
        records.filter(move |record| record.user != user)
    }

    async fn model(&self) -> Arc<dyn LanguageModel> {
        let config = EngineConfig {
            engine: EngineKind::Openai,
            model: "stub".to_owned(),
            base_url: Some(self.stub.base_url()),
            context_tokens: 8_192,
            ..EngineConfig::default()
        };
        foil_llm::load(&config).await.unwrap()
    }

    /// What a killed process leaves: half a line.
    pub fn tear_last_answer(&self) {
        let path = self.out().join("answers.jsonl");
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.is_empty());
        std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    }
}

fn raw() -> Raw {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/");
    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(format!("{folder}{name}.ndjson")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let item = |line: &Value| Item {
        id: text(line, "id"),
        title: text(line, "title"),
        description: text(line, "description"),
    };
    let record = |line: &Value| {
        let at: jiff::Timestamp = text(line, "occurred_at").parse().unwrap();
        Record {
            user: text(line, "user"),
            item: text(line, "item"),
            rating: line["rating"].as_f64(),
            title: text(line, "title"),
            text: text(line, "text"),
            occurred_at_ms: at.as_millisecond(),
        }
    };
    let users = ["users-1", "users-2", "users-3"].map(lines).concat();
    Raw {
        items: lines("items").iter().map(item).collect(),
        records: users.iter().map(record).collect(),
        ..Raw::default()
    }
}

/// Answers so often, and then never again; keeps what it was asked.
struct Ending {
    model: Arc<dyn LanguageModel>,
    left: AtomicUsize,
    refused: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl LanguageModel for Ending {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.model.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.model.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let turns = request.messages.iter();
        let prompt: Vec<&str> = turns.map(|message| message.content.as_str()).collect();
        let prompt = prompt.join("\n");
        let is_refused = self.refused.is_some_and(|words| prompt.contains(words));
        self.asked.lock().unwrap().push(prompt);
        if is_refused {
            let error = EngineError::PromptTooLong {
                tokens: 9,
                max_tokens: 9,
                context: 9,
            };
            return Box::pin(async move { Err(error) });
        }
        let less = |left: usize| left.checked_sub(1);
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        match left {
            Ok(_) => self.model.chat(request),
            Err(_) => Box::pin(async { Err(EngineError::Unavailable("it is gone".to_owned())) }),
        }
    }
}

pub async fn start(place: &Place, strategies: &str, limit: usize) -> Result<Outcome> {
    start_with(place, usize::MAX, strategies, limit).await
}

/// With a model that answers `calls` times.
pub async fn start_with(
    place: &Place,
    calls: usize,
    strategies: &str,
    limit: usize,
) -> Result<Outcome> {
    let embed = EmbedConfig {
        engine: EmbedEngine::Openai,
        model: "stub".to_owned(),
        base_url: Some(place.stub.base_url()),
        ..EmbedConfig::default()
    };
    let options = Options {
        variants: Variant::list(strategies)?,
        limit: Some(limit),
        seed: 7,
        peers_before: place.peers_before,
        parallel: place.parallel,
        judgements: JUDGEMENTS,
        out: place.out(),
    };
    let model = place.model().await;
    let engine = |model: Arc<dyn LanguageModel>| Engine {
        model,
        identity: "stub".to_owned(),
        pause: Duration::ZERO,
    };
    let parts = Parts {
        model: engine(Arc::new(Ending {
            model: Arc::clone(&model),
            left: AtomicUsize::new(calls),
            refused: place.refused,
            asked: Arc::clone(&place.asked),
        })),
        judge: Some(engine(model)),
        vectors: Vectors::open(&embed, &place.out()).await?,
        settings: Settings::default(),
    };
    run(&place.prepared, &options, parts).await
}

/// The files of the report by name, made without the times, which differ from run to run.
pub fn report(outcome: &Outcome, place: &Place) -> BTreeMap<String, String> {
    let mut outcome = outcome.clone();
    for sample in &mut outcome.samples {
        sample.cost.request.seconds = 0.0;
        sample.cost.ahead.seconds = 0.0;
    }
    report::write(&outcome, 7, &About::default(), &place.out()).unwrap();
    let names = [
        "report.md",
        "report.csv",
        "paired.csv",
        "strategies.svg",
        "cost.svg",
    ];
    let read = |name: &str| {
        let text = std::fs::read_to_string(place.out().join(name)).unwrap();
        (name.to_owned(), text)
    };
    names.map(read).into()
}
