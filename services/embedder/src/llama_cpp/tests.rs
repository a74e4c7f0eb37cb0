//! A thread that fails, on the real MiniLM, which FOIL_TEST_EMBED_MODEL names.

use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use futures::poll;

use super::thread::{Hold, RESTART_PAUSE};
use super::*;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn model() -> LlamaEmbedder {
    let model = std::env::var("FOIL_TEST_EMBED_MODEL").expect("FOIL_TEST_EMBED_MODEL is set");
    let config = EmbedConfig {
        model,
        ..EmbedConfig::default()
    };
    LlamaEmbedder::load(&config).unwrap()
}

/// What a test has of a thread that is held.
struct Held {
    entered: Receiver<()>,
    panics: SyncSender<bool>,
    answer: oneshot::Receiver<Result<Vec<f32>, EmbedError>>,
}

impl Held {
    /// Queues what will hold the thread over the batch that it comes into.
    fn queue(model: &LlamaEmbedder) -> Self {
        let (entered, there) = sync_channel(1);
        let (panics, told) = sync_channel(1);
        let (reply, answer) = oneshot::channel();
        let hold = Hold {
            entered,
            panics: told,
        };
        model
            .submit(Job::new(Vec::new(), reply).held(hold))
            .unwrap();
        Self {
            entered: there,
            panics,
            answer,
        }
    }

    async fn panic(self) {
        self.panics.send(true).unwrap();
        assert!(self.answer.await.is_err());
    }
}

fn one() -> Vec<String> {
    vec!["a fine place for tea".to_owned()]
}

#[tokio::test]
async fn a_panic_fails_what_is_at_work_and_the_next_is_served() {
    let model = model();
    let before = model.embed(one()).await.unwrap();
    let first = Held::queue(&model);
    first.entered.recv().unwrap();
    // Both wait, so they come into one batch.
    let mut at_work = pin!(model.embed(one()));
    assert!(poll!(at_work.as_mut()).is_pending());
    let second = Held::queue(&model);
    first.panics.send(false).unwrap();
    second.entered.recv().unwrap();
    let mut waiting = pin!(model.embed(one()));
    assert!(poll!(waiting.as_mut()).is_pending());
    second.panic().await;
    let failed = at_work.await.unwrap_err();
    assert!(matches!(failed, EmbedError::Unavailable(_)), "{failed}");
    assert!(failed.to_string().contains("starts again"), "{failed}");
    assert_eq!(waiting.await.unwrap(), before);
    assert_eq!(model.embed(one()).await.unwrap(), before);
}

#[tokio::test]
async fn a_thread_that_keeps_failing_starts_again_with_pauses() {
    let since = Instant::now();
    let model = model();
    for _ in 0..2 {
        Held::queue(&model).panic().await;
    }
    assert_eq!(model.embed(one()).await.unwrap().len(), 1);
    assert!(
        since.elapsed() >= 2 * RESTART_PAUSE,
        "{:?}",
        since.elapsed()
    );
    // Nor does a thread that pauses hold the end for long.
    Held::queue(&model).panic().await;
    let since = Instant::now();
    drop(model);
    assert!(since.elapsed() < 3 * RESTART_PAUSE, "{:?}", since.elapsed());
}
