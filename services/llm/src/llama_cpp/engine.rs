//! The engine's thread: one context, and all running requests decoded together in one batch.

use std::num::NonZeroU32;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::backend::{backend, take_fault};
use super::queue::{Job, Queue};
use super::slots::{Run, Slots, Start};
use crate::chat::{ChatEvent, EngineError, Finish, Usage};

/// Most tokens of one batch.
pub(super) const BATCH: usize = 512;
/// Most tokens of one batch while some request writes: more would make its reader wait.
const BATCH_WHILE_WRITING: usize = 256;

/// The size of a context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Tokens of one request.
    pub(super) context_tokens: u32,
    /// Requests at once.
    pub(super) parallel: usize,
    pub(super) threads: i32,
}

impl Shape {
    /// Sequences: one for each running request, and as many whose prompts are kept.
    fn sequences(self) -> usize {
        self.parallel * 2
    }

    pub(super) fn context<'a>(self, model: &'a LlamaModel) -> Result<LlamaContext<'a>, String> {
        let parallel = u32::try_from(self.parallel).unwrap_or(u32::MAX);
        let cells = self.context_tokens.saturating_mul(parallel);
        let sequences = u32::try_from(self.sequences()).unwrap_or(u32::MAX);
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(cells))
            .with_n_batch(BATCH as u32)
            .with_n_ubatch(BATCH as u32)
            .with_n_seq_max(sequences)
            // One pool of cells: prompts that begin the same share them.
            .with_kv_unified(true)
            .with_n_threads(self.threads)
            .with_n_threads_batch(self.threads);
        let backend = backend().map_err(|error| error.to_string())?;
        take_fault();
        model
            .new_context(backend, params)
            .map_err(|error| take_fault().unwrap_or_else(|| error.to_string()))
    }
}

