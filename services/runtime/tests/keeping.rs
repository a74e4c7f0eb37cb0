//! The stage's word before a dead letter: may what was given up be kept?

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use foil_proto::names::header as h;
use foil_runtime::{Classify as _, Outcome, Reason, StageError};
use support::{DEAD, IN, INPUT, World, config, header, keeping, note, until};

type Handled = Result<Outcome, StageError>;

async fn handle(text: &str) -> Handled {
    match text {
        "panic" => panic!("it was told to"),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Outcome::Skip("never"))
        }
        "retry" => Err::<Outcome, _>("away").retry(),
        _ => Err::<Outcome, _>("no").reject(Reason::Invalid),
    }
}

#[tokio::test]
async fn what_may_not_be_kept_ends_without_a_copy_whatever_it_was_given_up_for() {
    let world = World::new().await;
    let stage = keeping(
        async |input, _, _| handle(&input.text).await,
        async |_, cx| {
            assert_eq!(cx.subject, INPUT);
            Ok(false)
        },
    );
    let mut config = config();
    config.timeout = Duration::from_millis(150);
    config.max_deliveries = 1;
    let running = world.run(&stage, config);
    for text in ["panic", "slow", "retry", "reject"] {
        world.send(text).await;
    }
    world.send_bytes(vec![0xff; 4], HeaderMap::new()).await;
    until("all are gone", async || world.count(IN).await == 0).await;
    assert_eq!((stage.calls(), world.count(DEAD).await), (4, 0));
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_message_that_kills_the_process_is_asked_for_too() {
    for kept in [true, false] {
        let world = World::new().await;
        world.send("a").await;
        world.deliver_in_vain(3).await;
        let stage = keeping(
            async |_, _, _| std::process::abort(),
            move |payload, _| async move {
                assert_eq!(support::text_of(&payload), "a");
                Ok(kept)
            },
        );
        let running = world.run(&stage, config());
        until("the input is gone", async || world.count(IN).await == 0).await;
        assert_eq!(world.count(DEAD).await, u64::from(kept));
        world.stop(running).await.expect("a clean end");
    }
}

#[tokio::test]
async fn without_an_answer_nothing_ends_and_the_reason_stays() {
    let world = World::new().await;
    let asked = AtomicUsize::new(0);
    let stage = keeping(
        async |_, _, _| Err::<Outcome, _>("no").reject(Reason::Invalid),
        move |_, _| {
            let time = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                match time {
                    0 => panic!("it was told to"),
                    1 => tokio::time::sleep(Duration::from_secs(60)).await,
                    // More often than `max_deliveries`.
                    2..6 => return Err("qdrant is away".into()),
                    _ => {}
                }
                Ok(true)
            }
        },
    );
    let mut config = config();
    config.publish_timeout = Duration::from_millis(500);
    let running = world.run(&stage, config);
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 7));
    assert_eq!(header(&dead[0], h::DEAD_REASON), "invalid");
    assert_eq!(
        dead[0].payload.as_ref(),
        prost::Message::encode_to_vec(&note("a"))
    );
    world.stop(running).await.expect("a clean end");
}
