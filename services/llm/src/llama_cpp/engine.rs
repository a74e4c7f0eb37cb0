//! The engine's thread: one context, and all running requests decoded together in one batch.

use std::num::NonZeroU32;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use llama_cpp_2::LlamaStateSeqFlags;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;

use super::answer;
use super::backend::{backend, take_fault};
use super::queue::{Job, Queue};
use super::shelf::Shelf;
use super::slots::{Run, Slots, Start, shared};
use crate::chat::EngineError;
use crate::metrics::Batches;

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
    /// Tokens of the prompts that are kept out of use: as many as two whole requests have. They take
    /// as much memory as in the cache.
    fn shelf(self) -> usize {
        self.context_tokens as usize * 2
    }

    pub(super) fn context<'a>(self, model: &'a LlamaModel) -> Result<LlamaContext<'a>, String> {
        let parallel = u32::try_from(self.parallel).unwrap_or(u32::MAX);
        let cells = self.context_tokens.saturating_mul(parallel);
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(cells))
            .with_n_batch(BATCH as u32)
            .with_n_ubatch(BATCH as u32)
            .with_n_seq_max(parallel)
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
    (queue, batches): (&Queue, Batches),
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
        slots: Slots::new(shape.parallel),
        shelf: Shelf::new(shape.shelf()),
        batches,
    };
    loop {
        let running = engine.slots.running();
        let Some(jobs) = queue.take(shape.parallel - running, running == 0) else {
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
    shelf: Shelf,
    batches: Batches,
}

impl Engine<'_> {
    fn admit(&mut self, job: Job) {
        let number = self.slots.tick();
        let Some(index) = self.slots.choose(&job.prompt) else {
            // There are as many slots as requests at once.
            job.send(Err(EngineError::Unavailable("no free slot".into())));
            return;
        };
        let queued = job.submitted.elapsed();
        if shared(&self.slots.slots[index].tokens, &job.prompt) * 2
            < self.slots.slots[index].tokens.len()
        {
            self.keep(index);
        }
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
        self.clear_idle();
        self.context
            .decode(&mut self.batch)
            .map_err(|error| error.to_string())?;
        self.batches.note(writers.len() + begun.len());
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
        if let Some(restored) = self.restore(index, tokens) {
            tokens = restored;
        } else if slot == index {
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
        let slot = &mut self.slots.slots[index];
        if let Some(run) = &mut slot.run {
            slot.prompt = run.job.prompt.len();
            run.cached = Some(tokens);
            run.feed = run.job.prompt[tokens..].to_vec();
        }
        Ok(true)
    }

    /// Puts a kept prompt into a request's sequence, if that saves more than `tokens`, and cuts it
    /// to what is of use.
    fn restore(&mut self, index: usize, tokens: usize) -> Option<usize> {
        let run = self.slots.slots[index].run.as_ref()?;
        let prompt = &run.job.prompt[..run.job.prompt.len().saturating_sub(1)];
        let (kept, state, useful) = self.shelf.best(prompt, tokens)?;
        let restored = self.context.state_seq_set(state, sequence(index)).is_ok();
        // A state that did not fit has emptied the sequence.
        self.slots.slots[index].tokens = if restored { kept.to_vec() } else { Vec::new() };
        if restored && self.cut(index, useful) {
            return Some(useful);
        }
        self.cut(index, 0);
        Some(0)
    }

    /// Copies an idle sequence's prompt to the shelf, if that may save work later.
    fn keep(&mut self, index: usize) {
        let slot = &self.slots.slots[index];
        let length = slot.prompt.min(slot.tokens.len());
        if self.shelf.wants(&slot.tokens[..length])
            && self.cut(index, length)
            && let Ok(state) = self
                .context
                .state_seq_get(sequence(index), LlamaStateSeqFlags::empty())
        {
            self.shelf
                .keep(self.slots.slots[index].tokens.clone(), state);
        }
    }

    /// Empties idle sequences, so that attention does not walk over them.
    fn clear_idle(&mut self) {
        for index in self.slots.idle() {
            self.keep(index);
            self.cut(index, 0);
        }
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

    /// Chooses a request's next token, if its logits are there, and sends the text.
    fn choose(&mut self, index: usize) {
        let Some(run) = &mut self.slots.slots[index].run else {
            return;
        };
        let Some(at) = run.logits.take() else {
            return;
        };
        match answer::advance(self.model, run, self.context.get_logits_ith(at)) {
            Ok(None) => {}
            Ok(Some(finish)) => {
                if let Some(run) = self.release(index) {
                    answer::end(run, finish);
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

fn sequence(index: usize) -> i32 {
    i32::try_from(index).expect("a context has at most 256 sequences")
}
