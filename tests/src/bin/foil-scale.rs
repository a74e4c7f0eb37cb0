//! `tests/scale`: bursts of updates over replicas that come and go by the rule of the Helm chart.
//! Exit codes: 0 all holds, 1 something is lost, flaps or does not get faster, 2 usage.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use foil_tests::scale::{self, Options, Report};

/// Whether Foil keeps up by itself: replicas by the rule of the Helm chart, over real processes
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  tests/scale --png scale.png --json > scale.json")]
struct Arguments {
    /// The value file of helm/foil/ci whose numbers are the rule's
    #[arg(long, default_value = "production", value_parser = ["production", "gpu"])]
    values: String,
    /// Updates of a burst; 0: only what more replicas do
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    updates: u32,
    /// Bursts, each once all is at rest again
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10))]
    bursts: u64,
    /// Seconds of the rule in one second
    #[arg(long, default_value_t = 6.0, value_parser = compression)]
    compression: f64,
    /// Milliseconds of an answer of the language model's stub, in a burst
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    latency_ms: u64,
    /// The same in the measurement by replicas
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    speedup_latency_ms: u64,
    /// Seconds that a profile waits for further differences each time
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    debounce_s: f64,
    /// Seconds that it waits for them at most
    #[arg(long, default_value_t = 40.0, value_parser = seconds)]
    max_wait_s: f64,
    /// Records of the measurement by replicas
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(40..=200_000))]
    records: u32,
    /// Replicas of the extractor to measure with, the fewest first; none: only the burst
    #[arg(long, value_delimiter = ',', num_args = 0.., default_values_t = [1, 2, 4, 8],
          value_parser = clap::value_parser!(u32).range(1..=64))]
    replicas: Vec<u32>,
    /// Gives up a burst, or a measurement, after so many seconds
    #[arg(long, default_value_t = 1_200.0, value_parser = seconds)]
    limit_s: f64,
    /// Draws all of it there
    #[arg(long)]
    png: Option<PathBuf>,
    /// Prints JSON instead of text for people
    #[arg(long)]
    json: bool,
}

fn compression(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(times) if (1.0..=200.0).contains(&times) => Ok(times),
        _ => Err("must be between 1 and 200".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (1.0..=36_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be between 1 and 36000".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        values: arguments.values,
        updates: arguments.updates as usize,
        bursts: arguments.bursts,
        compression: arguments.compression,
        latency_ms: arguments.latency_ms,
        speedup_latency_ms: arguments.speedup_latency_ms,
        debounce_s: arguments.debounce_s,
        max_wait_s: arguments.max_wait_s,
        speedup_records: arguments.records as usize,
        speedup_replicas: arguments.replicas,
        limit_s: arguments.limit_s,
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Kept until all is known to hold: also when this panics.
    let directory = directory.keep();
    eprintln!("scale: data and logs are in {}", directory.display());
    let report = scale::run(&options, &directory).await;
    let json = serde_json::to_string(&report).expect("a report is JSON");
    if let Some(png) = &arguments.png {
        draw(&json, png);
    }
    if arguments.json {
        println!("{json}");
    } else {
        tell(&report);
    }
    if report.holds() {
        // It is only a temporary folder.
        let _ = std::fs::remove_dir_all(&directory);
        return ExitCode::SUCCESS;
    }
    for what in &report.wrong {
        eprintln!("scale: {what}");
    }
    eprintln!(
        "scale: NOT all holds; data and logs are kept in {}",
        directory.display()
    );
    ExitCode::FAILURE
}

fn draw(json: &str, png: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("plot_scale.py");
    let mut child = Command::new(foil_tests::asset("FOIL_TEST_PYTHON"))
        .arg(script)
        .arg(png)
        .stdin(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut stdin = child.stdin.take().expect("its standard input");
    stdin.write_all(json.as_bytes()).expect("it reads");
    drop(stdin);
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{} is not drawn", png.display());
}

fn tell(report: &Report) {
    let Options {
        updates,
        compression,
        latency_ms,
        ..
    } = &report.options;
    if let Some(burst) = &report.burst {
        println!(
            "{} bursts of {updates} updates, {:.0} s; a second is {compression} of the rule's, an \
             answer of the model takes {latency_ms} ms",
            report.options.bursts, burst.seconds
        );
        println!(
            "{:12}{:>10}{:>10}{:>8}",
            "stage", "most lag", "replicas", "turns"
        );
        for (stage, moves) in &burst.moves {
            let replicas = format!("{}-{}", moves.least, moves.most);
            println!(
                "{stage:12}{:>10}{replicas:>10}{:>8}",
                moves.lag, moves.turns
            );
        }
        let fresh = &burst.freshness;
        println!(
            "in a profile: {} updates, after {:.1} s (median), {:.1} s (95 %), {:.1} s (worst)",
            fresh.updates, fresh.median, fresh.p95, fresh.worst
        );
        println!("slowest end after SIGTERM: {:.1} s", burst.slowest_end);
    }
    if !report.speedup.is_empty() {
        println!(
            "{:>8}{:>9}{:>10}{:>12}{:>14}{:>12}{:>7}",
            "replicas", "seconds", "speed-up", "efficiency", "model asked", "processors", "load"
        );
    }
    for speed in &report.speedup {
        let row = &speed.row;
        println!(
            "{:>8}{:>9.1}{:>10.2}{:>12.2}{:>14.2}{:>12.2}{:>7.1}",
            row.replicas,
            row.seconds,
            speed.speedup,
            speed.efficiency,
            row.busy,
            row.processors,
            row.load
        );
    }
    let machine = &report.machine;
    println!(
        "{} cores; load {:.1} before, {:.1} in the end",
        machine.cores, machine.load_before, machine.load_after
    );
}
