//! `foil ingest`: files of JSON lines into FOIL_UPDATES.

mod meter;
pub mod publisher;
pub mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use foil_proto::names::stream;
use foil_runtime::config::TelemetryConfig;
use foil_runtime::telemetry;
use serde::Serialize;
use tokio::io::{AsyncBufRead, BufReader};

use crate::cli::IngestArgs;
use crate::ndjson::{self, LINE_BYTES_MAX, Line, Lines};
use crate::render;
use crate::session::Session;
use meter::Meter;
use publisher::Publisher;

/// Faults printed for people.
const FAULTS_SHOWN: usize = 20;
/// Faults kept for JSON; more are only counted.
const FAULTS_KEPT: usize = 10_000;
const READ_BUFFER: usize = 64 * 1024;

/// A line that was not published.
#[derive(Debug, Serialize)]
struct Fault {
    file: String,
    line: u64,
    error: String,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    published: u64,
    /// Stored before, within the duplicate window.
    duplicates: u64,
    faults: Vec<Fault>,
    fault_count: u64,
    waited_seconds: Option<f64>,
    /// Dead letters that came while waiting.
    dead: Option<u64>,
    /// What was not done when the wait ended.
    left: Option<wait::Left>,
}

impl Summary {
    fn fault(&mut self, file: &str, line: u64, error: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            let file = file.to_owned();
            self.faults.push(Fault { file, line, error });
        }
    }
}

/// Publishes every line of every file, and waits for the work to be done when asked to.
///
/// # Errors
/// When a file cannot be read, or the stream does not take an update for a minute.
pub async fn run(session: &Session, args: &IngestArgs) -> Result<ExitCode> {
    // Each update begins a trace; the log would tear the progress bar apart.
    let quiet = TelemetryConfig {
        level: "error".to_owned(),
        ..session.config.telemetry.clone()
    };
    telemetry::init(&quiet, "ingest")?;
    let total = sizes(&args.files)?;
    let dead_before = if args.wait {
        wait::dead_sequence(session).await?
    } else {
        0
    };
    let mut meter = Meter::new(total);
    let mut summary = Summary::default();
    let result = publish(session, &args.files, &mut meter, &mut summary).await;
    meter.finish();
    if quiet.otlp_endpoint.is_some() {
        let limit = session.config.shutdown.deadline;
        tokio::task::spawn_blocking(move || telemetry::flush(limit)).await?;
    }
    if !session.json {
        print_published(&summary);
    }
    result.context("not everything is published; run it again, what is stored is not lost")?;
    if args.wait {
        let waited = wait::until_done(session, args.timeout).await?;
        let dead_after = wait::dead_sequence(session).await?;
        summary.waited_seconds = Some(waited.seconds);
        summary.dead = Some(dead_after.saturating_sub(dead_before));
        summary.left = waited.left;
    }
    if session.json {
        session.print_json(&summary)?;
    } else {
        print_waited(&summary);
    }
    let failed = summary.fault_count > 0 || summary.left.is_some();
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Bytes of all files together; none when one has no size. A file that cannot be read is known
/// before anything is published.
fn sizes(files: &[PathBuf]) -> Result<Option<u64>> {
    let mut total = Some(0);
    for path in files.iter().filter(|path| !is_stdin(path)) {
        let name = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
        let found = file
            .metadata()
            .with_context(|| format!("cannot read {name}"))?;
        ensure!(!found.is_dir(), "cannot read {name}: it is a directory");
        total = total.filter(|_| found.is_file()).map(|t| t + found.len());
    }
    Ok(total.filter(|_| !files.iter().any(|path| is_stdin(path))))
}

async fn publish(
    session: &Session,
    files: &[PathBuf],
    meter: &mut Meter,
    summary: &mut Summary,
) -> Result<()> {
    session
        .jetstream
        .get_stream(stream::UPDATES)
        .await
        .with_context(|| format!("{} (run `foil up` or `foil provision`)", stream::UPDATES))?;
    let mut publisher = Publisher::new(session.jetstream.clone());
    let mut result = Ok(());
    for path in files {
        result = if is_stdin(path) {
            let reader = BufReader::with_capacity(READ_BUFFER, tokio::io::stdin());
            one_file(session, "-", reader, &mut publisher, meter, summary).await
        } else {
            let name = path.display().to_string();
            let file = tokio::fs::File::open(path).await;
            let file = file.with_context(|| format!("cannot open {name}"))?;
            let reader = BufReader::with_capacity(READ_BUFFER, file);
            one_file(session, &name, reader, &mut publisher, meter, summary).await
        };
        if result.is_err() {
            break;
        }
    }
    let drained = publisher.drain().await;
    (summary.published, summary.duplicates) = publisher.counts();
    result.and(drained)
}

async fn one_file(
    session: &Session,
    name: &str,
    reader: impl AsyncBufRead + Unpin,
    publisher: &mut Publisher,
    meter: &mut Meter,
    summary: &mut Summary,
) -> Result<()> {
    let mut lines = Lines::new(reader);
    let mut counted = 0;
    loop {
        let next = lines.next().await;
        let Some((number, line)) = next.with_context(|| format!("cannot read {name}"))? else {
            return Ok(());
        };
        let parsed = match line {
            Line::TooLong => Err(format!("line: is longer than {LINE_BYTES_MAX} bytes")),
            Line::Text(text) => ndjson::parse(&text, &session.tenant, render::now_ms())
                .map_err(|faults| faults.to_string()),
        };
        match parsed {
            Ok(update) => {
                publisher
                    .publish(&update, || format!("{name}:{number}"))
                    .await?
            }
            Err(error) => summary.fault(name, number, error),
        }
        let (published, duplicates) = publisher.counts();
        meter.advance(
            lines.bytes() - counted,
            published + duplicates,
            summary.fault_count,
        );
        counted = lines.bytes();
    }
}

fn print_published(summary: &Summary) {
    for fault in summary.faults.iter().take(FAULTS_SHOWN) {
        note!("{}:{}: {}", fault.file, fault.line, fault.error);
    }
    let more = summary.fault_count.saturating_sub(FAULTS_SHOWN as u64);
    if more > 0 {
        note!("and {}", render::count(more, "more fault"));
    }
    let (published, duplicates) = (summary.published, summary.duplicates);
    say!(
        "published {published}, duplicates {duplicates}, faults {}",
        summary.fault_count
    );
}

fn print_waited(summary: &Summary) {
    let Some(seconds) = summary.waited_seconds else {
        return;
    };
    match &summary.left {
        None => say!("all of it is worked on, after {seconds:.0} s"),
        Some(left) => say!("not done after {seconds:.0} s: {left}"),
    }
    if let Some(dead @ 1..) = summary.dead {
        say!(
            "{}: `foil dead list` shows why",
            render::count(dead, "new dead letter")
        );
    }
}

#[cfg(test)]
pub(crate) mod tests;
