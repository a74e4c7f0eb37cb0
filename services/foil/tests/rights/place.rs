//! Servers with the users that `foil nats-auth` makes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use foil_runtime::NatsConfig;
use foil_runtime::testing::NatsServer;
use foil_store::StoreConfig;
use tempfile::TempDir;

use crate::certificates::Certificates;

/// A nats-server without TLS.
pub struct Auth {
    server: NatsServer,
    directory: TempDir,
}

impl Auth {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        make_users(directory.path(), &["acme"]);
        let server = NatsServer::start_with(Some(directory.path()), "include \"foil-auth.conf\"");
        Self { server, directory }
    }

    pub fn address(&self) -> String {
        self.server.url().replace("nats://", "")
    }

    pub fn seed(&self, user: &str) -> String {
        let path = self.directory.path().join(format!("{user}.nk"));
        std::fs::read_to_string(path).expect("a key")
    }

    /// All that have a key.
    pub fn users(&self) -> BTreeSet<String> {
        let files = self.directory.path().read_dir().expect("a directory");
        let paths = files.map(|file| file.expect("a file").path());
        let keys = paths.filter(|path| path.extension().is_some_and(|e| e == "nk"));
        let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
        keys.filter_map(stem).collect()
    }
}

/// `_INBOX_<role>`, or `_INBOX_<role>.<tenant>` for a bound user.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{}", user.replacen('-', ".", 1))
}

/// `foil nats-auth`.
pub fn make_users(directory: &Path, tenants: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foil"));
    command.arg("nats-auth").arg(directory);
    for tenant in tenants {
        command.args(["--for-tenant", tenant]);
    }
    let output = command.output().expect("foil runs");
    assert!(output.status.success(), "{output:?}");
}

/// The example server of deploy/nats, and an embedded Qdrant in a process of its own: both with TLS,
/// and both for clients with a certificate only.
pub struct Secured {
    pub nats: NatsServer,
    pub certificates: Certificates,
    qdrant: Child,
    qdrant_address: String,
    directory: TempDir,
}

const EXAMPLE: &str = include_str!("../../../../deploy/nats/nats-server.conf");
const API_KEY: &str = "a key for this test";

impl Secured {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let certificates = Certificates::make(&at("tls"));
        make_users(directory.path(), &["acme"]);
        let nats = NatsServer::start_with(Some(directory.path()), &example(directory.path()));
        std::fs::write(at("api.key"), format!("{API_KEY}\n")).expect("written");
        let mut qdrant = Command::new(beside("foil-edge"))
            .arg("--data-dir")
            .arg(at("qdrant"))
            .args(["--listen", "127.0.0.1:0", "--tls-certificate"])
            .arg(&certificates.server.certificate)
            .arg("--tls-key")
            .arg(&certificates.server.key)
            .arg("--tls-client-ca")
            .arg(&certificates.authority)
            .arg("--api-key-file")
            .arg(at("api.key"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("foil-edge runs");
        let mut line = String::new();
        let stdout = qdrant.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ");
        Self {
            qdrant_address: address.expect("an address").to_owned(),
            nats,
            certificates,
            qdrant,
            directory,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Of a role, with the client's certificate.
    pub fn nats(&self, user: &str) -> NatsConfig {
        NatsConfig {
            nkey_seed: Some(self.path(&format!("{user}.nk"))),
            inbox_prefix: Some(inbox_prefix(user)),
            root_certificate: Some(self.certificates.authority.clone()),
            certificate: Some(self.certificates.client.certificate.clone()),
            key: Some(self.certificates.client.key.clone()),
            request_timeout: Duration::from_secs(5),
            ..self.nats.config()
        }
    }

    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            qdrant_url: format!("https://{}", self.qdrant_address),
            qdrant_api_key_file: Some(self.path("api.key")),
            qdrant_root_certificate: Some(self.certificates.authority.clone()),
            qdrant_certificate: Some(self.certificates.client.certificate.clone()),
            qdrant_key: Some(self.certificates.client.key.clone()),
            timeout: Duration::from_secs(5),
            ..StoreConfig::default()
        }
    }

    /// A program of Foil's under one role, configured by its environment alone.
    pub fn program(&self, name: &str, user: &str) -> Command {
        let mut command = Command::new(beside(name));
        let (nats, store) = (self.nats(user), self.store());
        let mut set = |key: &str, value: &dyn AsRef<OsStr>| {
            command.env(key, value);
        };
        let of = |path: &Option<PathBuf>| path.clone().expect("it is set");
        set("FOIL_NATS__URL", &nats.url);
        set("FOIL_NATS__NKEY_SEED", &of(&nats.nkey_seed));
        set("FOIL_NATS__ROOT_CERTIFICATE", &of(&nats.root_certificate));
        set("FOIL_NATS__CERTIFICATE", &of(&nats.certificate));
        set("FOIL_NATS__KEY", &of(&nats.key));
        set("FOIL_ADMIN__LISTEN", &"127.0.0.1:0");
        command.stdin(Stdio::null());
        // The one that has no part in Qdrant.
        if name == "foil-mover" {
            return command;
        }
        let mut set = |key: &str, value: &dyn AsRef<OsStr>| {
            command.env(key, value);
        };
        set("FOIL_STORE__QDRANT_URL", &store.qdrant_url);
        set(
            "FOIL_STORE__QDRANT_API_KEY_FILE",
            &of(&store.qdrant_api_key_file),
        );
        set(
            "FOIL_STORE__QDRANT_ROOT_CERTIFICATE",
            &of(&store.qdrant_root_certificate),
        );
        set(
            "FOIL_STORE__QDRANT_CERTIFICATE",
            &of(&store.qdrant_certificate),
        );
        set("FOIL_STORE__QDRANT_KEY", &of(&store.qdrant_key));
        command
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.qdrant.kill().ok();
        self.qdrant.wait().ok();
    }
}

/// The example with this test's folders in the place of a machine's, and a port of its own.
fn example(directory: &Path) -> String {
    let mut text = EXAMPLE.to_owned();
    let folder = directory.display().to_string();
    let store = format!("{folder}/jetstream");
    for (from, to) in [
        ("port: 4222\n", ""),
        ("http: \"127.0.0.1:8222\"\n", ""),
        ("/data/jetstream", store.as_str()),
        ("/etc/nats/tls", &format!("{folder}/tls")),
    ] {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, to);
    }
    text
}

/// Another program of the workspace, built beside this one.
pub fn beside(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_foil")).with_file_name(name);
    let hint = "run tests/run, or cargo build --release";
    assert!(
        program.is_file(),
        "{} is not built: {hint}",
        program.display()
    );
    program
}
