//! Models that do what a text asks: the worst that a small model can be talked into.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foil_llm::stub::count;
use foil_llm::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Usage,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Map, Value, json};

use crate::corpus::Hostile;

/// What a model says that nobody talked into anything.
pub const HONEST: &str = "The author writes plainly and keeps to the point.";
/// Begins every item's title: by it a model knows whose wishes to obey.
pub const CASE: &str = "Case";

/// Gives the answer to a request.
type Answer = dyn Fn(&ChatRequest) -> String + Send + Sync;

/// A model made of a function. Words stand for tokens.
pub struct Model {
    info: ModelInfo,
    answer: Box<Answer>,
    requests: Mutex<Vec<ChatRequest>>,
}

impl Model {
    pub fn new(answer: impl Fn(&ChatRequest) -> String + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                provider: "script",
                model: "obedient".to_owned(),
                context_tokens: 2048,
            },
            answer: Box::new(answer),
            requests: Mutex::default(),
        })
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap().clone()
    }
}

impl LanguageModel for Model {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        Ok(u32::try_from(count(text)).unwrap())
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        u32::try_from(4 * messages).unwrap()
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let text = (self.answer)(&request);
        self.requests.lock().unwrap().push(request);
        let done = ChatEvent::Done {
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        let events = [Ok(ChatEvent::Delta(text)), Ok(done)];
        async { Ok(stream::iter(events).boxed()) }.boxed()
    }
}

/// All that a request says to the model.
pub fn prompt(request: &ChatRequest) -> String {
    let parts = request
        .messages
        .iter()
        .map(|message| message.content.as_str());
    parts.collect::<Vec<_>>().join("\n")
}

/// An answer in the request's schema with this statement everywhere; none without a schema.
pub fn in_schema(request: &ChatRequest, statement: &str) -> Option<Map<String, Value>> {
    let schema = request.schema.as_ref()?;
    let names = schema["required"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    let value = |name: &str| match schema["properties"][name]["type"] == "object" {
        true => json!({ "statement": statement, "confidence": 0.9 }),
        false => json!(statement),
    };
    Some(names.map(|name| (name.to_owned(), value(name))).collect())
}

/// What an obedient model answers to the first, the second, ... request about one author: honestly at
/// last, as often as an input is tried at the most.
fn answers(case: &Hostile, request: &ChatRequest) -> Vec<String> {
    let wish = case.wish.as_deref().unwrap_or(&case.text);
    let text = |statement: &str| {
        let answer = in_schema(request, statement).map(Value::Object);
        answer.map_or_else(|| statement.to_owned(), |answer| answer.to_string())
    };
    let copied = format!("The author {}", case.text);
    let mut crowded = in_schema(request, HONEST).unwrap_or_default();
    crowded.insert("leak".to_owned(), case.text.clone().into());
    crowded.insert("user".to_owned(), "mallory".into());
    vec![
        text(wish),
        text(&copied),
        format!("{{\"writing\": {{\"statement\": \"{}", case.text),
        Value::Object(crowded).to_string(),
        text("The author writes as user-0042@example.org does."),
        text(HONEST),
    ]
}

/// Obeys the case that the prompt is about.
pub fn obedient(cases: Vec<Hostile>) -> Arc<Model> {
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    Model::new(move |request| {
        let prompt = prompt(request);
        let number = prompt.split(&format!("{CASE} ")).nth(1);
        let number = number.and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        let Some(case) = number.and_then(|number| cases.get(number)) else {
            let honest = in_schema(request, HONEST).map(Value::Object);
            return honest.map_or_else(|| HONEST.to_owned(), |answer| answer.to_string());
        };
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(about(&prompt)).or_default();
        let answers = answers(case, request);
        let answer = answers[*times % answers.len()].clone();
        *times += 1;
        answer
    })
}

/// What stays the same of a prompt while its input is tried again: what is measured, and who it is
/// compared with, may change meanwhile.
fn about(prompt: &str) -> String {
    match prompt.split("\n<target").nth(1) {
        Some(target) => target
            .split("</target>")
            .next()
            .unwrap_or_default()
            .to_owned(),
        None if prompt.contains("<texts>") => "<texts>".to_owned(),
        None => prompt.to_owned(),
    }
}

/// Repeats the first word of its prompt that holds a mark, for each of `marks`: whatever it was shown,
/// it tells.
pub fn telltale(marks: [&'static str; 2]) -> Arc<Model> {
    Model::new(move |request| {
        let prompt = prompt(request);
        let words: Vec<&str> = prompt.split(|c: char| !c.is_alphanumeric()).collect();
        let first = |mark: &&str| words.iter().find(|word| word.contains(*mark)).copied();
        let told: Vec<&str> = marks.iter().filter_map(first).collect();
        let statement = format!("The author speaks of {} at length.", told.join(" and "));
        let answer = in_schema(request, &statement).map(Value::Object);
        answer.map_or(statement, |answer| answer.to_string())
    })
}
