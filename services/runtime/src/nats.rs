//! The connection to NATS: tried until it stands, and again whenever it falls.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, Server, ServerAddr};
use nkeys::{KeyPair, KeyPairType};

use crate::config::{NatsConfig, names_user};
use crate::health::{Health, HealthCheck};
use crate::tls::{TlsKeys, check_certificates, check_key};

/// No wait between two attempts to connect is longer.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);
/// How often a first connection is looked for.
const POLL: Duration = Duration::from_millis(20);
/// An attempt's error is known only when the next one begins.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Why there is no connection. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Not an address.
    #[error("nats.url: {address:?} is no server address")]
    Address { address: String },
    /// An address with a user or a password would be shown wherever the address is.
    #[error(
        "nats.url: must not hold a user or a password: nats.user and nats.password are for that"
    )]
    Login,
    /// A file that the configuration names cannot be used.
    #[error("nats.{key}: {path}: {problem}")]
    File {
        key: &'static str,
        path: String,
        problem: String,
    },
    /// No server let this client in within the time given.
    #[error("nats.url: no connection to {url}: {cause}")]
    Unreachable { url: String, cause: String },
    /// The options do not fit together.
    #[error("nats: {0}")]
    Connect(#[from] async_nats::ConnectError),
}

/// The servers that a comma-separated list names.
///
/// # Errors
/// [`NatsError::Address`] with the first part that is none; [`NatsError::Login`].
pub fn addresses(list: &str) -> Result<Vec<ServerAddr>, NatsError> {
    let mut addresses = Vec::new();
    for part in list.split(',').map(str::trim) {
        match part.parse::<ServerAddr>() {
            _ if names_user(part) => return Err(NatsError::Login),
            Ok(address) if !part.is_empty() => addresses.push(address),
            _ => {
                let address = part.to_owned();
                return Err(NatsError::Address { address });
            }
        }
    }
    Ok(addresses)
}

/// Connects. The client comes back at once and keeps trying until a server is there; `name` is what
/// the server shows for it.
///
/// # Errors
/// When the configuration cannot be used at all; never because a server is away.
pub async fn connect(config: &NatsConfig, name: &str) -> Result<Client, NatsError> {
    connect_watched(config, name, &Health::new()).await
}

/// Like [`connect`], with the state of the connection in the check `nats` of `health`.
///
/// # Errors
/// As for [`connect`].
pub async fn connect_watched(
    config: &NatsConfig,
    name: &str,
    health: &Health,
) -> Result<Client, NatsError> {
    begin(config, name, health, &Trouble::default()).await
}

/// Like [`connect`], but comes back with a connection that stands.
///
/// # Errors
/// As for [`connect`], and [`NatsError::Unreachable`] with the last attempt's error when there is no
/// connection within `wait`.
pub async fn connect_within(
    config: &NatsConfig,
    name: &str,
    wait: Duration,
) -> Result<Client, NatsError> {
    let trouble = Trouble::default();
    let client = begin(config, name, &Health::new(), &trouble).await?;
    let connected = || client.connection_state() == State::Connected;
    let until = tokio::time::Instant::now() + wait;
    while !connected() && tokio::time::Instant::now() < until {
        tokio::time::sleep(POLL).await;
        // Trying again with the same key would not help.
        if trouble.is_final() {
            tokio::time::sleep(LAST_WORDS).await;
            break;
        }
    }
    if connected() {
        return Ok(client);
    }
    let cause = trouble.last().unwrap_or_else(|| "no answer".to_owned());
    let url = config.url.clone();
    Err(NatsError::Unreachable { url, cause })
}

async fn begin(
    config: &NatsConfig,
    name: &str,
    health: &Health,
    trouble: &Trouble,
) -> Result<Client, NatsError> {
    let check = health.register("nats");
    let trouble = trouble.clone();
    let options = options(config, name)
        .await?
        .event_callback(move |event| observe(event, check.clone()))
        // Before each attempt; the client itself tells what the one before met at level debug only.
        .reconnect_to_server_callback(move |servers, _| {
            trouble.note(&servers);
            std::future::ready(None)
        });
    let addresses = addresses(&config.url)?;
    Ok(options.connect(addresses).await?)
}

/// What the last attempts to connect met; clones share it.
#[derive(Clone, Debug, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Logs what is new.
    fn note(&self, servers: &[Server]) {
        let failed = servers.iter().filter_map(|server| {
            let (host, port) = (server.addr.host(), server.addr.port());
            let error = server.last_error.as_deref()?;
            Some(format!("{host}:{port}: {}", with_hint(error)))
        });
        let failed: Vec<String> = failed.collect();
        let words = (!failed.is_empty()).then(|| failed.join("; "));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != words {
            if let Some(error) = &words {
                tracing::warn!(error, "cannot connect to nats");
            }
            *last = words;
        }
    }

    fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// Whether the server answered, and turned this client away.
    fn is_final(&self) -> bool {
        self.last().is_some_and(|words| words.contains(REFUSED))
    }
}

const REFUSED: &str = "authorization violation";

const KEYS: TlsKeys = TlsKeys {
    url: "nats.url",
    root: "nats.root_certificate",
    certificate: "nats.certificate",
    key: "nats.key",
};

/// The client's words, and which key of the configuration they are about.
fn with_hint(error: &str) -> String {
    if error.contains(REFUSED) {
        let ways = "nats.nkey_seed, credentials, user or token";
        return format!("{error}: the server does not know this client ({ways})");
    }
    KEYS.explain(error)
}

