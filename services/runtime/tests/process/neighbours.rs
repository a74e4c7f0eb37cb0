//! What one bad message costs the others: two processes, restarted as an orchestrator would, and a
//! steady stream of small work with the bad message in the middle of it.

use std::time::{Duration, Instant};

use crate::echo::Echo;
use crate::support::{DEAD, IN, OUT, World, header, text_of, until};

const NEIGHBOURS: usize = 300;
const EVERY: Duration = Duration::from_millis(20);
/// What a killed process held comes again after this time.
const ACK_WAIT: Duration = Duration::from_secs(1);
const SETTINGS: [(&str, &str); 2] = [
    ("FOIL_ECHO__WORKER__TIMEOUT", "1s"),
    ("FOIL_ECHO__WORKER__BACKOFF_BASE", "200ms"),
];
/// Neighbours that may be taken for poison as well: those that were at work beside the bad message at
/// its first death, and each time after stood in line behind it. Each does with a chance of 1 in 16.
const SHARED_FATE_MAX: usize = 3;

/// How long the neighbours took, from the storing of each to that of its output.
struct Delays {
    median: Duration,
    worst: Duration,
}

/// What became of a run.
struct Ended {
    delays: Delays,
    deaths: usize,
    /// Reason and text of each dead letter.
    dead: Vec<(String, String)>,
}

async fn send(world: &World, bad: Option<&str>) {
    let mut tick = tokio::time::interval(EVERY);
    for n in 0..NEIGHBOURS {
        tick.tick().await;
        if n == NEIGHBOURS / 4
            && let Some(bad) = bad
        {
            world.send(bad).await;
        }
        world.send(&format!("work {n}")).await;
    }
}

/// Starts what ended again, as an orchestrator would, until nothing is left to do. Gives how often.
async fn supervise(world: &World, echoes: &mut [Echo]) -> usize {
    let mut deaths = 0;
    let last = 1 + NEIGHBOURS as u64;
    let limit = Instant::now() + Duration::from_secs(40);
    loop {
        for echo in echoes.iter_mut() {
            if echo.ended() {
                deaths += 1;
                *echo = Echo::start_with(world, "5s", &SETTINGS);
            }
        }
        let served = world.count(OUT).await + world.count(DEAD).await;
        if served >= NEIGHBOURS as u64 && world.count(IN).await == 0 {
            return deaths;
        }
        assert!(Instant::now() < limit, "{served} of {last} were served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(bad: Option<&str>) -> Ended {
    let world = World::with_ack_wait(ACK_WAIT).await;
    let mut echoes = [(); 2].map(|()| Echo::start_with(&world, "5s", &SETTINGS));
    for echo in &echoes {
        until("both are ready", async || echo.get("/readyz").0 == 200).await;
    }
    let ((), deaths) = tokio::join!(send(&world, bad), supervise(&world, &mut echoes));
    let dead = world.messages(DEAD).await;
    let dead = dead.iter().map(|letter| {
        let reason = header(letter, "Foil-Dead-Reason").to_owned();
        (reason, text_of(&letter.payload))
    });
    let dead: Vec<_> = dead.collect();
    let mut texts = world.texts(OUT).await;
    texts.extend(dead.iter().map(|(_, text)| text.clone()));
    texts.retain(|text| text.starts_with("work"));
    texts.sort();
    texts.dedup();
    assert_eq!(
        texts.len(),
        NEIGHBOURS,
        "every neighbour is served; dead: {dead:?}"
    );
    for mut echo in echoes {
        echo.signal("TERM");
        assert_eq!(echo.exit().await, Some(0));
    }
    Ended {
        delays: delays(&world).await,
        deaths,
        dead,
    }
}

async fn delays(world: &World) -> Delays {
    let outputs = world.messages(OUT).await;
    let mut delays: Vec<Duration> = outputs
        .iter()
        .map(|output| {
            let stored = output.time.unix_timestamp_nanos() / 1_000_000;
            let updated: i128 = header(output, "Foil-Updated-At")
                .parse()
                .expect("milliseconds");
            Duration::from_millis(u64::try_from(stored - updated).unwrap_or(0))
        })
        .collect();
    delays.sort();
    Delays {
        median: delays[delays.len() / 2],
        worst: delays[delays.len() - 1],
    }
}

fn tell(what: &str, without: &Ended, with: &Ended) {
    println!(
        "{what}: {NEIGHBOURS} neighbours served; median {:?} ({:?} without it), worst {:?} ({:?}); \
         {} processes died",
        with.delays.median,
        without.delays.median,
        with.delays.worst,
        without.delays.worst,
        with.deaths,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_kills_its_process_is_buried_and_its_neighbours_are_served() {
    let without = run(None).await;
    let with = run(Some("abort")).await;
    tell("a message that kills its process", &without, &with);
    assert_eq!((without.deaths, without.dead.len()), (0, 0));
    assert_eq!(with.deaths, 5, "once for each delivery that it is allowed");
    let (bad, beside): (Vec<_>, Vec<_>) = with.dead.iter().partition(|(_, text)| text == "abort");
    assert_eq!(bad, [&("poison".to_owned(), "abort".to_owned())]);
    println!("taken for poison as well: {}", beside.len());
    assert!(beside.len() <= SHARED_FATE_MAX, "{beside:?}");
    // Who was at work beside it waits for the ack wait each time, the others for nothing.
    assert!(with.delays.median < without.delays.median + Duration::from_millis(200));
    assert!(with.delays.worst < (ACK_WAIT + Duration::from_secs(2)) * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_hangs_is_buried_and_its_neighbours_do_not_wait() {
    let without = run(None).await;
    let with = run(Some("sleep")).await;
    tell("a message that hangs", &without, &with);
    assert_eq!(with.dead, [("exhausted".to_owned(), "sleep".to_owned())]);
    assert_eq!(with.deaths, 0);
    assert!(with.delays.median < without.delays.median + Duration::from_millis(200));
    // It takes one of sixteen permits.
    assert!(with.delays.worst < without.delays.worst + Duration::from_secs(1));
}
