//! A data directory with addresses of its own, and the verbs run against it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::http;
use crate::look::Look;
use crate::up::Up;

/// Longest time for a verb that does not say how long it may take.
const VERB_LIMIT: Duration = Duration::from_secs(60);

const METRICS_LIMIT: Duration = Duration::from_secs(5);

/// The value of a variable that `deploy/local/env.sh` sets: a file of the set-up.
///
/// # Panics
/// When it is not set, or names no file: a test that needs it must not pass without it.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
pub fn asset(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} is not set: run the tests by tests/run"));
    assert!(
        path.is_file(),
        "{variable} names no file: {}; run deploy/local/setup --tests",
        path.display()
    );
    path
}

/// A program of Foil that was built beside this one: a test, or a command of this package.
///
/// # Panics
/// When it was not built.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the program's own path");
    let folder = own.parent().expect("a folder of programs");
    // Test programs are in a folder of their own, below.
    let folders = [Some(folder), folder.parent()];
    let mut paths = folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name));
    let found = paths.find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run tests/run, or cargo build --release --workspace",
            own.display()
        )
    })
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code; none when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The same, when the command succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Where one Foil lives. It outlasts the `foil up`s that are started in it.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    ports: [u16; 3],
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A new directory, and three ports that nobody has now.
    ///
    /// # Panics
    /// When there are none.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Held together, so that they differ.
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = held.map(|port| port.local_addr().expect("its address").port());
        Self { directory, ports }
    }

    /// `up.data_dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A file in a folder that goes with this place.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// `host:port` of NATS.
    pub fn nats_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// `host:port` of Qdrant.
    pub fn qdrant_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// `host:port` of the admin server.
    pub fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// `foil` in this place. `further` come last, so that they win.
    pub fn command<S: AsRef<OsStr>>(&self, further: impl IntoIterator<Item = S>) -> Command {
        let set = |key: &str, value: &dyn std::fmt::Display| format!("--set={key}={value}");
        let path = |variable| asset(variable).display().to_string();
        let mut command = Command::new(program("foil"));
        // Settings of the person who runs the tests are not the tests'.
        command
            .env_clear()
            .arg(set("nats.url", &format!("nats://{}", self.nats_address())))
            .arg(set(
                "store.qdrant_url",
                &format!("http://{}", self.qdrant_address()),
            ))
            .arg(set("admin.listen", &self.admin_address()))
            .arg(set("up.data_dir", &self.data_dir().display()))
            .arg(set("up.nats_server", &path("FOIL_TEST_NATS_SERVER")))
            .arg(set("llm.model", &path("FOIL_TEST_LLM_MODEL")))
            .arg(set("embed.model", &path("FOIL_TEST_EMBED_MODEL")))
            .args(further)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts `foil up` and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready within 30 s.
    pub async fn up(&self, further: &[&str]) -> Up {
        Up::start(self, further).await
    }

    /// Runs a verb to its end.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.run_within(VERB_LIMIT, arguments).await
    }

    /// Runs a verb to its end, within `limit`.
    ///
    /// # Panics
    /// When it takes longer.
    pub async fn run_within<S: AsRef<OsStr>>(
        &self,
        limit: Duration,
        arguments: impl IntoIterator<Item = S>,
    ) -> Output {
        let mut command = self.command(arguments);
        let output = tokio::time::timeout(limit, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("not done within {limit:?}: {command:?}"));
        let output = output.expect("the command runs");
        Output {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `foil ingest FILES --wait`.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub async fn ingest(&self, files: &[PathBuf], limit: Duration) -> Output {
        let waits = ["ingest", "--wait", "--json", "--timeout"].map(str::to_owned);
        let timeout = format!("{}s", limit.as_secs().saturating_sub(5));
        let files = files.iter().map(|path| path.display().to_string());
        let arguments = waits.into_iter().chain([timeout]).chain(files);
        self.run_within(limit, arguments).await
    }

    /// Connects to what runs here.
    ///
    /// # Panics
    /// When nothing does.
    pub async fn look(&self) -> Look {
        Look::at(&self.nats_address(), &self.qdrant_address()).await
    }

    /// What `/metrics` of a running `foil up` says.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn metrics(&self) -> String {
        let answer = http::get(&self.admin_address(), "/metrics", METRICS_LIMIT);
        let (status, text) = answer.expect("the admin port answers");
        assert_eq!(status, 200, "{text}");
        text
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("up.log")
    }

    /// Where it all is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}
