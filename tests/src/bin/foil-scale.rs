//! `tests/scale`: bursts of updates over replicas that come and go by the rule of the Helm chart.
//! Exit codes: 0 all holds, 1 something is lost, flaps or does not get faster, 2 usage.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use foil_tests::scale::{self, Options};

/// Whether Foil keeps up by itself: replicas by the rule of the Helm chart, over real processes
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  tests/scale --png scale.png --json scale.json > scale.md")]
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
    #[arg(long, default_value_t = 5.0, value_parser = compression)]
    compression: f64,
    /// Milliseconds of an answer of the language model's stub, in a burst
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    latency_ms: u64,
    /// The same in the measurement by replicas
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    speedup_latency_ms: u64,
    /// Seconds that a profile waits for further differences each time
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    debounce_s: f64,
    /// Seconds that it waits for them at most
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
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
    /// Writes all of it there, with every sample, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
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
    if let Some(file) = &arguments.json {
        std::fs::write(file, &json).expect("the JSON is written");
    }
    if let Some(png) = &arguments.png {
        draw(&json, png);
    }
    println!("{}", scale::markdown(&report, &command()).trim_end());
    if report.holds() {
        // It is only a temporary folder.
        let _ = std::fs::remove_dir_all(&directory);
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "scale: NOT all holds; data and logs are kept in {}",
        directory.display()
    );
    ExitCode::FAILURE
}

/// As it was typed, but for the folders.
fn command() -> String {
    let arguments = std::env::args().skip(1);
    let words = arguments.map(|word| match word.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => word,
    });
    let all: Vec<String> = [String::from("tests/scale")]
        .into_iter()
        .chain(words)
        .collect();
    all.join(" ")
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
