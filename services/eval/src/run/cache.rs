//! Every answer of a model, kept by the content of its question: what was asked once is read back, so an
//! interrupted run goes on where it was and strategies share what they have in common.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use foil_llm::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Role, Usage,
    collect,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What calls of a model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub calls: u64,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// Of the call that was made, also where its answer was read back.
    pub seconds: f64,
}

impl Cost {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_out: self.tokens_out + other.tokens_out,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// An answer with its key, a line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    key: String,
    text: String,
    /// Whether it ended for want of tokens.
    cut: bool,
    tokens_in: u32,
    tokens_out: u32,
    seconds: f64,
}

/// The answers of one model, before that model.
pub struct Cache {
    model: Arc<dyn LanguageModel>,
    known: Mutex<HashMap<String, Entry>>,
    file: Mutex<File>,
    hits: AtomicUsize,
    calls: AtomicUsize,
}

impl Cache {
    /// What is kept in the file, which is made if missing. What an interrupted write left at its end is
    /// cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, model: Arc<dyn LanguageModel>) -> Result<Self> {
        let name = || path.display().to_string();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path);
        let mut file = file.with_context(name)?;
        let (known, whole) = read(&file).with_context(name)?;
        file.set_len(whole).with_context(name)?;
        file.seek(SeekFrom::End(0)).with_context(name)?;
        Ok(Self {
            model,
            known: Mutex::new(known),
            file: Mutex::new(file),
            hits: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    /// Answers read back since it was opened.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Answers of the model itself since it was opened.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: ChatRequest) -> Result<Entry, EngineError> {
        let key = key(self.model.info(), &request);
        if let Some(found) = self.found(&key) {
            self.hits.fetch_add(1, Ordering::SeqCst);
            return Ok(found);
        }
        let started = Instant::now();
        let completion = collect(self.model.chat(request).await?).await?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let entry = Entry {
            key: key.clone(),
            cut: completion.finish == Finish::Length,
            text: completion.text,
            tokens_in: completion.usage.prompt_tokens,
            tokens_out: completion.usage.completion_tokens,
            seconds: microseconds(started.elapsed()),
        };
        self.keep(&entry)
            .map_err(|error| EngineError::Unavailable(format!("the file of answers: {error}")))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, entry.clone());
        Ok(entry)
    }

    fn found(&self, key: &str) -> Option<Entry> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn keep(&self, entry: &Entry) -> std::io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

fn read(file: &File) -> std::io::Result<(HashMap<String, Entry>, u64)> {
    let mut known = HashMap::new();
    let mut whole = 0;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        let entry = serde_json::from_slice::<Entry>(&line).ok();
        let Some(entry) = entry.filter(|_| line.ends_with(b"\n")) else {
            return Ok((known, whole));
        };
        whole += bytes as u64;
        known.insert(entry.key.clone(), entry);
    }
}

/// Seconds with six digits: so many are read back as they were written.
fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Names a question: the model, the prompt, and how it is sampled.
fn key(info: &ModelInfo, request: &ChatRequest) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(info.provider.as_bytes());
    part(info.model.as_bytes());
    part(&info.context_tokens.to_le_bytes());
    for message in &request.messages {
        part(match message.role {
            Role::System => b"s",
            Role::User => b"u",
            Role::Assistant => b"a",
        });
        part(message.content.as_bytes());
    }
    part(&request.max_tokens.to_le_bytes());
    for number in [
        request.temperature,
        request.top_p,
        request.frequency_penalty,
    ] {
        part(&number.to_le_bytes());
    }
    part(&request.seed.to_le_bytes());
    part(&(request.stop.len() as u64).to_le_bytes());
    for stop in &request.stop {
        part(stop.as_bytes());
    }
    if let Some(schema) = &request.schema {
        part(schema.to_string().as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// A cached model as one piece of work sees it: what it asks is counted.
pub struct Meter {
    cache: Arc<Cache>,
    cost: Mutex<Cost>,
}

impl Meter {
    /// Counts from nothing.
    pub fn new(cache: &Arc<Cache>) -> Self {
        Self {
            cache: Arc::clone(cache),
            cost: Mutex::default(),
        }
    }

    /// What was asked so far.
    pub fn cost(&self) -> Cost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LanguageModel for Meter {
    fn info(&self) -> &ModelInfo {
        self.cache.model.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.cache.model.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.cache.model.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        async move {
            let entry = self.cache.answer(request).await?;
            let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
            *cost = cost.plus(Cost {
                calls: 1,
                tokens_in: entry.tokens_in.into(),
                tokens_out: entry.tokens_out.into(),
                seconds: entry.seconds,
            });
            let done = ChatEvent::Done {
                finish: if entry.cut {
                    Finish::Length
                } else {
                    Finish::Stop
                },
                usage: Usage {
                    prompt_tokens: entry.tokens_in,
                    completion_tokens: entry.tokens_out,
                    ..Usage::default()
                },
            };
            let events = [Ok(ChatEvent::Delta(entry.text)), Ok(done)];
            Ok(stream::iter(events).boxed())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use foil_llm::Message;
    use foil_llm::stub::Scripted;

    use super::*;

    fn request(text: &str, seed: u64) -> ChatRequest {
        let message = Message {
            role: Role::User,
            content: text.to_owned(),
        };
        ChatRequest {
            seed,
            ..ChatRequest::new(vec![message], 8)
        }
    }

    async fn asked(cache: &Arc<Cache>, request: ChatRequest) -> (String, Cost) {
        let meter = Meter::new(cache);
        let stream = meter.chat(request).await.unwrap();
        let text = collect(stream).await.unwrap().text;
        (text, meter.cost())
    }

    #[tokio::test]
    async fn what_was_asked_once_is_read_back_at_the_same_cost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let answers = ["one", "two"].map(str::to_owned).to_vec();
        let model = Scripted::then(answers, "three".to_owned());
        let cache = Arc::new(Cache::open(&path, Arc::clone(&model) as _).unwrap());
        let first = asked(&cache, request("a", 1)).await;
        assert_eq!(first.0, "one");
        assert_eq!(asked(&cache, request("a", 1)).await, first);
        // Another seed is another question.
        assert_eq!(asked(&cache, request("a", 2)).await.0, "two");
        assert_eq!((cache.hits(), cache.calls(), model.calls()), (1, 2, 2));
        drop(cache);

        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"key\":\"torn"].concat()).unwrap();
        let cache = Arc::new(Cache::open(&path, Arc::clone(&model) as _).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert_eq!(asked(&cache, request("a", 1)).await, first);
        assert_eq!(asked(&cache, request("b", 1)).await.0, "three");
        assert_eq!((cache.hits(), cache.calls()), (1, 1));
    }
}
