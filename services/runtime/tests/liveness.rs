//! Heartbeats, permits, outages and what is waited for.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foil_runtime::testing::NatsServer;
use foil_runtime::{Classify as _, Outcome, StageError};
use support::{DEAD, IN, OUT, World, config, output, run_in, spec, stage, until};

#[tokio::test]
async fn the_heartbeat_keeps_a_long_attempt() {
    let world = World::with_ack_wait(Duration::from_secs(1)).await;
    let stage = stage(async |_, _, _| {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        Ok(Outcome::Emit(vec![output("x")]))
    });
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(stage.calls(), 1);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn the_heartbeat_covers_the_publishing() {
    let world = World::with_ack_wait(Duration::from_secs(1)).await;
    world.jetstream.delete_stream(OUT).await.expect("deleted");
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    let mut config = config();
    config.publish_patience = Duration::from_secs(3);
    let running = world.run(&stage, config);
    world.send("a").await;
    until("it was handled", async || stage.calls() == 1).await;
    tokio::time::sleep(Duration::from_millis(2300)).await;
    assert_eq!(stage.calls(), 1, "held longer than two ack waits");
    until(
        "patience ends",
        async || !world.service.health.checks()["tester.outputs"],
    )
    .await;
    world.service.shutdown.trigger();
    drop(running);
}

/// A handler that blocks its thread cannot be timed out; past the ceiling another worker gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ceiling_lets_a_hung_attempt_go() {
    let world = World::with_ack_wait(Duration::from_secs(1)).await;
    let hung = stage(async |_, _, _| {
        // Blocks this attempt alone, not whatever else its thread would have run.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(9)));
        Ok(Outcome::Skip("too late"))
    });
    let mut config = config();
    config.permits = 1;
    config.timeout = Duration::from_millis(1200);
    config.publish_timeout = Duration::from_millis(400);
    let _blocked = world.run(&hung, config.clone());
    world.send("a").await;
    until("it hangs", async || hung.calls() == 1).await;

    let other = world.another().await;
    let sound = stage(async |_, cx, _| {
        assert_eq!(cx.delivered, 2);
        Ok(Outcome::Emit(vec![output("x")]))
    });
    let running = run_in(&other, &sound, spec(), config);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(sound.calls(), 0, "kept by the heartbeat until the ceiling");
    until("another did it", async || world.count(OUT).await == 1).await;
    other.shutdown.trigger();
    support::ended(running).await.expect("a clean end");
}

#[tokio::test]
async fn no_more_than_the_permits_are_at_work_or_fetched() {
    let world = World::new().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (now.clone(), most.clone());
    let stage = stage(move |_, _, _| {
        let (now, most) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Outcome::Skip("done"))
        }
    });
    for n in 0..60 {
        world.send(&n.to_string()).await;
    }
    let mut config = config();
    config.permits = 3;
    let running = world.run(&stage, config);
    let mut fetched = 0;
    until("all are gone", async || {
        fetched = fetched.max(world.consumer_info().await.num_ack_pending);
        world.count(IN).await == 0
    })
    .await;
    assert_eq!((stage.calls(), most.load(Ordering::SeqCst)), (60, 3));
    assert!(fetched <= 3, "{fetched} were fetched at once");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn two_instances_share_the_work() {
    let world = World::new().await;
    let done: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let make = || {
        let done = done.clone();
        stage(move |input, _, _| {
            let done = done.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                *done
                    .lock()
                    .expect("not poisoned")
                    .entry(input.text)
                    .or_insert(0) += 1;
                Ok::<_, StageError>(Outcome::Skip("done"))
            }
        })
    };
    let (one, two) = (make(), make());
    let other = world.another().await;
    let mut config = config();
    config.permits = 2;
    let first = world.run(&one, config.clone());
    let second = run_in(&other, &two, spec(), config);
    for n in 0..60 {
        world.send(&n.to_string()).await;
    }
    until("all are gone", async || world.count(IN).await == 0).await;
    assert!(
        one.calls() >= 15 && two.calls() >= 15,
        "{} and {}",
        one.calls(),
        two.calls()
    );
    let done = done.lock().expect("not poisoned").clone();
    assert_eq!(done.len(), 60);
    assert!(done.values().all(|times| *times == 1));
    other.shutdown.trigger();
    support::ended(second).await.expect("a clean end");
    world.stop(first).await.expect("a clean end");
}

