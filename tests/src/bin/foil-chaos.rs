//! `tests/chaos`: updates and faults by a seeded schedule over real processes. Exit codes: 0 all
//! holds, 1 something is lost, doubled, stale, left or unexplained, 2 usage.

use std::process::ExitCode;

use clap::Parser;
use foil_tests::chaos::{self, Options, Report};

/// Least updates of a run that says nothing else.
const UPDATES_MIN: usize = 3_000;
const UPDATES_PER_MINUTE: f64 = 600.0;

/// Kills, stops and restarts everything under a stream of updates, and proves that nothing is lost
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  tests/chaos --minutes 15 --seed 1 --json")]
struct Arguments {
    /// How long faults are done; the wait for quiet comes on top
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// The same seed, minutes and updates give the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Updates to publish [default: 600 a minute, at least 3000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    updates: Option<u32>,
    /// Prints JSON instead of text for people
    #[arg(long)]
    json: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.1..=1440.0).contains(&minutes) => Ok(minutes),
        _ => Err("must be between 0.1 and 1440".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = (arguments.minutes * UPDATES_PER_MINUTE) as usize;
    let updates = arguments.updates.map(|updates| updates as usize);
    let options = Options {
        seed: arguments.seed,
        minutes: arguments.minutes,
        updates: updates.unwrap_or(usual.max(UPDATES_MIN)),
        users: 200,
        items: 60,
        replicas: 2,
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Kept until all is known to hold: also when this panics.
    let directory = directory.keep();
    eprintln!("chaos: data and logs are in {}", directory.display());
    let report = chaos::run(&options, &directory).await;
    let text = serde_json::to_string(&report).expect("a report is JSON");
    if arguments.json {
        println!("{text}");
    } else {
        tell(&report);
    }
    if report.holds() {
        // It is only a temporary folder.
        let _ = std::fs::remove_dir_all(&directory);
        return ExitCode::SUCCESS;
    }
    for what in &report.wrong {
        eprintln!("chaos: {what}");
    }
    eprintln!(
        "chaos: NOT all holds; data and logs are kept in {}",
        directory.display()
    );
    ExitCode::FAILURE
}

fn tell(report: &Report) {
    let Report {
        seed,
        updates,
        records,
        seconds,
        ..
    } = report;
    println!("seed {seed}: {updates} updates, {records} records in the end, {seconds:.0} s");
    let rows = [
        ("kills (-9)", report.kills),
        ("stops", report.stops),
        ("restarts", report.restarts),
        ("faults of models", report.model_faults),
        ("redelivered", report.redelivered),
        ("duplicates dropped by NATS", report.duplicates),
        ("repeats seen by the store", report.repeated),
        ("lost", report.lost),
        ("doubled", report.doubled),
        ("stale", report.stale),
        ("left", report.left),
        ("brought back by NATS", report.brought_back),
        ("dead letters", report.dead),
        ("unexplained ones", report.unexplained_dead),
        ("processes that fell", report.fell),
    ];
    for (name, count) in rows {
        println!("{name:28}{count:>8}");
    }
}
