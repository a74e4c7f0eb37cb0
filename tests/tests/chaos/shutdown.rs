//! SIGTERM while work flows.

use std::time::{Duration, Instant};

use foil_llm::stub::{Mode, StubConfig};
use foil_proto::names::{stage, stream};
use foil_tests::fleet::{Fleet, STAGES, Signal, Tuning};

use crate::load::{all_done, publish, record, told};

const ITEMS: usize = 200;
const EVERY: Duration = Duration::from_millis(25);
/// Inputs of the embedder at once: what is on its way when it stops pulling is given back.
const EMBEDDER_PERMITS: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_ends_cleanly_under_load_and_nothing_finished_is_done_again() {
    let tuning = Tuning {
        llm: StubConfig {
            latency: Duration::from_millis(100),
            ..StubConfig::default()
        },
        ..Tuning::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(directory.path(), 1, &tuning).await;
    let look = fleet.look().await;
    let stops = async {
        for stage in STAGES {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut process = fleet.replica(stage, 0).process.lock().await;
            let started = Instant::now();
            process.signal(Signal::Terminate);
            let ended = tokio::task::block_in_place(|| process.wait(tuning.shutdown));
            let took = started.elapsed();
            println!("{stage} ended after {took:?}");
            assert_eq!(ended.and_then(|status| status.code()), Some(0), "{stage}");
            assert!(took < Duration::from_secs(3), "{stage}: {took:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.start();
        }
    };
    let (published, ()) = tokio::join!(publish(&look, ITEMS, EVERY), stops);
    all_done(&look, &published).await;
    assert_eq!(look.messages(stream::DEAD).await, 0);
    // Each call of the model is a stored difference or profile: none was asked for twice.
    let calls = fleet.llm.lock().await.calls();
    assert_eq!(calls, told(&look).await.stored);
    let updates = look.jetstream.get_stream(stream::UPDATES).await.unwrap();
    let embedder = updates.consumer_info(stage::EMBEDDER).await.unwrap();
    let again = embedder.delivered.consumer_sequence - embedder.delivered.stream_sequence;
    println!(
        "{calls} calls; {again} of {} updates were given back",
        published.len()
    );
    assert!(again <= EMBEDDER_PERMITS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_given_back_before_the_deadline() {
    let tuning = Tuning {
        shutdown: Duration::from_secs(4),
        llm_timeout: Duration::from_secs(60),
        llm: StubConfig {
            mode: Mode::Hang,
            ..StubConfig::default()
        },
        ..Tuning::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(directory.path(), 2, &tuning).await;
    let look = fleet.look().await;
    let first = &fleet.replica(stage::EXTRACTOR, 0).process;
    let second = &fleet.replica(stage::EXTRACTOR, 1).process;
    // So that the first one has all of the work.
    second.lock().await.kill();
    record(&look, "mara", "kettle").await;
    record(&look, "theo", "kettle").await;
    look.until("both are compared", Duration::from_secs(20), async || {
        fleet.llm.lock().await.in_flight() == 2
    })
    .await;
    second.lock().await.start();
    fleet.all_ready().await;
    // Answers that were begun stay as they are: they never come.
    fleet.llm.lock().await.set_mode(Mode::Ok);
    let mut first = first.lock().await;
    let started = Instant::now();
    first.signal(Signal::Terminate);
    let ended = tokio::task::block_in_place(|| first.wait(tuning.shutdown));
    let took = started.elapsed();
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "after {took:?}"
    );
    assert!(took < tuning.shutdown, "{took:?}");
    // At once, not after the ack wait.
    let started = Instant::now();
    look.until("the other did it", Duration::from_secs(2), async || {
        told(&look).await.differences.len() == 2
    })
    .await;
    let deadline = tuning.shutdown;
    println!(
        "ended after {took:?} of {deadline:?}; the other was done {:?} later",
        started.elapsed()
    );
    assert_eq!(look.messages(stream::DEAD).await, 0);
}
