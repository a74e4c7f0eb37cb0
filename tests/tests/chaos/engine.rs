//! A language model that dies in the middle of an answer and comes back.

use std::time::Duration;

use foil_llm::stub::{Mode, StubConfig};
use foil_proto::names::stream;
use foil_tests::fleet::{Fleet, Tuning};

use crate::load::{all_done, delays, publish};

const ITEMS: usize = 150;
const EVERY: Duration = Duration::from_millis(20);
const AWAY: Duration = Duration::from_secs(2);

fn tuning() -> Tuning {
    Tuning {
        // As by default: an outage must not use them up.
        max_deliveries: 5,
        llm: StubConfig {
            latency: Duration::from_millis(20),
            ..StubConfig::default()
        },
        ..Tuning::default()
    }
}

struct Ran {
    median: Duration,
    worst: Duration,
    calls: usize,
    /// Updates published and embedded when the model came back.
    meanwhile: Option<(u64, u64)>,
}

async fn run(dies: bool) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    let fault = async {
        if !dies {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut llm = fleet.llm.lock().await;
        let before = llm.calls();
        llm.set_mode(Mode::Die);
        while llm.calls() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (_, published_before) = look.updates_done().await;
        tokio::time::sleep(AWAY).await;
        let (done, published) = look.updates_done().await;
        tokio::task::block_in_place(|| llm.restart()).unwrap();
        assert!(published > published_before + 20, "updates go on");
        Some((published, done))
    };
    let (published, meanwhile) = tokio::join!(publish(&look, ITEMS, EVERY), fault);
    all_done(&look, &published).await;
    assert_eq!(look.messages(stream::DEAD).await, 0);
    let (median, worst) = delays(&look, &published).await;
    let calls = fleet.llm.lock().await.calls();
    Ran {
        median,
        worst,
        calls,
        meanwhile,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_mid_answer_costs_waiting_and_no_dead_letter() {
    let without = run(false).await;
    let with = run(true).await;
    let (published, embedded) = with.meanwhile.unwrap();
    println!(
        "an engine that dies for {AWAY:?}: {} differences; median {:?} ({:?} without), worst {:?} \
         ({:?}), {} calls ({}); when it came back {embedded} of {published} updates were embedded",
        ITEMS * 2,
        with.median,
        without.median,
        with.worst,
        without.worst,
        with.calls,
        without.calls,
    );
    assert!(published - embedded < 40, "embedding waits for no model");
    // The outage itself, the probe that sees its end, and the work that piled up.
    assert!(with.worst < without.worst + AWAY + Duration::from_secs(8));
}
