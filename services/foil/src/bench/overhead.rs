//! What the pipeline adds to the time of its LLM calls.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foil_llm::stub::StubConfig;
use foil_proto::names::event;
use foil_proto::v1;
use foil_selector::Compare;

use super::Reading;
use super::rig::{Rig, events};
use super::texts;
use crate::config::FoilConfig;

const UPDATES: usize = 2_000;
const USERS: usize = 200;
const ITEMS: usize = 100;
/// What one LLM call takes.
const LATENCY: Duration = Duration::from_millis(200);
/// LLM calls at once.
const CONCURRENCY: usize = 8;
const LIMIT: Duration = Duration::from_secs(420);

/// Publishes updates at once and waits until no work is left. Everybody is compared.
///
/// # Errors
/// When the pipeline does not start, or does not come to its end.
pub async fn measure(config: &FoilConfig) -> Result<Vec<Reading>> {
    let stub = StubConfig {
        latency: LATENCY,
        ..StubConfig::default()
    };
    let mut rig = Rig::start(config, stub, |config| {
        config.selector.compare = Compare::Eager;
        config.embedder.eager = true;
        config.llm.parallel = CONCURRENCY;
        // Enough that the LLM never waits for a stage that reads, writes and publishes meanwhile.
        config.extractor.worker.permits = 2 * CONCURRENCY;
        config.profiler.worker.permits = CONCURRENCY;
    })
    .await?;
    let started = Instant::now();
    rig.publish((0..UPDATES).map(update)).await?;
    let published = started.elapsed().as_secs_f64();
    let done = rig.idle(LIMIT).await?;
    let seconds = done.duration_since(started).as_secs_f64();
    let calls = rig.stub.calls();
    let stored = events(&rig.session.jetstream, event::DIFFERENCE_STORED).await?;
    let at_once = rig.stub.max_in_flight();
    rig.stop().await;
    ensure!(stored >= UPDATES, "only {stored} differences were stored");
    ensure!(at_once <= CONCURRENCY, "{at_once} LLM calls at once");
    let alone = calls as f64 * LATENCY.as_secs_f64() / CONCURRENCY as f64;
    Ok(vec![Reading {
        key: "overhead",
        value: seconds / alone,
        note: format!(
            "{UPDATES} updates of {USERS} users on {ITEMS} items, published in {published:.1} s: \
             {seconds:.1} s for {calls} LLM calls of {} ms, {CONCURRENCY} at once, which alone \
             take {alone:.1} s; {stored} differences stored.",
            LATENCY.as_millis(),
        ),
    }])
}

/// Every user writes on other items in each round, every item gets two users of it.
fn update(number: usize) -> v1::Update {
    let (user, round) = (number % USERS, number / USERS);
    let item = (user + 7 * round) % ITEMS;
    texts::record(&format!("user-{user}"), &format!("item-{item}"), number)
}
