//! A nats-server as a child process, with JetStream in the data directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::ServerAddr;
use tokio::io::AsyncBufReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Longest wait for the server to listen: it may have to recover a large store.
const START_SECONDS: u64 = 60;
/// Lines of the server's log kept to explain why it ended.
const LOG_LINES: usize = 20;

/// The running child; ended by [`NatsChild::stop`], and killed when dropped.
pub struct NatsChild {
    child: Child,
    log: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
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
        std::net::TcpListener::bind(&listen)
            .with_context(|| format!("cannot start nats-server on {listen} (nats.url)"))?;
        let store = data.join("nats");
        std::fs::create_dir_all(&store)
            .with_context(|| format!("cannot make {}", store.display()))?;
        let mut child = Command::new(program)
            .args([
                "--jetstream",
                "--addr",
                &host,
                "--port",
                &address.port().to_string(),
            ])
            .arg("--store_dir")
            .arg(&store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // A ^C at the terminal goes to the whole group, and the stages still need the server
            // while they drain.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} (up.nats_server)", program.display()))?;
        let log = std::sync::Arc::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_last(stderr, std::sync::Arc::clone(&log)));
        }
        let mut server = Self { child, log };
        server.wait_until_listening(&listen).await?;
        Ok(server)
    }

    async fn wait_until_listening(&mut self, listen: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "nats-server ended at once ({status}): {}",
                    self.last_words()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "nats-server does not listen on {listen}: {}",
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let lines = self.log.lock().map(|lines| lines.join("\n  "));
        format!("\n  {}", lines.unwrap_or_default())
    }

    /// Returns when the child has ended by itself, with its last words.
    pub async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("nats-server ended ({status}): {}", self.last_words())
    }

    /// Ends it cleanly; kills it after 10 seconds.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            let _ = Command::new("kill")
                .args(["-TERM", &pid.to_string()])
                .status()
                .await;
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

async fn keep_last(
    stderr: tokio::process::ChildStderr,
    log: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
) {
    let mut lines = tokio::io::BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "nats_server", "{line}");
        if let Ok(mut log) = log.lock() {
            if log.len() == LOG_LINES {
                log.remove(0);
            }
            log.push(line);
        }
    }
}