#[tokio::test]
async fn a_missing_consumer_is_waited_for() {
    let world = World::bare(NatsServer::start(None)).await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let running = world.run(&stage, config());
    until("the check is there", async || {
        world.service.health.checks().get("tester.consumer") == Some(&false)
    })
    .await;
    assert!(!world.service.health.ready());
    world.provision(Duration::from_secs(30)).await;
    until("it is ready", async || world.service.health.ready()).await;
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_deleted_consumer_is_noticed_and_found_again() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let running = world.run(&stage, config());
    until("it is ready", async || world.service.health.ready()).await;
    let stream = world.jetstream.get_stream(IN).await.expect("IN is there");
    stream
        .delete_consumer(support::STAGE)
        .await
        .expect("deleted");
    until("readiness is off", async || !world.service.health.ready()).await;
    world.consumer(Duration::from_secs(30)).await;
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    until("it is ready", async || world.service.health.ready()).await;
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_check_that_is_down_costs_waiting_not_attempts() {
    let world = World::new().await;
    let qdrant = world.service.health.register("qdrant");
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let running = world.run(&stage, config());
    world.send("a").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.consumer_info().await.delivered.consumer_sequence, 0);
    qdrant.set(true);
    until("the input is gone", async || world.count(IN).await == 0).await;
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_check_that_goes_down_withdraws_what_was_asked_for() {
    let world = World::new().await;
    let qdrant = world.service.health.register("qdrant");
    qdrant.set(true);
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let mut config = config();
    // Longer than the test: a request that stays open would bring the input.
    config.pull_expiry = Duration::from_secs(60);
    let running = world.run(&stage, config);
    until("inputs are asked for", async || {
        world.consumer_info().await.num_waiting > 0
    })
    .await;
    qdrant.set(false);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.send("a").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.consumer_info().await.delivered.consumer_sequence, 0);
    qdrant.set(true);
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.consumer_info().await.delivered.consumer_sequence, 1);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn what_is_given_back_unseen_costs_no_attempt() {
    let world = World::new().await;
    let qdrant = world.service.health.register("qdrant");
    qdrant.set(true);
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let mut config = config();
    config.max_deliveries = 1;
    let running = world.run(&stage, config);
    let mut sent = 0;
    until("an input came into a withdrawn request", async || {
        until("inputs are asked for", async || {
            world.consumer_info().await.num_waiting > 0
        })
        .await;
        world.send("a").await;
        sent += 1;
        qdrant.set(false);
        tokio::time::sleep(Duration::from_millis(5)).await;
        qdrant.set(true);
        world.settled().await;
        world.consumer_info().await.delivered.consumer_sequence > sent
    })
    .await;
    assert_eq!(world.count(DEAD).await, 0);
    assert_eq!(stage.calls() as u64, sent);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_failed_attempt_makes_who_follows_a_check_look_at_once() {
    let world = World::new().await;
    let there = Arc::new(AtomicBool::new(true));
    let check = world.service.health.register("qdrant");
    let probed = there.clone();
    let following = tokio::spawn(async move {
        let probe =
            || std::future::ready(probed.load(Ordering::SeqCst).then_some(()).ok_or("away"));
        check.follow(probe).await
    });
    let needed = there.clone();
    let stage = stage(move |_, _, _| {
        let there = needed.load(Ordering::SeqCst);
        async move { there.then_some(Outcome::Skip("done")).ok_or("away").retry() }
    });
    let mut config = config();
    // The second attempt is the last, and comes half a second later at the earliest.
    config.max_deliveries = 2;
    (config.backoff_base, config.backoff_cap) = (Duration::from_secs(1), Duration::from_secs(1));
    let running = world.run(&stage, config);
    until("it is ready", async || world.service.health.ready()).await;
    there.store(false, Ordering::SeqCst);
    world.send("a").await;
    until("readiness is off", async || !world.service.health.ready()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stage.calls(), 1);
    there.store(true, Ordering::SeqCst);
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!((stage.calls(), world.count(DEAD).await), (2, 0));
    following.abort();
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_loses_nothing() {
    // The server may lose an ack it had not written yet: the input then comes again, soon.
    let mut world = World::with_ack_wait(Duration::from_secs(2)).await;
    let stage = stage(async |input, _, _| Ok(Outcome::Emit(vec![output(&input.text)])));
    let mut config = config();
    // Longer than the test: only the reconnect can have renewed the requests.
    config.pull_expiry = Duration::from_secs(60);
    let running = world.run(&stage, config);
    world.send("before").await;
    until("the first is done", async || world.count(OUT).await == 1).await;
    world.server.kill();
    until("readiness is off", async || !world.service.health.ready()).await;
    world.server.restart();
    until("it is ready", async || world.service.health.ready()).await;
    world.send("after").await;
    until("the second is done", async || world.count(OUT).await == 2).await;
    world.settled().await;
    assert_eq!(world.texts(OUT).await, ["before", "after"]);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut server = NatsServer::start(None);
    server.kill();
    let health = foil_runtime::Health::new();
    let nats = foil_runtime::nats::connect_watched(&server.config(), "test", &health).await;
    let _nats = nats.expect("it does not wait");
    assert!(!health.checks()["nats"]);
    server.restart();
    until("it is connected", async || health.ready()).await;
}
