//! Every answer of a model, kept by the content of its question: what was asked once is read back, so an
//! interrupted run goes on where it was and strategies share what they have in common. Of one question
//! the first answer is the one that counts, however many ask at once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use foil_llm::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Role, Usage,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::engine::Engine;
use crate::fingerprint::Fingerprint;
use crate::lock;

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

/// Answers by the key of their question; empty while the first who asked waits for it.
type Known = HashMap<String, Arc<OnceCell<Entry>>>;

/// The answers of one model, before that model.
pub struct Cache {
    engine: Engine,
    known: Mutex<Known>,
    file: Mutex<File>,
    hits: AtomicUsize,
    calls: AtomicUsize,
}

impl Cache {
    /// What is kept in the file, which is made if missing. What an interrupted write left at its end is
    /// cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written, another process works on it, or a whole line is no
    /// answer.
    pub fn open(path: &Path, engine: Engine) -> Result<Self> {
        let name = || path.display().to_string();
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path);
        let mut file = file.with_context(name)?;
        lock::alone(&file).with_context(name)?;
        let (known, whole) = read(&file).with_context(name)?;
        file.set_len(whole).with_context(name)?;
        file.seek(SeekFrom::End(0)).with_context(name)?;
        Ok(Self {
            engine,
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
        let info = self.engine.model.info();
        let key = key(info, &self.engine.identity, &request);
        let place = self.place(&key);
        let mut asked = false;
        let ask = || {
            asked = true;
            self.ask(key, request)
        };
        let entry = place.get_or_try_init(ask).await?.clone();
        if !asked {
            self.hits.fetch_add(1, Ordering::SeqCst);
        }
        Ok(entry)
    }

    /// Where the answer is or will be.
    fn place(&self, key: &str) -> Arc<OnceCell<Entry>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key.to_owned()).or_default())
    }

    async fn ask(&self, key: String, request: ChatRequest) -> Result<Entry, EngineError> {
        let started = Instant::now();
        let completion = self.engine.ask(&request).await?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let entry = Entry {
            key,
            cut: completion.finish == Finish::Length,
            text: completion.text,
            tokens_in: completion.usage.prompt_tokens,
            tokens_out: completion.usage.completion_tokens,
            seconds: microseconds(started.elapsed()),
        };
        self.keep(&entry)
            .map_err(|error| EngineError::Unavailable(format!("the file of answers: {error}")))?;
        Ok(entry)
    }

    fn keep(&self, entry: &Entry) -> std::io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

/// Every answer, and how many bytes the whole lines take: an interrupted write leaves a last line
/// without an end.
fn read(file: &File) -> Result<(Known, u64)> {
    let mut known = Known::new();
    let (mut whole, mut number) = (0, 0_u64);
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok((known, whole));
        }
        number += 1;
        // Not what serde says of it, which may repeat a text.
        let Ok(entry) = serde_json::from_slice::<Entry>(&line) else {
            bail!("line {number}: is no answer; take it out, and its question is asked again");
        };
        whole += bytes as u64;
        let key = entry.key.clone();
        known.entry(key).or_insert_with(|| Arc::new(entry.into()));
    }
}

/// Seconds with six digits: so many are read back as they were written.
fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Names a question: the model, the prompt, and how it is sampled.
fn key(info: &ModelInfo, identity: &str, request: &ChatRequest) -> String {
    let mut key = Fingerprint::default();
    key.add(info.provider);
    key.add(identity);
    key.add(info.context_tokens.to_le_bytes());
    for message in &request.messages {
        key.add(match message.role {
            Role::System => "s",
            Role::User => "u",
            Role::Assistant => "a",
        });
        key.add(&message.content);
    }
    key.add(request.max_tokens.to_le_bytes());
    for number in [
        request.temperature,
        request.top_p,
        request.frequency_penalty,
    ] {
        key.add(number.to_le_bytes());
    }
    key.add(request.seed.to_le_bytes());
    key.add((request.stop.len() as u64).to_le_bytes());
    for stop in &request.stop {
        key.add(stop);
    }
    if let Some(schema) = &request.schema {
        key.add(schema.to_string());
    }
    key.hex()
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
        self.cache.engine.model.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.cache.engine.model.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.cache.engine.model.template_tokens(messages)
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
mod tests;
