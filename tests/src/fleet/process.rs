//! One child process: its log, its signals, its end and its next start.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::http;
use crate::place::program;

const GONE_LIMIT: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(10);
/// Longest wait for an answer of the admin port: one that is stopped gives none.
const ADMIN_LIMIT: Duration = Duration::from_millis(500);

/// A signal that a process may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Stop,
    Continue,
}

/// A program that is started again and again, with the same arguments. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    admin: Option<String>,
    child: Child,
}

impl Process {
    pub(super) fn edge(directory: &Path, data: &Path, address: &str) -> Self {
        let data = data.display().to_string();
        let arguments = ["--data-dir", &data, "--listen", address].map(str::to_owned);
        Self::launch("edge".to_owned(), directory, arguments.into(), None)
    }

    pub(super) fn stage(
        directory: &Path,
        stage: &str,
        number: usize,
        config: &Path,
        port: u16,
    ) -> Self {
        let admin = format!("127.0.0.1:{port}");
        let arguments = vec![
            "--config".to_owned(),
            config.display().to_string(),
            format!("--set=admin.listen={admin}"),
        ];
        let name = format!("{stage}-{number}");
        Self::launch(name, directory, arguments, Some(admin))
    }

    fn launch(
        name: String,
        directory: &Path,
        arguments: Vec<String>,
        admin: Option<String>,
    ) -> Self {
        let kind = name.split('-').next().unwrap_or_default();
        let program = program(&format!("foil-{kind}"));
        let log = directory.join(format!("{name}.log"));
        let child = spawn(&program, &arguments, &log);
        Self {
            name,
            program,
            arguments,
            log,
            admin,
            child,
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether its admin port says that it can work.
    pub fn is_ready(&self) -> bool {
        let admin = self.admin.as_deref().unwrap_or_default();
        http::get(admin, "/readyz", ADMIN_LIMIT).is_ok_and(|(status, _)| status == 200)
    }

    /// Status and body of `/readyz`; none while it does not answer.
    pub fn readiness(&self) -> Option<(u16, String)> {
        http::get(self.admin.as_deref()?, "/readyz", ADMIN_LIMIT).ok()
    }

    /// All that it has logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }

    /// Its metrics; none while it does not answer.
    pub fn metrics(&self) -> Option<String> {
        let answer = http::get(self.admin.as_deref()?, "/metrics", ADMIN_LIMIT);
        answer.ok().map(|(_, body)| body)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let sent = Command::new("kill")
            .args([name, &self.pid().to_string()])
            .stderr(Stdio::null())
            .status();
        // It fails for a process that has ended by itself, which is noticed elsewhere.
        sent.expect("`kill` runs");
    }

    /// SIGKILL, as the machine's out-of-memory killer would.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        self.child.wait().expect("a killed process ends");
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When that cannot be read.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state can be read")
    }

    /// Waits until it has ended by itself. None: it has not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// Starts it again after its end.
    ///
    /// # Panics
    /// When it still runs.
    pub fn start(&mut self) {
        assert!(self.wait(GONE_LIMIT).is_some(), "{} still runs", self.name);
        self.child = spawn(&self.program, &self.arguments, &self.log);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> Child {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log);
    let file = file.expect("a log file");
    Command::new(program)
        .env_clear()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("the log file"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}
