//! The shutdown: what runs finishes, what does not is given back, and there is one deadline.

mod support;

use std::time::{Duration, Instant};

use foil_runtime::{Classify as _, Outcome, RunError};
use support::{DEAD, IN, OUT, World, config, ended, output, run_in, spec, stage, until};

#[tokio::test]
async fn what_runs_finishes_and_nothing_comes_twice() {
    let world = World::new().await;
    let stage = stage(async |input, _, _| {
        tokio::time::sleep(Duration::from_millis(600)).await;
        Ok(Outcome::Emit(vec![output(&input.text)]))
    });
    let mut config = config();
    config.permits = 2;
    for n in 0..6 {
        world.send(&n.to_string()).await;
    }
    let running = world.run(&stage, config);
    until("two are at work", async || stage.calls() == 2).await;
    world.service.shutdown.trigger();
    ended(running).await.expect("a clean end");
    assert!(!world.service.health.ready());
    assert_eq!((stage.calls(), world.count(OUT).await), (2, 2));
    let info = world.consumer_info().await;
    assert_eq!((info.num_ack_pending, info.num_redelivered), (0, 0));
    assert_eq!((info.num_pending, world.count(IN).await), (4, 4));
}

#[tokio::test]
async fn what_cannot_finish_in_time_is_given_back_and_the_end_is_clean() {
    let world = World::new().await;
    let slow = stage(async |_, _, _| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Outcome::Skip("never"))
    });
    let service = world.server.service(Duration::from_secs(1)).await;
    let running = run_in(&service, &slow, spec(), config());
    world.send("a").await;
    until("it is at work", async || slow.calls() == 1).await;
    let started = Instant::now();
    service.shutdown.trigger();
    ended(running).await.expect("it was given back in time");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );

    // Long before the ack wait of 30 s.
    let quick = stage(async |_, cx, _| {
        assert_eq!(cx.delivered, 2);
        Ok(Outcome::Skip("done"))
    });
    let running = world.run(&quick, config());
    let started = Instant::now();
    until("another did it", async || world.count(IN).await == 0).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(world.count(DEAD).await, 0);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn publishing_that_waits_for_a_full_stream_ends_with_the_drain() {
    let world = World::new().await;
    world.jetstream.delete_stream(OUT).await.expect("deleted");
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    let service = world.server.service(Duration::from_secs(1)).await;
    let mut config = config();
    config.publish_patience = Duration::from_secs(60);
    let running = run_in(&service, &stage, spec(), config);
    world.send("a").await;
    until("it is at work", async || stage.calls() == 1).await;
    service.shutdown.trigger();
    ended(running).await.expect("it was given back in time");
    let info = world.consumer_info().await;
    assert_eq!(
        info.num_pending + info.num_ack_pending as u64,
        1,
        "still there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_would_not_stop_is_no_clean_end() {
    let world = World::new().await;
    let stuck = stage(async |_, _, _| {
        // Nothing can drop it before it comes back.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(4)));
        Ok(Outcome::Skip("too late"))
    });
    let service = world.server.service(Duration::from_secs(1)).await;
    let running = run_in(&service, &stuck, spec(), config());
    world.send("a").await;
    until("it is at work", async || stuck.calls() == 1).await;
    let started = Instant::now();
    service.shutdown.trigger();
    let error = ended(running).await.expect_err("work that would not stop");
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
    assert!(
        matches!(error, RunError::DeadlinePassed { unfinished: 1, .. }),
        "{error}"
    );
    assert_eq!(error.exit_code(), 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fatal_end_is_told_though_other_work_would_not_stop() {
    let world = World::new().await;
    let stage = stage(async |input, _, _| {
        if input.text == "fatal" {
            return Err::<Outcome, _>("the model is corrupt").fatal();
        }
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(4)));
        Ok(Outcome::Skip("too late"))
    });
    let service = world.server.service(Duration::from_secs(1)).await;
    let running = run_in(&service, &stage, spec(), config());
    world.send("stuck").await;
    until("it is at work", async || stage.calls() == 1).await;
    world.send("fatal").await;
    let error = ended(running).await.expect_err("a fatal end");
    assert!(matches!(error, RunError::Fatal { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[tokio::test]
async fn what_cannot_be_given_back_is_no_clean_end() {
    let mut world = World::new().await;
    let slow = stage(async |_, _, _| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Outcome::Skip("never"))
    });
    let service = world.server.service(Duration::from_secs(1)).await;
    let running = run_in(&service, &slow, spec(), config());
    world.send("a").await;
    until("it is at work", async || slow.calls() == 1).await;
    world.server.kill();
    service.shutdown.trigger();
    let error = ended(running).await.expect_err("nobody took it back");
    assert!(
        matches!(error, RunError::DeadlinePassed { unfinished: 1, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_idle_worker_ends_at_once() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let running = world.run(&stage, config());
    until("it is ready", async || world.service.health.ready()).await;
    let started = Instant::now();
    world.stop(running).await.expect("a clean end");
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_dead_server_does_not_hold_the_shutdown_past_its_deadline() {
    let mut world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("done")));
    let service = world.server.service(Duration::from_secs(2)).await;
    let running = run_in(&service, &stage, spec(), config());
    until("it is ready", async || service.health.ready()).await;
    world.server.kill();
    until("it noticed", async || !service.health.ready()).await;
    let started = Instant::now();
    service.shutdown.trigger();
    ended(running).await.expect("nothing was at work");
    assert!(
        started.elapsed() < Duration::from_millis(2500),
        "{:?}",
        started.elapsed()
    );
}
