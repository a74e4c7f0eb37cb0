//! How often the language model is called, counted where it is served.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use foil_generator::Caller;
use foil_llm::stub::StubConfig;
use foil_proto::names::event;
use foil_proto::v1::{self, generate_reply::Part};
use futures::StreamExt as _;

use super::Reading;
use super::rig::{Rig, events};
use super::texts::{self, TENANT};
use crate::config::FoilConfig;

/// Updates of the burst, each on an item of its own.
const BURST: usize = 50;
/// Others who wrote on each item before.
const PEERS: usize = 5;
const CONTEXTS: usize = 20;
const TEXTS: usize = 5;
const USER: &str = "burst";
const LATENCY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(120);
const REPLY: Duration = Duration::from_secs(20);

/// A user who is read writes 50 records in a burst; then contexts and texts are asked for.
///
/// The stub cannot tell a stage from another. But each stored difference and each stored profile took
/// a call: so what is left over without the one is at most what the other took.
///
/// # Errors
/// When the pipeline does not start, does not come to its end, or did not do the work.
pub async fn measure(config: &FoilConfig) -> Result<Vec<Reading>> {
    let stub = StubConfig {
        latency: LATENCY,
        ..StubConfig::default()
    };
    let mut rig = Rig::start(config, stub, |_| {}).await?;
    let burst = burst(&mut rig).await?;
    let contexts = asked(&mut rig, CONTEXTS, true).await?;
    let texts = asked(&mut rig, TEXTS, false).await?;
    rig.stop().await;
    let Burst {
        calls,
        stored,
        profiles,
    } = burst;
    let reading = |key, value, note| Reading { key, value, note };
    Ok(vec![
        reading(
            "calls_context",
            contexts as f64 / CONTEXTS as f64,
            format!("{CONTEXTS} contexts: {contexts} LLM calls, until no work was left."),
        ),
        reading(
            "calls_generate",
            texts as f64 / TEXTS as f64,
            format!("{TEXTS} texts: {texts} LLM calls, until no work was left."),
        ),
        reading(
            "calls_per_difference",
            (calls as f64 - profiles as f64) / stored as f64,
            format!(
                "{calls} LLM calls in a burst, {profiles} of them at least for profiles; {stored} \
                 differences stored."
            ),
        ),
        reading(
            "profile_calls_burst",
            calls as f64 - stored as f64,
            format!(
                "{BURST} updates of one user who is read, each on an item with {PEERS} other \
                 writers: {calls} LLM calls, {stored} of them at least for stored differences; \
                 {profiles} profile versions stored."
            ),
        ),
    ])
}

struct Burst {
    calls: usize,
    /// Differences stored.
    stored: usize,
    /// Profile versions stored.
    profiles: usize,
}

async fn burst(rig: &mut Rig) -> Result<Burst> {
    let peers = |n: usize| texts::record(&format!("peer-{}", n % PEERS), &item(n / PEERS), n);
    rig.publish((0..BURST * PEERS).map(peers)).await?;
    rig.idle(LIMIT).await?;
    let unread = rig.stub.calls();
    ensure!(
        unread == 0,
        "users whom nobody reads cost {unread} LLM calls"
    );
    // From now on this user is read.
    ask(rig, 0, true).await?;
    rig.idle(LIMIT).await?;
    let before = rig.stub.calls();
    let own = |n: usize| texts::record(USER, &item(n), 10_000 + n);
    rig.publish((0..BURST).map(own)).await?;
    rig.idle(LIMIT).await?;
    let calls = rig.stub.calls() - before;
    let stored = events(&rig.session.jetstream, event::DIFFERENCE_STORED).await?;
    let profiles = events(&rig.session.jetstream, event::PROFILE_UPDATED).await?;
    ensure!(stored >= BURST, "only {stored} differences were stored");
    ensure!(profiles > 0, "no profile was stored");
    Ok(Burst {
        calls,
        stored,
        profiles,
    })
}

/// LLM calls for so many requests, and for whatever they set off.
async fn asked(rig: &mut Rig, count: usize, context_only: bool) -> Result<usize> {
    let before = rig.stub.calls();
    for number in 0..count {
        ask(rig, number, context_only).await?;
    }
    rig.idle(LIMIT).await?;
    Ok(rig.stub.calls() - before)
}

fn item(number: usize) -> String {
    format!("item-{number}")
}

/// Asks for a context or a text, and reads it to its end.
async fn ask(rig: &Rig, number: usize, context_only: bool) -> Result<()> {
    let request = v1::GenerateRequest {
        tenant: TENANT.to_owned(),
        user: USER.to_owned(),
        item: item(number),
        strategy: "dpl".to_owned(),
        context_only,
        ..v1::GenerateRequest::default()
    };
    let caller = Caller::new(rig.session.nats.clone());
    let mut parts = caller.generate(request, REPLY).await?;
    while let Some(part) = parts.next().await {
        match part? {
            Part::Done(_) => return Ok(()),
            Part::Failure(failure) => bail!("{}: {}", failure.code, failure.message),
            Part::Context(_) | Part::Delta(_) => {}
        }
    }
    bail!("the answer ended early")
}
