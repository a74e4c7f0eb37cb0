//! A whole process: flags, configuration, admin port, signals, exit codes (`examples/echo.rs`).

mod echo;
mod neighbours;
#[path = "../support/mod.rs"]
mod support;

use std::io::Read as _;
use std::time::{Duration, Instant};

use echo::{Echo, output};
use support::{DEAD, IN, OUT, World, until};

#[tokio::test]
async fn it_works_shows_itself_and_ends_cleanly() {
    let world = World::new().await;
    let mut echo = Echo::start(&world, "10s");
    until("it is ready", async || echo.get("/readyz").0 == 200).await;
    world.send("hello").await;
    world
        .send_bytes(vec![0xff], async_nats::HeaderMap::new())
        .await;
    until("both are gone", async || world.count(IN).await == 0).await;
    assert_eq!(
        (world.texts(OUT).await, world.count(DEAD).await),
        (vec!["hello".to_owned()], 1)
    );
    assert_eq!(echo.get("/livez"), (200, "ok\n".to_owned()));
    let ready: serde_json::Value = serde_json::from_str(&echo.get("/readyz").1).expect("JSON");
    let names: Vec<_> = ready["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["echo.consumer", "echo.outputs", "nats", "running"]);
    let (_, metrics) = echo.get("/metrics");
    for line in [
        "foil_messages_total{outcome=\"ok\",reason=\"\",stage=\"echo\"} 1",
        "foil_messages_total{outcome=\"reject\",reason=\"undecodable\",stage=\"echo\"} 1",
        "foil_dead_letters_total{reason=\"undecodable\",stage=\"echo\"} 1",
        "foil_dead_letters_total{reason=\"poison\",stage=\"echo\"} 0",
        "foil_published_total{stage=\"echo\"} 1",
        "foil_redeliveries_total{stage=\"echo\"} 0",
        "foil_pull_errors_total{stage=\"echo\"} 0",
        "foil_inflight{stage=\"echo\"} 0",
        "foil_handle_duration_seconds_count{outcome=\"ok\",stage=\"echo\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert_eq!(echo.get("/nothing").0, 404);
    let log = echo.log.lock().expect("not poisoned").join("\n");
    assert!(!log.contains("hello"), "no text of a user in {log}");
    let line = log
        .lines()
        .find(|line| line.contains("dead-lettered"))
        .expect("it is logged");
    let line: serde_json::Value = serde_json::from_str(line).expect("a JSON log line");
    let trace = line["trace_id"].as_str().unwrap_or_default();
    assert!(trace.len() == 32 && line["stage"] == "echo", "{line}");
    echo.signal("TERM");
    assert_eq!(echo.exit().await, Some(0));
}

#[tokio::test]
async fn readiness_is_off_and_the_admin_port_open_while_it_drains() {
    let world = World::new().await;
    let mut echo = Echo::start(&world, "4s");
    world.send("sleep").await;
    until("it is at work", async || {
        world.consumer_info().await.num_ack_pending == 1
    })
    .await;
    echo.signal("INT");
    until("readiness is off", async || echo.get("/readyz").0 == 503).await;
    assert_eq!(echo.get("/livez").0, 200);
    let started = Instant::now();
    assert_eq!(echo.exit().await, Some(0), "it was given back in time");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(world.count(IN).await, 1);
}

#[tokio::test]
async fn a_handler_that_will_not_stop_ends_it_with_70() {
    let world = World::new().await;
    let mut echo = Echo::start(&world, "2s");
    world.send("block").await;
    until("it is at work", async || {
        world.consumer_info().await.num_ack_pending == 1
    })
    .await;
    echo.signal("TERM");
    let started = Instant::now();
    assert_eq!(echo.exit().await, Some(70));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(world.count(IN).await, 1);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new().await;
    let mut echo = Echo::start(&world, "30s");
    world.send("sleep").await;
    until("it is at work", async || {
        world.consumer_info().await.num_ack_pending == 1
    })
    .await;
    echo.signal("TERM");
    until("readiness is off", async || echo.get("/readyz").0 == 503).await;
    echo.signal("TERM");
    let started = Instant::now();
    assert_eq!(echo.exit().await, Some(1));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_fatal_error_ends_it_with_1() {
    let world = World::new().await;
    let mut echo = Echo::start(&world, "5s");
    world.send("fatal").await;
    assert_eq!(echo.exit().await, Some(1));
    assert_eq!(world.count(IN).await, 1);
}

/// The one failure that never reaches the failure path.
#[tokio::test]
async fn an_input_that_kills_the_process_is_dead_lettered_by_a_later_one() {
    let world = World::with_ack_wait(Duration::from_secs(1)).await;
    world.send("abort").await;
    let further = [("FOIL_ECHO__WORKER__MAX_DELIVERIES", "2")];
    for _ in 0..2 {
        let mut echo = Echo::start_with(&world, "5s", &further);
        assert_eq!(echo.exit().await, None, "killed by a signal of its own");
        assert_eq!((world.count(IN).await, world.count(DEAD).await), (1, 0));
    }
    let mut echo = Echo::start_with(&world, "5s", &further);
    until("the input is gone", async || world.count(IN).await == 0).await;
    let letters = world.messages(DEAD).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(support::header(&letters[0], "Foil-Dead-Reason"), "poison");
    assert_eq!(support::text_of(&letters[0].payload), "abort");
    echo.signal("TERM");
    assert_eq!(echo.exit().await, Some(0));
}

#[tokio::test]
async fn traces_go_to_the_collector_and_a_mute_one_does_not_hold_the_end() {
    let world = World::new().await;
    let collector = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", collector.local_addr().expect("bound"));
    let further = [
        ("FOIL_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("FOIL_TELEMETRY__SAMPLING", "1.0"),
    ];
    let mut echo = Echo::start_with(&world, "8s", &further);
    let heard = std::thread::spawn(move || {
        let (mut connection, _) = collector.accept().expect("a connection");
        let mut preface = [0; 14];
        connection.read_exact(&mut preface).expect("a greeting");
        // Kept open, and never answered.
        (preface, connection)
    });
    world.send("hello").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    until("the collector was called", async || heard.is_finished()).await;
    let (preface, _connection) = heard.join().expect("it was called");
    assert_eq!(&preface, b"PRI * HTTP/2.0");
    let started = Instant::now();
    echo.signal("TERM");
    assert_eq!(echo.exit().await, Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_bad_configuration_is_64_with_every_fault() {
    let variables = [("FOIL_ECHO__WORKER__PERMITS", "0"), ("FOIL_NATS__ULR", "x")];
    let arguments = ["--set", "telemetry.sampling=2", "--check-config"];
    let (code, _, stderr) = output(&variables, &arguments);
    assert_eq!(code, Some(64));
    for part in [
        "3 configuration faults",
        "echo.worker.permits",
        "nats.ulr",
        "telemetry.sampling",
    ] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
}

#[test]
fn flags_that_end_at_once() {
    let (code, stdout, _) = output(&[], &["--check-config"]);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "the configuration holds\n")
    );
    let secret = [("FOIL_NATS__TOKEN", "hunter2")];
    let (code, stdout, _) = output(&secret, &["--dump-config"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("token = \"***\"") && !stdout.contains("hunter2"),
        "{stdout}"
    );
    for wrong in [["--nonsense", ""], ["--set", "nosection=1"]] {
        assert_eq!(output(&[], &wrong).0, Some(2), "{wrong:?}");
    }
    let (code, stdout, _) = output(&[], &["--version"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("foil-echo "), "{stdout}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, _, stderr) = output(&[("FOIL_ADMIN__LISTEN", &address)], &[]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("cannot listen on {address}")),
        "{stderr}"
    );
}
