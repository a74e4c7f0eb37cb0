//! A nats-server as a child process, with JetStream in the data directory.

use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use async_nats::ServerAddr;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::io::AsyncBufReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cli::NatsServerArgs;

/// Longest wait for the server to listen: it may have to recover a large store.
const START_SECONDS: u64 = 60;
/// Lines of the server's log kept to explain why it ended.
const LOG_LINES: usize = 20;
/// What it says when it cannot write any more, the disk being full for one. It then leaves what is
/// published without an answer, even when there is room again, until it is started anew.
const CANNOT_WRITE: &str = "Critical write error";
/// Longest wait for those lines after it ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The running child; ended by [`NatsChild::stop`], and killed when dropped or when this process is
/// killed: one that stayed would hold the port and write to the store beside its successor.
pub struct NatsChild {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    store: PathBuf,
    cannot_write: Arc<Notify>,
}

impl NatsChild {
    /// Starts `program` on `address` and waits until it listens.
    ///
    /// # Errors
    /// When the program is missing, the port is in use, or the server ends at once: with its words.
    pub async fn start(program: &Path, address: &ServerAddr, data: &Path) -> Result<Self> {
        let host = address.host().replace("localhost", "127.0.0.1");
        let listen = format!("{host}:{}", address.port());
        // The server would say the same, but only in its log.
        std::net::TcpListener::bind(&listen).with_context(|| {
            format!(
                "nats.url: cannot start nats-server on {listen}; name a free port, or leave \
                 up.nats_server out to use the server that runs there"
            )
        })?;
        let store = data.join("nats");
        std::fs::create_dir_all(&store)
            .with_context(|| format!("cannot make {}", store.display()))?;
        let own = std::env::current_exe().context("cannot find the program of this process")?;
        let port = address.port().to_string();
        let mut child = Command::new(own)
            .args(["nats-server", "--parent", &std::process::id().to_string()])
            .arg(program)
            .args([
                "--jetstream",
                "--addr",
                &host,
                "--port",
                &port,
                "--store_dir",
            ])
            .arg(&store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // A ^C at the terminal goes to the whole group, and the stages still need the server
            // while they drain.
            .process_group(0)
            .spawn()
            .context("cannot start a child process for nats-server")?;
        let log = Arc::default();
        let stderr = child.stderr.take();
        let cannot_write = Arc::default();
        let reading = |stderr| keep_last(stderr, Arc::clone(&log), Arc::clone(&cannot_write));
        let reader = stderr.map(|stderr| tokio::spawn(reading(stderr)));
        let mut server = Self {
            child,
            log,
            reader,
            store,
            cannot_write,
        };
        server.wait_until_listening(&listen).await?;
        Ok(server)
    }

    async fn wait_until_listening(&mut self, listen: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "nats-server ended at once ({status}): {}",
                    self.last_words().await
                );
            }
            if Instant::now() > deadline {
                bail!("nats-server does not listen on {listen}: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The log of a server that has ended, to its end.
    async fn last_words(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = tokio::time::timeout(LAST_WORDS, reader).await;
        }
        self.log()
    }

    fn log(&self) -> String {
        let lines = self.log.lock().map(|lines| lines.join("\n  "));
        format!("\n  {}", lines.unwrap_or_default())
    }

    /// Returns when the child has ended by itself, with its last words, or keeps no messages any
    /// more because it cannot write.
    pub async fn ended(&mut self) -> String {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = self.cannot_write.notified() => {
                return format!(
                    "nats-server stores nothing any more; if the disk of {} is full make room, then \
                     start again: {}",
                    self.store.display(),
                    self.log()
                );
            }
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("nats-server ended ({status}): {}", self.last_words().await)
    }

    /// Ends it cleanly; kills it after 10 seconds.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // An error says that it has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let limit = Duration::from_secs(10);
        if tokio::time::timeout(limit, self.child.wait())
            .await
            .is_err()
        {
            tracing::warn!("nats-server did not end within 10 s and is killed");
            let _ = self.child.kill().await;
        }
    }
}

/// Becomes the server. The kernel is asked to kill it with the process that started this one, and
/// only a process itself can ask that: so the child begins as this program.
///
/// # Errors
/// When the program cannot be started, or the other process is gone already.
pub fn become_server(args: &NatsServerArgs) -> Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie nats-server to this process")?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    ensure!(
        parent == Some(args.parent),
        "the process that started this one is gone"
    );
    let error = std::process::Command::new(&args.program)
        .args(&args.arguments)
        .exec();
    let program = args.program.display();
    Err(anyhow!(error).context(format!(
        "up.nats_server: cannot run {program}; name the path of a nats-server"
    )))
}

async fn keep_last(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>, cannot_write: Arc<Notify>) {
    let mut lines = tokio::io::BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.contains("[ERR]") {
            true => tracing::error!(target: "nats_server", "{line}"),
            false => tracing::debug!(target: "nats_server", "{line}"),
        }
        let failed = line.contains(CANNOT_WRITE);
        if let Ok(mut log) = log.lock() {
            if log.len() == LOG_LINES {
                log.remove(0);
            }
            log.push(line);
        }
        if failed {
            // Kept for who listens later.
            cannot_write.notify_one();
        }
    }
}
