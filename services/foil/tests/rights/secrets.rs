//! No secret of any service's configuration is ever shown: not in a dump, not in an error, not in a
//! log at its finest level, not on a command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use foil_edge::{Access, Edge, EdgeConfig};
use foil_llm::stub::{Mode, StubConfig, StubServer};
use foil_runtime::testing::NatsServer;
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::place::beside;

/// What every made-up secret begins with.
const MARK: &str = "s3cr3t";
/// Long enough for several refused connections.
const RUN: Duration = Duration::from_millis(1_500);

/// A service, with the sections of its configuration that hold secrets beside `[nats]`.
struct Service {
    program: &'static str,
    verb: &'static [&'static str],
    sections: &'static [&'static str],
}

static SERVICES: [Service; 7] = [
    service("foil", &["up"], &["store", "llm", "embed"]),
    service("foil-embedder", &[], &["store", "embed"]),
    service("foil-selector", &[], &["store"]),
    service("foil-extractor", &[], &["store", "llm"]),
    service("foil-profiler", &[], &["store", "llm"]),
    service("foil-generator", &[], &["store", "llm"]),
    service("foil-mover", &[], &[]),
];

const fn service(
    program: &'static str,
    verb: &'static [&'static str],
    sections: &'static [&'static str],
) -> Service {
    Service {
        program,
        verb,
        sections,
    }
}

