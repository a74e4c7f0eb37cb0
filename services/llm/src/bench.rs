//! How the `llama-cpp` adapter compares with the plainest loop over llama.cpp that does the same
//! work. Every figure is a ratio of two measurements of one run, taken in turns, so that other load
//! on the machine meets both.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::try_join_all;

use crate::chat::{
    ChatEvent, ChatRequest, EngineError, LanguageModel, Message, Role, Usage, collect,
};
use crate::llama_cpp::{BareLoop, LlamaCpp, LlamaCppConfig};

/// Ratios; 1 is parity.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Prompt tokens a second, adapter to bare loop.
    pub prompt: f64,
    /// Generated tokens a second, adapter to bare loop.
    pub decode: f64,
    /// Generated tokens a second of four requests together, to those of one.
    pub parallel: f64,
    /// Time to the first token when two thirds of the prompt are cached, to the time when none is.
    pub prefix: f64,
}

/// Tokens a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub prompt: f64,
    pub decode: f64,
}

/// Tokens that each measurement generates.
const NEW_TOKENS: u32 = 64;
/// Words of a measurement's prompt.
const WORDS: usize = 450;

/// Measures everything, `rounds` times (at least 1), and gives the medians.
///
/// # Errors
/// What loading and running the model say.
pub async fn run(model: &Path, rounds: usize) -> Result<Report, EngineError> {
    let config = LlamaCppConfig::new(model);
    let engine = tokio::task::spawn_blocking(move || LlamaCpp::load(config)).await;
    let engine = engine.map_err(|error| EngineError::Died(error.to_string()))??;
    let bare = Arc::new(BareLoop::beside(&engine));
    // OpenMP waits another way once two threads of a process compute: both have to be there before
    // either is measured.
    plain(&bare, 1_000_000).await?;
    first_token(&*engine, &text(1_000_001, WORDS)).await?;
    let mut reports = Vec::new();
    for round in 0..rounds.max(1) {
        let adapter = one(&*engine, ask(&text(round * 10, WORDS))).await?;
        let plain = plain(&bare, round * 10 + 1).await?;
        let cold = first_token(&*engine, &text(round * 10 + 2, 2 * WORDS)).await?;
        let warm = first_token(&*engine, &shared(round * 10 + 2)).await?;
        let together = four(&engine, round).await?;
        let alone = one(&*engine, ask(&text(round * 10 + 8, 40))).await?;
        tracing::debug!(?adapter, ?plain, ?alone, together, ?cold, ?warm, "round");
        reports.push([
            adapter.prompt / plain.prompt,
            adapter.decode / plain.decode,
            together / alone.decode,
            warm.as_secs_f64() / cold.as_secs_f64(),
        ]);
    }
    let median = |index: usize| {
        let mut values: Vec<f64> = reports.iter().map(|report| report[index]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(Report {
        prompt: median(0),
        decode: median(1),
        parallel: median(2),
        prefix: median(3),
    })
}

async fn plain(bare: &Arc<BareLoop>, seed: usize) -> Result<Rates, EngineError> {
    let bare = Arc::clone(bare);
    let request = ask(&text(seed, WORDS));
    let measured = tokio::task::spawn_blocking(move || bare.measure(&request)).await;
    measured.map_err(|error| EngineError::Died(error.to_string()))?
}

/// A text that shares its beginning with no text of another `seed`.
fn text(seed: usize, words: usize) -> String {
    const WORDS: [&str; 12] = [
        "river", "quiet", "lantern", "seldom", "orchard", "bright", "measure", "winter", "copper",
        "letter", "harbour", "simple",
    ];
    let word = |at: usize| WORDS[(at * 7 + at * at * (seed + 3) + seed * 5) % WORDS.len()];
    let words: Vec<&str> = (0..words).map(word).collect();
    format!(
        "{seed} {}. Go on, word by word, without end.",
        words.join(" ")
    )
}

/// Two thirds of the text of `seed`, and another end.
fn shared(seed: usize) -> String {
    let whole = text(seed, 2 * WORDS);
    let start = whole.floor_char_boundary(whole.len() * 2 / 3);
    format!(
        "{} {}",
        &whole[..start],
        text(seed + 100_000, 2 * WORDS / 3)
    )
}

fn ask(text: &str) -> ChatRequest {
    let message = Message {
        role: Role::User,
        content: text.into(),
    };
    ChatRequest::new(vec![message], NEW_TOKENS)
}

async fn one(model: &dyn LanguageModel, request: ChatRequest) -> Result<Rates, EngineError> {
    let since = Instant::now();
    let usage = collect(model.chat(request).await?).await?.usage;
    let read = f64::from(usage.prompt_tokens - usage.cached_tokens);
    let writing = since.elapsed().saturating_sub(usage.first_token);
    Ok(Rates {
        prompt: read / usage.first_token.as_secs_f64(),
        decode: f64::from(usage.completion_tokens.saturating_sub(1)) / writing.as_secs_f64(),
    })
}

async fn first_token(model: &dyn LanguageModel, text: &str) -> Result<Duration, EngineError> {
    let mut request = ask(text);
    request.max_tokens = 1;
    let usage: Usage = collect(model.chat(request).await?).await?.usage;
    Ok(usage.first_token)
}

/// The rate of four requests while all four write.
async fn four(model: &Arc<LlamaCpp>, round: usize) -> Result<f64, EngineError> {
    let times = try_join_all((0..4).map(|number| async move {
        let request = ask(&text(round * 10 + 4 + number, 40));
        let mut stream = model.chat(request).await?;
        let mut times = Vec::new();
        while let Some(event) = stream.next().await {
            if let ChatEvent::Delta(_) = event? {
                times.push(Instant::now());
            }
        }
        Ok::<_, EngineError>(times)
    }))
    .await?;
    let from = times.iter().filter_map(|times| times.first()).max();
    let to = times.iter().filter_map(|times| times.last()).min();
    let (Some(&from), Some(&to)) = (from, to) else {
        return Err(EngineError::Died("no text to measure".into()));
    };
    let tokens = times
        .iter()
        .flatten()
        .filter(|&&time| time > from && time <= to)
        .count();
    Ok(tokens as f64 / to.saturating_duration_since(from).as_secs_f64())
}
