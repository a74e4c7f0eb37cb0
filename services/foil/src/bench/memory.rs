//! What `foil up` keeps in memory: a process of its own, with both models, after the corpus.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use foil_proto::names::event;
use foil_proto::v1;
use foil_proto::v1::update::Change;
use tempfile::TempDir;

use super::Reading;
use super::rig::{events, free_port};
use crate::cli::Global;
use crate::commands::ingest::wait;
use crate::commands::status::probe::{Readiness, readiness};
use crate::ndjson;
use crate::render;
use crate::session::Session;

const START: Duration = Duration::from_secs(120);
const INGEST: &str = "10m";
/// For one user's comparisons, as far as they get.
const CONTEXT: &str = "90s";
const SETTLE: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(40);
const LOG_LINES: usize = 5;

/// Starts it, ingests the corpus, has one user compared and one text written, and looks.
///
/// # Errors
/// When there is no corpus, or a step fails.
pub async fn measure(global: &Global, corpus: &Path) -> Result<Vec<Reading>> {
    let files = corpus_files(corpus)?;
    let reader = reader(&files)?;
    let up = Up::start(global).await?;
    let ingest = ["ingest", "--wait", "--timeout", INGEST].map(str::to_owned);
    let names = files.iter().map(|file| file.display().to_string());
    let done = up.verb(ingest.into_iter().chain(names)).await?;
    ensure!(done, "the corpus was not ingested");
    let of_reader = |verb: &str, more: &[&str]| {
        let mut words = vec![verb.to_owned(), reader.user.clone()];
        let tenant = ["--tenant", &reader.tenant, "--item", &reader.item];
        let limit = ["--timeout", CONTEXT];
        words.extend(
            tenant
                .iter()
                .chain(&limit)
                .chain(more)
                .map(|w| (*w).to_owned()),
        );
        words
    };
    // Past its time limit it fails, and what was compared until then counts.
    let whole = up.verb(of_reader("context", &["--wait"])).await?;
    let written = up
        .verb(of_reader("generate", &["--max-tokens", "64"]))
        .await?;
    ensure!(written, "no text was written");
    let session = Session::open(&up.global()).await?;
    let waited = wait::until_done(&session, SETTLE).await?;
    let compared = events(&session.jetstream, event::DIFFERENCE_STORED).await?;
    ensure!(compared > 0, "the language model compared nothing");
    let own = memory(up.child.id())?;
    let server = child_of(up.child.id()).map(memory).transpose()?;
    let state = match (whole, waited.left) {
        (true, None) => "idle".to_owned(),
        (_, None) => "idle, after the time limit of the context".to_owned(),
        (_, Some(left)) => format!("still at work ({left})"),
    };
    Ok(vec![Reading {
        key: "rss_mb",
        value: own.resident,
        note: format!(
            "`foil up` with both models and the embedded Qdrant after {} files of {}, {compared} \
             comparisons and a text, {state}: {:.0} MB resident, {:.0} MB at its peak; its \
             nats-server, not included, {:.0} MB.",
            files.len(),
            corpus.display(),
            own.resident,
            own.peak,
            server.map_or(f64::NAN, |server| server.resident),
        ),
    }])
}

/// The folder's `.ndjson` files by name, the items among them first.
///
/// # Errors
/// When there is none.
pub fn corpus_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.display();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("--corpus: cannot read the folder {name}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
        {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "--corpus: no .ndjson file in {name}");
    files.sort();
    Ok(files)
}

/// Whose record is the first of the corpus.
struct Reader {
    tenant: String,
    user: String,
    item: String,
}

fn reader(files: &[PathBuf]) -> Result<Reader> {
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        for line in text.lines() {
            let update = ndjson::parse(line.as_bytes(), super::texts::TENANT, render::now_ms());
            if let Ok(v1::Update {
                tenant,
                change: Some(Change::RecordUpsert(record)),
            }) = update
            {
                let (user, item) = (record.user, record.item);
                return Ok(Reader { tenant, user, item });
            }
        }
    }
    bail!("--corpus: holds no record")
}

/// A running `foil up`; dropped, it ends, and its nats-server with it.
struct Up {
    child: Child,
    config: Option<PathBuf>,
    set: Vec<(String, String)>,
    directory: TempDir,
}

impl Up {
    async fn start(global: &Global) -> Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut set = global.set.clone();
        for (key, value) in [
            ("nats.url", format!("nats://127.0.0.1:{}", free_port()?)),
            (
                "store.qdrant_url",
                format!("http://127.0.0.1:{}", free_port()?),
            ),
            ("admin.listen", admin.to_string()),
            (
                "up.data_dir",
                directory.path().join("data").display().to_string(),
            ),
        ] {
            set.push((key.to_owned(), value));
        }
        let log = File::create(directory.path().join("log")).context("no log file")?;
        let child = command(global.config.as_deref(), &set)?
            .arg("up")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start foil up")?;
        let mut up = Self {
            child,
            config: global.config.clone(),
            set,
            directory,
        };
        let end = Instant::now() + START;
        while !matches!(readiness(admin).await, Readiness::Ready { .. }) {
            if let Some(status) = up.child.try_wait()? {
                bail!("foil up ended ({status}): {}", up.last_words());
            }
            ensure!(
                Instant::now() < end,
                "foil up is not ready: {}",
                up.last_words()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(up)
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ")
    }

    fn global(&self) -> Global {
        Global {
            config: self.config.clone(),
            set: self.set.clone(),
            tenant: Some(super::texts::TENANT.to_owned()),
            json: false,
        }
    }

    /// Runs another verb against it; whether that ended well.
    async fn verb(&self, words: impl IntoIterator<Item = String>) -> Result<bool> {
        let mut command =
            tokio::process::Command::from(command(self.config.as_deref(), &self.set)?);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(command.kill_on_drop(true).status().await?.success())
    }
}

/// This program, with the flags that every verb takes.
fn command(config: Option<&Path>, set: &[(String, String)]) -> Result<Command> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let mut command = Command::new(program);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    for (key, value) in set {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    Ok(command)
}

impl Drop for Up {
    /// Blocks until it has ended: killed at once it would leave its nats-server behind.
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let end = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Megabytes of a process.
struct Resident {
    resident: f64,
    peak: f64,
}

fn memory(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let megabytes = |name: &str| {
        let kib: Option<f64> = field(&status, name).and_then(|text| text.parse().ok());
        kib.map(|kib| kib * 1024.0 / 1e6)
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok(Resident {
        resident: megabytes("VmRSS")?,
        peak: megabytes("VmHWM")?,
    })
}

/// The first word of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let lines = status.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next()?.split_whitespace().next()
}

/// The process that this one started, if there is one.
fn child_of(parent: u32) -> Option<u32> {
    let parent = parent.to_string();
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field(&status, "PPid") == Some(&parent)
    })
}
