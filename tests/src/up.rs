//! A running `foil up`.

use std::net::TcpStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::process::Child;

use crate::http;
use crate::place::Place;

const READY_LIMIT: Duration = Duration::from_secs(30);
const READY_ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Past its own deadline of 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);
const GONE_LIMIT: Duration = Duration::from_secs(5);
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Lines of its log shown when a test fails.
const LOG_LINES: usize = 40;

/// A `foil up` that was ready; killed when dropped, and its nats-server with it.
#[derive(Debug)]
pub struct Up {
    child: Child,
    nats: String,
    log: std::path::PathBuf,
}

impl Up {
    pub(crate) async fn start(place: &Place, further: &[&str]) -> Self {
        let log = place.log();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let mut command = place.command(further.iter().chain(&["up"]));
        let child = command
            .stdout(file.try_clone().expect("the log file"))
            .stderr(file)
            .spawn()
            .expect("foil runs");
        let mut up = Self {
            child,
            nats: place.nats_address(),
            log,
        };
        let admin = place.admin_address();
        let until = Instant::now() + READY_LIMIT;
        while !ready(&admin) {
            let ended = up.child.try_wait().expect("its state");
            assert_eq!(ended, None, "foil up ended");
            assert!(
                Instant::now() < until,
                "foil up is not ready after {READY_LIMIT:?}"
            );
            tokio::time::sleep(POLL_EVERY).await;
        }
        up
    }

    /// Process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL, as the machine's out-of-memory killer would; its nats-server must go with it.
    ///
    /// # Panics
    /// When either stays.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("it runs");
        let status = self.child.wait().await.expect("it ends");
        assert!(!status.success(), "it ended by itself: {status}");
        assert!(
            self.wait_until_gone(),
            "nats-server outlived the foil up that started it"
        );
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it does not end within its deadline.
    pub async fn terminate(mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill").arg(&pid).status();
        assert!(sent.expect("`kill` runs").success(), "no signal was sent");
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        let status = ended.expect("it ends in time").expect("its state");
        assert!(self.wait_until_gone(), "nats-server was left behind");
        status
    }

    /// How it ended by itself, and its log.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn ended(mut self, limit: Duration) -> (ExitStatus, String) {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status = ended.expect("it ends in time").expect("its state");
        let log = std::fs::read_to_string(&self.log).expect("its log");
        (status, log)
    }

    /// The kernel kills the server right after its parent, but not before this process knows.
    fn wait_until_gone(&self) -> bool {
        let until = Instant::now() + GONE_LIMIT;
        while TcpStream::connect(&self.nats).is_ok() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(POLL_EVERY);
        }
        true
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("foil up, last lines:\n{}", lines[from..].join("\n"));
        }
        // An error says that it has ended already.
        let _ = self.child.start_kill();
        self.wait_until_gone();
    }
}

fn ready(admin: &str) -> bool {
    http::get(admin, "/readyz", READY_ANSWER_LIMIT).is_ok_and(|(status, _)| status == 200)
}