async fn options(config: &NatsConfig, name: &str) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .request_timeout(Some(config.request_timeout))
        .connection_timeout(config.request_timeout)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.min(16)).unwrap_or(16);
            (Duration::from_millis(50) * 2_u32.pow(doublings)).min(RECONNECT_DELAY_MAX)
        });
    if let Some(path) = &config.credentials {
        let result = options.credentials_file(path).await;
        options = result.map_err(|error| file_error("credentials", path, error))?;
    }
    if let Some(path) = &config.nkey_seed {
        options = options.nkey(seed(path).await?);
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    if let Some(prefix) = inbox_prefix(config, name) {
        options = options.custom_inbox_prefix(prefix);
    }
    tls(options, config).await
}

fn inbox_prefix(config: &NatsConfig, name: &str) -> Option<String> {
    let own = || {
        let stage = name.strip_prefix("foil-")?;
        let known = foil_proto::names::stage::ALL.contains(&stage);
        known.then(|| format!("_INBOX_{stage}"))
    };
    config.inbox_prefix.clone().or_else(own)
}

/// The client reads the files at every connection, so that renewed ones are taken up; here they are
/// read to name the one at fault.
async fn tls(
    mut options: ConnectOptions,
    config: &NatsConfig,
) -> Result<ConnectOptions, NatsError> {
    // Without one the client would panic at its first handshake.
    crate::install_tls_provider();
    if let Some(path) = &config.root_certificate {
        check("root_certificate", path, check_certificates).await?;
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
        check("certificate", certificate, check_certificates).await?;
        check("key", key, check_key).await?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let meant = config.root_certificate.is_some() || config.certificate.is_some();
    Ok(options.require_tls(config.require_tls || meant))
}

async fn check(
    key: &'static str,
    path: &Path,
    check: fn(&[u8]) -> Result<(), &'static str>,
) -> Result<(), NatsError> {
    let text = read(key, path).await?;
    check(&text).map_err(|problem| file_error(key, path, problem))
}

/// The seed of a user. What the file holds instead is not told.
async fn seed(path: &Path) -> Result<String, NatsError> {
    let text = read("nkey_seed", path).await?;
    let text = String::from_utf8(text).unwrap_or_default();
    let seed = text.trim();
    match KeyPair::from_seed(seed) {
        Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(seed.to_owned()),
        _ => Err(file_error(
            "nkey_seed",
            path,
            "holds no seed of an nkey user (SU...)",
        )),
    }
}

async fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, NatsError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| file_error(key, path, error))
}

fn file_error(key: &'static str, path: &Path, problem: impl ToString) -> NatsError {
    NatsError::File {
        key,
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

async fn observe(event: Event, check: HealthCheck) {
    match event {
        Event::Connected => {
            check.set(true);
            tracing::info!("connected to nats");
        }
        Event::Disconnected => {
            check.set(false);
            tracing::warn!("disconnected from nats");
        }
        // By this process: at the end of its shutdown.
        Event::Closed => {
            check.set(false);
            tracing::info!("connection to nats closed");
        }
        Event::Draining | Event::LameDuckMode => tracing::info!(%event, "nats"),
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "nats");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_list_of_servers() {
        assert_eq!(addresses("nats://a:4222, b:4333").expect("a list").len(), 2);
        for list in ["", "nats://a:4222,", "nats://a:notaport"] {
            assert!(addresses(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn an_address_with_a_password_is_refused_unseen() {
        for url in [
            "nats://user:hunter2@host:notaport",
            "nats://user:hunter2@host",
        ] {
            let error = addresses(url).expect_err("no address").to_string();
            let names = error.contains("nats.password") && !error.contains("hunter2");
            assert!(names, "{error}");
        }
    }

    #[test]
    fn a_stage_has_inboxes_of_its_own() {
        let mut config = NatsConfig::default();
        let prefix = inbox_prefix(&config, "foil-selector");
        assert_eq!(prefix.as_deref(), Some("_INBOX_selector"));
        for name in ["foil", "foil-up", "test"] {
            assert_eq!(inbox_prefix(&config, name), None, "{name}");
        }
        config.inbox_prefix = Some("_INBOX_x".to_owned());
        let prefix = inbox_prefix(&config, "foil-selector");
        assert_eq!(prefix.as_deref(), Some("_INBOX_x"));
    }

    #[tokio::test]
    async fn a_file_that_does_not_fit_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("file");
        std::fs::write(&path, "hunter2").expect("written");
        let account = KeyPair::new_account().seed().expect("a seed");
        type Set = fn(&mut NatsConfig, PathBuf);
        let cases: [(&str, Set); 5] = [
            ("nkey_seed", |c, path| c.nkey_seed = Some(path)),
            ("credentials", |c, path| c.credentials = Some(path)),
            ("root_certificate", |c, path| {
                c.root_certificate = Some(path)
            }),
            ("certificate", |c, path| {
                (c.certificate, c.key) = (Some(path.clone()), Some(path));
            }),
            ("nkey_seed", |c, path| {
                c.nkey_seed = Some(path.with_extension("account"));
            }),
        ];
        std::fs::write(path.with_extension("account"), &account).expect("written");
        for (key, set) in cases {
            let mut config = NatsConfig::default();
            set(&mut config, path.clone());
            let error = connect(&config, "test").await.expect_err("a fault");
            let words = error.to_string();
            let named = words.starts_with(&format!("nats.{key}: {}", path.display()));
            assert!(named, "{words}");
            let shown = words.contains("hunter2") || words.contains(account.as_str());
            assert!(!shown, "{words}");
        }
    }
}