/// Serves `queue` until it is stopped. `ready` hears whether the context could be made.
pub(super) fn serve(
    model: &LlamaModel,
    shape: Shape,
    queue: &Queue,
    ready: &SyncSender<Result<(), String>>,
) {
    let context = match shape.context(model) {
        Ok(context) => context,
        Err(cause) => {
            let _ = ready.send(Err(cause));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut engine = Engine {
        model,
        context,
        batch: LlamaBatch::new(BATCH, 1),
        slots: Slots::new(shape.sequences()),
        parallel: shape.parallel,
    };
    loop {
        let running = engine.slots.running();
        let Some(jobs) = queue.take(engine.parallel - running, running == 0) else {
            return;
        };
        for job in jobs {
            engine.admit(job);
        }
        if let Err(cause) = engine.step() {
            tracing::error!(%cause, "the llama.cpp engine failed and will be started again");
            engine.fail_all(&cause);
            return;
        }
    }
}

struct Engine<'a> {
    model: &'a LlamaModel,
    context: LlamaContext<'a>,
    batch: LlamaBatch<'static>,
    slots: Slots,
    parallel: usize,
}

impl Engine<'_> {
    fn admit(&mut self, job: Job) {
        let number = self.slots.tick();
        let Some(index) = self.slots.choose(&job.prompt) else {
            // There are more slots than requests at once.
            job.send(Err(EngineError::Unavailable("no free slot".into())));
            return;
        };
        let queued = job.submitted.elapsed();
        let slot = &mut self.slots.slots[index];
        slot.used = number;
        slot.run = Some(Run {
            job,
            number,
            cached: None,
            feed: Vec::new(),
            fed: 0,
            generated: 0,
            logits: None,
            queued,
            first_token: Duration::ZERO,
        });
    }

    /// One batch: a token of each request that writes, and as much of the others' prompts as fits.
    fn step(&mut self) -> Result<(), String> {
        self.drop_ended();
        self.batch.clear();
        let order = self.slots.by_age();
        let writing = |slots: &Slots, index: usize| {
            slots.slots[index]
                .run
                .as_ref()
                .is_some_and(|run| run.generated > 0)
        };
        let (writers, readers): (Vec<_>, Vec<_>) = order
            .into_iter()
            .partition(|&index| writing(&self.slots, index));
        // All that begin do so before anything is added: cells can be copied once they are decoded.
        let mut begun = Vec::with_capacity(readers.len());
        for index in readers {
            if self.begin(index)? {
                begun.push(index);
            }
        }
        for &index in &writers {
            self.add(index, BATCH)?;
        }
        let limit = if writers.is_empty() {
            BATCH
        } else {
            BATCH_WHILE_WRITING
        };
        for &index in &begun {
            self.add(index, limit)?;
        }
        if self.batch.n_tokens() == 0 {
            return Ok(());
        }
        self.decode()?;
        for index in writers.into_iter().chain(begun) {
            self.choose(index);
        }
        Ok(())
    }

    /// Frees the slots of requests that nobody reads any more, or that took too long.
    fn drop_ended(&mut self) {
        let now = Instant::now();
        for index in self.slots.by_age() {
            let Some(run) = &self.slots.slots[index].run else {
                continue;
            };
            if run.job.abandoned() {
                self.release(index);
            } else if now >= run.job.deadline {
                let limit = run.job.deadline.duration_since(run.job.submitted);
                run.job.send(Err(EngineError::Unavailable(format!(
                    "no whole answer within {} ms",
                    limit.as_millis()
                ))));
                self.release(index);
            }
        }
    }

    fn release(&mut self, index: usize) -> Option<Run> {
        let now = self.slots.tick();
        let slot = &mut self.slots.slots[index];
        slot.used = now;
        slot.run.take()
    }

    /// Makes a request's sequence hold what the cache has of its prompt. False while it waits.
    fn begin(&mut self, index: usize) -> Result<bool, String> {
        let begun = |run: &Run| run.cached.is_some();
        if self.slots.slots[index].run.as_ref().is_none_or(begun) {
            return Ok(true);
        }
        let Some(Start::From { slot, mut tokens }) = self.slots.start(index) else {
            return Ok(false);
        };
        let own = sequence(index);
        if slot == index {
            if !self.cut(index, tokens) {
                tokens = 0;
            }
        } else {
            self.cut(index, 0);
            let end = u32::try_from(tokens).map_err(|error| error.to_string())?;
            if tokens > 0 {
                self.context
                    .kv_cache_seq_cp(sequence(slot), own, Some(0), Some(end))
                    .map_err(|error| error.to_string())?;
            }
            let copied = self.slots.slots[slot].tokens[..tokens].to_vec();
            self.slots.slots[index].tokens = copied;
        }
        if let Some(run) = &mut self.slots.slots[index].run {
            run.cached = Some(tokens);
            run.feed = run.job.prompt[tokens..].to_vec();
        }
        Ok(true)
    }

    /// Keeps the first `tokens` of a sequence. False when the model's memory cannot be cut in the
    /// middle (recurrent models): then nothing is kept.
    fn cut(&mut self, index: usize, tokens: usize) -> bool {
        let kept = u32::try_from(tokens).is_ok_and(|tokens| {
            self.context
                .kv_cache_seq_rm(sequence(index), Some(tokens), None)
                .is_ok()
        });
        if !kept {
            // A whole sequence can always be removed.
            let _ = self.context.kv_cache_seq_rm(sequence(index), None, None);
        }
        self.slots.slots[index]
            .tokens
            .truncate(if kept { tokens } else { 0 });
        kept
    }

    /// Puts what a request has to feed into the batch, up to `limit` tokens of the whole batch.
    fn add(&mut self, index: usize, limit: usize) -> Result<(), String> {
        let taken = usize::try_from(self.batch.n_tokens()).map_err(|error| error.to_string())?;
        let slot = &mut self.slots.slots[index];
        let Some(run) = &mut slot.run else {
            return Ok(());
        };
        run.logits = None;
        let count = run.left().len().min(limit.saturating_sub(taken));
        for _ in 0..count {
            let token = run.feed[run.fed];
            run.fed += 1;
            let last = run.fed == run.feed.len();
            if last {
                run.logits = Some(self.batch.n_tokens());
            }
            let position = i32::try_from(slot.tokens.len()).map_err(|error| error.to_string())?;
            self.batch
                .add(token, position, &[sequence(index)], last)
                .map_err(|error| error.to_string())?;
            slot.tokens.push(token);
        }
        Ok(())
    }

    /// Decodes the batch, dropping kept prompts while cells are missing.
    fn decode(&mut self) -> Result<(), String> {
        loop {
            match self.context.decode(&mut self.batch) {
                Ok(()) => return Ok(()),
                Err(DecodeError::NoKvCacheSlot) => {
                    let victim = self.slots.victim().ok_or("the cache is full")?;
                    self.cut(victim, 0);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Chooses a request's next token, if its logits are there, and sends the text.
    fn choose(&mut self, index: usize) {
        let Some(run) = &mut self.slots.slots[index].run else {
            return;
        };
        let Some(at) = run.logits.take() else {
            return;
        };
        match advance(self.model, run, self.context.get_logits_ith(at)) {
            Ok(None) => {}
            Ok(Some(finish)) => {
                if let Some(run) = self.release(index) {
                    end(run, finish);
                }
            }
            Err(error) => {
                run.job.send(Err(error));
                self.release(index);
            }
        }
    }

    fn fail_all(&mut self, cause: &str) {
        for slot in &mut self.slots.slots {
            if let Some(run) = slot.run.take() {
                run.job.send(Err(EngineError::Died(cause.into())));
            }
        }
    }
}

/// Takes one choice and what it forces. `Some` when the answer is complete.
fn advance(
    model: &LlamaModel,
    run: &mut Run,
    logits: &[f32],
) -> Result<Option<Finish>, EngineError> {
    let choice = run.job.sampler.choose(logits)?;
    if run.generated == 0 {
        run.first_token = run.job.submitted.elapsed();
    }
    run.feed.clear();
    run.fed = 0;
    let vocab = model.vocab();
    let mut piece = Vec::with_capacity(16);
    let mut text = String::new();
    let mut finish = choice.complete.then_some(Finish::Stop);
    for token in std::iter::once(choice.token).chain(choice.forced) {
        let token = LlamaToken(token.cast_signed());
        if vocab.is_eog(token) {
            finish = Some(Finish::Stop);
            break;
        }
        if run.generated >= run.job.max_tokens {
            finish = Some(Finish::Length);
            break;
        }
        run.generated += 1;
        run.feed.push(token);
        piece.clear();
        vocab.token_to_piece_into(token, &mut piece, false, None);
        text.push_str(&run.job.text.push(&piece));
        if run.job.text.stopped() {
            finish = Some(Finish::Stop);
            break;
        }
    }
    if finish.is_none() && run.generated >= run.job.max_tokens {
        finish = Some(Finish::Length);
    }
    if !text.is_empty() {
        run.job.send(Ok(ChatEvent::Delta(text)));
    }
    Ok(finish)
}

fn end(mut run: Run, finish: Finish) {
    let rest = run.job.text.finish();
    if !rest.is_empty() {
        run.job.send(Ok(ChatEvent::Delta(rest)));
    }
    let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    let usage = Usage {
        prompt_tokens: count(run.job.prompt.len()),
        cached_tokens: count(run.cached.unwrap_or(0)),
        completion_tokens: run.generated,
        queued: run.queued,
        first_token: run.first_token,
    };
    run.job.send(Ok(ChatEvent::Done { finish, usage }));
}

fn sequence(index: usize) -> i32 {
    i32::try_from(index).expect("a context has at most 256 sequences")
}
