//! The embedding thread: batches of all callers' texts in one context, and a new context after a
//! failure of the old one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use foil_runtime::telemetry;
use foil_runtime::telemetry::semconv::{FOIL_BATCH_TEXTS, FOIL_BATCH_TOKENS};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::oneshot;
use tracing::Span;

use super::{Shape, TEXTS_MAX};
use crate::embed::EmbedError;
use crate::metrics::EngineLabels;

/// How long a batch that is not full waits for more.
const GATHER: Duration = Duration::from_millis(2);
/// At least, from one start to the next: a text that always fails must not keep a core busy.
pub(super) const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// One text that waits for its vector. Dropped unanswered, its caller hears of [`failed`].
pub(super) struct Job {
    tokens: Vec<LlamaToken>,
    reply: oneshot::Sender<Result<Vec<f32>, EmbedError>>,
    submitted: Instant,
    /// Of the call that waits for it.
    span: Span,
    #[cfg(test)]
    hold: Option<Hold>,
}

impl Job {
    pub(super) fn new(
        tokens: Vec<LlamaToken>,
        reply: oneshot::Sender<Result<Vec<f32>, EmbedError>>,
    ) -> Self {
        Self {
            tokens,
            reply,
            submitted: Instant::now(),
            span: Span::current(),
            #[cfg(test)]
            hold: None,
        }
    }

    #[cfg(test)]
    pub(super) fn held(self, hold: Hold) -> Self {
        Self {
            hold: Some(hold),
            ..self
        }
    }
}

/// Holds the thread over a batch until it is told to drop the batch or to panic.
#[cfg(test)]
pub(super) struct Hold {
    pub(super) entered: SyncSender<()>,
    pub(super) panics: Receiver<bool>,
}

/// What those hear whose text was at work when the thread failed; it may work next time.
pub(super) fn failed() -> EmbedError {
    EmbedError::Unavailable("its thread failed and starts again".into())
}

/// Serves until every sender is gone. After a panic it starts again with a new context: only those
/// whose texts were at work fail, and those that wait are served. `ready` hears whether the first
/// context could be made; if not, the thread ends. `queue`: what the inbox holds at most.
pub(super) fn run(
    model: &LlamaModel,
    shape: Shape,
    labels: &EngineLabels,
    (inbox, queue): (&Receiver<Job>, usize),
    ready: SyncSender<Result<(), String>>,
) {
    let mut ready = Some(ready);
    loop {
        let started = Instant::now();
        let served = catch_unwind(AssertUnwindSafe(|| {
            let context = shape.context(model)?;
            if let Some(ready) = ready.take() {
                let _ = ready.send(Ok(()));
            }
            serve(context, shape, labels, inbox);
            Ok(())
        }));
        match served {
            Ok(Ok(())) => return,
            Ok(Err(cause)) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(Err(cause));
                    return;
                }
                tracing::error!(%cause, "the embedding thread cannot start again yet");
                if !fail_waiting(inbox, queue, &cause) {
                    return;
                }
            }
            Err(_) => tracing::error!("the embedding thread panicked and starts again"),
        }
        std::thread::sleep(RESTART_PAUSE.saturating_sub(started.elapsed()));
    }
}

/// Answers those that wait, as many as the queue may hold, so that it ends however many come. False
/// when nobody can come any more.
fn fail_waiting(inbox: &Receiver<Job>, limit: usize, cause: &str) -> bool {
    for _ in 0..limit {
        match inbox.try_recv() {
            Ok(job) => {
                let _ = job
                    .reply
                    .send(Err(EmbedError::Unavailable(cause.to_owned())));
            }
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
    true
}

fn serve(
    mut context: LlamaContext<'_>,
    shape: Shape,
    labels: &EngineLabels,
    inbox: &Receiver<Job>,
) {
    let mut batch = LlamaBatch::new(shape.batch_tokens, 1);
    let mut left = None;
    while let Some(first) = left.take().or_else(|| inbox.recv().ok()) {
        let (jobs, over) = gather(first, inbox, shape.batch_tokens);
        left = over;
        #[cfg(test)]
        if let Some(hold) = jobs.iter().find_map(|job| job.hold.as_ref()) {
            let _ = hold.entered.send(());
            assert!(!hold.panics.recv().unwrap_or(false), "told to, by a test");
            continue;
        }
        let texts: Vec<&Vec<LlamaToken>> = jobs.iter().map(|job| &job.tokens).collect();
        let span = begin(&jobs, labels);
        match span.in_scope(|| shape.compute(&mut context, &mut batch, &texts)) {
            Ok(vectors) => {
                for (job, vector) in jobs.into_iter().zip(vectors) {
                    let _ = job.reply.send(vector);
                }
            }
            Err(cause) => {
                for job in jobs {
                    let _ = job.reply.send(Err(EmbedError::Unavailable(cause.clone())));
                }
            }
        }
    }
}

/// Notes a batch that begins, and gives its span.
fn begin(jobs: &[Job], labels: &EngineLabels) -> Span {
    let tokens = jobs.iter().map(|job| job.tokens.len()).sum();
    labels.batch(jobs.iter().map(|job| job.submitted.elapsed()), tokens);
    let inputs: Vec<Span> = jobs.iter().map(|job| job.span.clone()).collect();
    telemetry::joint(&inputs, || {
        tracing::info_span!(
            parent: None,
            "embed_batch",
            otel.name = "embed batch",
            { FOIL_BATCH_TEXTS } = jobs.len(),
            { FOIL_BATCH_TOKENS } = tokens,
        )
    })
}

/// A batch that begins with `first`, and the job that did not fit any more.
fn gather(first: Job, inbox: &Receiver<Job>, budget: usize) -> (Vec<Job>, Option<Job>) {
    let until = Instant::now() + GATHER;
    let mut used = first.tokens.len();
    let mut jobs = vec![first];
    while jobs.len() < TEXTS_MAX && used < budget {
        let wait = until.saturating_duration_since(Instant::now());
        let Ok(job) = inbox.recv_timeout(wait) else {
            break;
        };
        if job.reply.is_closed() {
            continue; // nobody waits for it any more
        }
        if used + job.tokens.len() > budget {
            return (jobs, Some(job));
        }
        used += job.tokens.len();
        jobs.push(job);
    }
    (jobs, None)
}
