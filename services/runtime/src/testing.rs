//! A real nats-server for tests, of this crate and of others (cargo feature `testing`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::config::NatsConfig;
use crate::health::Health;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::stage::Context;

/// Names the binary.
pub const SERVER_VARIABLE: &str = "FOIL_TEST_NATS_SERVER";
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server on a free loopback port, with JetStream in a directory. It ends when this is dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    port: u16,
    directory: PathBuf,
    further: String,
    _temporary: Option<tempfile::TempDir>,
}

impl NatsServer {
    /// Starts one with its store in `directory`, or in one of its own that goes with it.
    ///
    /// # Panics
    /// When `FOIL_TEST_NATS_SERVER` is unset, or the server does not come up.
    pub fn start(directory: Option<&Path>) -> Self {
        Self::start_with(directory, "")
    }

    /// The same, with further lines for the server's configuration file (users, limits).
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub fn start_with(directory: Option<&Path>, further: &str) -> Self {
        let temporary = directory
            .is_none()
            .then(|| tempfile::tempdir().expect("a temporary directory"));
        let directory = match (&temporary, directory) {
            (Some(temporary), _) => temporary.path().to_owned(),
            (None, Some(directory)) => directory.to_owned(),
            (None, None) => unreachable!("one of the two is there"),
        };
        let (child, port) = launch(&directory, further, None);
        Self {
            child,
            port,
            directory,
            further: further.to_owned(),
            _temporary: temporary,
        }
    }

    /// As in `nats.url`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A configuration for this server.
    pub fn config(&self) -> NatsConfig {
        NatsConfig {
            url: self.url(),
            ..NatsConfig::default()
        }
    }

    /// A connected client.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn client(&self) -> async_nats::Client {
        let client = async_nats::connect(self.url()).await;
        client.expect("the test server answers")
    }

    /// What a stage runs in, with a connection and a shutdown of its own.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn service(&self, shutdown_deadline: Duration) -> Service {
        let health = Health::new();
        let nats = crate::nats::connect_watched(&self.config(), "test", &health).await;
        let nats = nats.expect("a test configuration holds");
        nats.flush().await.expect("the test server answers");
        Service {
            health,
            nats,
            shutdown: Shutdown::new(shutdown_deadline),
        }
    }

    /// SIGKILL, as a machine would fail.
    ///
    /// # Panics
    /// When the process cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
    }

    /// Starts it again after [`NatsServer::kill`], on the same port and store.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub fn restart(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("the server ends");
        let (child, port) = launch(&self.directory, &self.further, Some(self.port));
        self.child = child;
        self.port = port;
    }

    /// Stops it answering, with its connections open.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it answer again.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .expect("`kill` runs");
        assert!(status.success(), "signal {name} was not sent");
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The binary that the environment names.
///
/// # Panics
/// When it names none: a test that needs a server must not pass without one.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
pub fn server_binary() -> PathBuf {
    match std::env::var_os(SERVER_VARIABLE) {
        Some(path) if Path::new(&path).is_file() => path.into(),
        Some(path) => panic!("{SERVER_VARIABLE} names no file: {}", path.display()),
        None => {
            panic!("{SERVER_VARIABLE} must name a nats-server 2.15 binary; `tests/run` sets it")
        }
    }
}

fn launch(directory: &Path, further: &str, port: Option<u16>) -> (Child, u16) {
    let port_text = port.map_or("-1".to_owned(), |port| port.to_string());
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let config = format!(
        "listen: \"127.0.0.1:{port_text}\"\nports_file_dir: {}\njetstream {{ store_dir: {} }}\n{further}\n",
        quoted(directory),
        quoted(&directory.join("jetstream")),
    );
    let config_file = directory.join("nats.conf");
    std::fs::write(&config_file, config).expect("the server's configuration is written");
    let log = std::fs::File::create(directory.join("nats.log")).expect("a log file");
    let mut child = Command::new(server_binary())
        .arg("-c")
        .arg(&config_file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the nats-server binary runs");
    let ports_file = directory.join(format!("nats-server_{}.ports", child.id()));
    let end = Instant::now() + START_LIMIT;
    loop {
        let port = read_port(&ports_file);
        if let Some(port) = port.filter(|port| ready(*port)) {
            return (child, port);
        }
        let ended = child.try_wait().expect("the server's state can be read");
        if ended.is_some() || Instant::now() > end {
            child.kill().ok();
            let log = std::fs::read_to_string(directory.join("nats.log")).unwrap_or_default();
            panic!("nats-server did not come up:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read_port(file: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(file).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    url.rsplit(':').next()?.parse().ok()
}

fn ready(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The context of a first delivery, for a stage's own tests.
pub fn context(client: async_nats::Client, subject: &str) -> Context {
    Context {
        subject: subject.to_owned(),
        stream_sequence: 1,
        delivered: 1,
        last_attempt: false,
        published_at: SystemTime::now(),
        headers: async_nats::HeaderMap::new(),
        timeout: Duration::from_secs(30),
        client,
    }
}

/// Files below `directory` that hold the bytes of `word`: what was erased must be in none. A server's
/// files come and go meanwhile.
pub fn files_with(directory: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else {
        return found;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_with(&path, word));
        } else if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, word.as_bytes())) {
            found.push(path);
        }
    }
    found
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