/// Keys and values of a configuration.
type Settings = Vec<(&'static str, String)>;

struct World {
    nats: NatsServer,
    edge: Edge,
    model: StubServer,
    certificates: Certificates,
    directory: TempDir,
    /// What must not be seen.
    hidden: Vec<String>,
}

impl World {
    /// Servers that refuse whatever they are shown.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(&directory.path().join("tls"));
        let users = "authorization { users = [ { user: other, password: other } ] }";
        let access = Access {
            tls: None,
            api_key: Some("another".to_owned()),
        };
        let config = EdgeConfig {
            data_dir: directory.path().join("qdrant"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let mode = Mode::Status(401);
        let mut world = Self {
            nats: NatsServer::start_with(None, users),
            edge: foil_edge::start_with(config, &access).await.unwrap(),
            model: StubServer::start(StubConfig {
                mode,
                ..StubConfig::default()
            })
            .unwrap(),
            hidden: vec![MARK.to_owned()],
            certificates,
            directory,
        };
        let key = std::fs::read_to_string(&world.certificates.client.key).unwrap();
        let line = key.lines().nth(1).unwrap().to_owned();
        world.hidden.push(line);
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        world.file("seed", &seed);
        world.hidden.push(seed);
        world.file("api.key", &format!("{MARK}-in-a-file"));
        world.file("user.creds", &format!("{MARK}-credentials"));
        world
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// What is no secret.
    fn plain(&self, of: &Service) -> Settings {
        let qdrant = format!("http://{}", self.edge.address());
        let mut all: Settings = vec![
            ("nats.url", self.nats.url()),
            ("nats.request_timeout", "1s".to_owned()),
            ("admin.listen", "127.0.0.1:0".to_owned()),
            ("telemetry.level", "trace".to_owned()),
        ];
        if of.program == "foil" {
            all.push(("up.embedded_qdrant", "false".to_owned()));
            all.push(("up.data_dir", self.text("data")));
        }
        for section in of.sections {
            let model = |key| (key, "stub".to_owned());
            match *section {
                "store" => all.push(("store.qdrant_url", qdrant.clone())),
                "llm" => all.extend([
                    ("llm.engine", "openai".to_owned()),
                    model("llm.model"),
                    ("llm.base_url", self.model.base_url()),
                ]),
                _ => all.extend([
                    ("embed.engine", "openai".to_owned()),
                    model("embed.model"),
                    ("embed.base_url", self.model.base_url()),
                ]),
            }
        }
        all
    }

    /// Every way to give the secrets, one that is at fault among them.
    fn secrets(&self) -> Vec<Settings> {
        let mark = |key| (key, format!("{MARK}-{key}"));
        let certificate = self.certificates.client.certificate.display().to_string();
        let key = self.certificates.client.key.display().to_string();
        vec![
            vec![
                ("nats.user", "u".to_owned()),
                mark("nats.password"),
                mark("store.qdrant_api_key"),
                mark("llm.api_key"),
                mark("embed.api_key"),
            ],
            vec![mark("nats.token")],
            vec![
                ("nats.nkey_seed", self.text("seed")),
                ("store.qdrant_api_key_file", self.text("api.key")),
                ("llm.api_key_file", self.text("api.key")),
                ("embed.api_key_file", self.text("api.key")),
            ],
            vec![
                ("nats.nkey_seed", self.text("api.key")),
                ("store.qdrant_api_key_file", self.text("api.key")),
            ],
            vec![("nats.credentials", self.text("user.creds"))],
            vec![
                ("nats.certificate", certificate.clone()),
                ("nats.key", key.clone()),
                ("store.qdrant_url", "https://127.0.0.1:1".to_owned()),
                ("store.qdrant_certificate", certificate),
                ("store.qdrant_key", key),
            ],
            vec![(
                "nats.url",
                format!("nats://u:{MARK}-in-the-address@127.0.0.1:1"),
            )],
        ]
    }

    /// Fails where a secret is seen.
    fn check(&self, what: &str, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        for secret in &self.hidden {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{what} shows a secret");
        }
    }
}

/// Those that the service has.
fn fitting(of: &Service, settings: Settings) -> Settings {
    let known = |key: &str| {
        let section = key.split('.').next().unwrap();
        ["nats", "admin", "telemetry", "up"].contains(&section) || of.sections.contains(&section)
    };
    settings.into_iter().filter(|(key, _)| known(key)).collect()
}

fn command(of: &Service) -> Command {
    let mut command = Command::new(beside(of.program));
    command.env_clear().args(of.verb).stdin(Stdio::null());
    command
}

fn by_environment(of: &Service, settings: &Settings) -> Command {
    let mut command = command(of);
    for (key, value) in settings {
        command.env(
            format!("FOIL_{}", key.to_uppercase().replace('.', "__")),
            value,
        );
    }
    command
}

fn by_file(of: &Service, settings: &Settings, path: &Path) -> Command {
    let mut file = toml::Table::new();
    for (key, value) in settings {
        let (section, key) = key.split_once('.').unwrap();
        let section = file
            .entry(section)
            .or_insert_with(|| toml::Table::new().into());
        let value = match value.as_str() {
            "false" => false.into(),
            text => toml::Value::from(text),
        };
        section
            .as_table_mut()
            .unwrap()
            .insert(key.to_owned(), value);
    }
    std::fs::write(path, file.to_string()).unwrap();
    let mut command = command(of);
    command.arg("--config").arg(path);
    command
}

/// Both streams of what it says until it ends or is ended, and the command lines meanwhile.
fn run(mut command: Command, log: &Path) -> Vec<u8> {
    let file = std::fs::File::create(log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + RUN;
    let mut seen = Vec::new();
    while child.try_wait().unwrap().is_none() && Instant::now() < until {
        let line = std::fs::read(format!("/proc/{}/cmdline", child.id()));
        seen = line.unwrap_or(seen);
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().ok();
    child.wait().unwrap();
    seen.push(b'\n');
    seen.extend(std::fs::read(log).unwrap());
    seen
}

fn try_all(world: &World, of: &Service, settings: &Settings, log: &Path) -> usize {
    let file = log.with_extension("toml");
    let ways: [(&str, &dyn Fn() -> Command); 2] = [
        ("by environment", &|| by_environment(of, settings)),
        ("by file", &|| by_file(of, settings, &file)),
    ];
    let mut runs = 0;
    for (way, make) in ways {
        for flag in [Some("--dump-config"), Some("--check-config"), None] {
            let mut command = make();
            command.args(flag);
            let said = run(command, log);
            world.check(&format!("{} {flag:?} {way}", of.program), &said);
            // Nothing said proves nothing.
            assert!(said.len() > 20, "{} {flag:?} {way}", of.program);
            runs += 1;
        }
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_service_is_ever_shown() {
    let world = World::start().await;
    let runs: usize = std::thread::scope(|scope| {
        let world = &world;
        let each = SERVICES.iter().map(|of| {
            scope.spawn(move || {
                let log = world.path(&format!("{}.log", of.program));
                let all = world.secrets().into_iter();
                let all = all.map(|secrets| {
                    let mut settings = world.plain(of);
                    for (key, value) in fitting(of, secrets) {
                        settings.retain(|(known, _)| *known != key);
                        settings.push((key, value));
                    }
                    try_all(world, of, &settings, &log)
                });
                all.sum::<usize>()
            })
        });
        let running: Vec<_> = each.collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    println!("{runs} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_and_the_embedded_qdrant_show_no_secret_either() {
    let world = World::start().await;
    let of = &SERVICES[0];
    let log = world.path("log");
    for secrets in world.secrets() {
        let mut settings = world.plain(of);
        settings.retain(|(key, _)| !secrets.iter().any(|(other, _)| other == key));
        settings.extend(secrets);
        let mut command = Command::new(beside(of.program));
        command.env_clear().stdin(Stdio::null()).arg("status");
        for (key, value) in &settings {
            command.env(
                format!("FOIL_{}", key.to_uppercase().replace('.', "__")),
                value,
            );
        }
        world.check("foil status", &run(command, &log));
    }
    let mut edge = Command::new(beside("foil-edge"));
    edge.arg("--data-dir")
        .arg(world.path("edge"))
        .args(["--listen", "127.0.0.1:0", "--api-key-file"])
        .arg(world.path("api.key"));
    let said = run(edge, &log);
    world.check("foil-edge", &said);
    assert!(String::from_utf8_lossy(&said).contains("listening on"));
}

/// Every key that holds a secret is refused as a flag, by name, with the way to give it.
#[test]
fn a_secret_as_a_flag_is_refused() {
    for (program, key) in [
        ("foil", "nats.password"),
        ("foil", "nats.token"),
        ("foil", "store.qdrant_api_key"),
        ("foil", "llm.api_key"),
        ("foil", "embed.api_key"),
        ("foil-selector", "nats.token"),
        ("foil-extractor", "llm.api_key"),
        ("foil-embedder", "embed.api_key"),
        ("foil-mover", "nats.token"),
    ] {
        let of = SERVICES.iter().find(|of| of.program == program).unwrap();
        let mut command = command(of);
        command.arg("--set").arg(format!("{key}={MARK}"));
        let output = command.arg("--check-config").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{program} {key}: {said}");
        let variable = format!("FOIL_{}", key.to_uppercase().replace('.', "__"));
        let named = said.contains(&format!("{key}: a secret")) && said.contains(&variable);
        assert!(named, "{program} {key}: {said}");
        assert!(!said.contains(MARK), "{program} {key}: {said}");
    }
}
