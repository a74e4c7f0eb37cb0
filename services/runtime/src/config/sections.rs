//! The sections that every service has, and the worker's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{Faults, Secret, Validate};
use crate::settle::Policy;

/// The sections that [`crate::main_with`] itself needs; they are named `nats`, `admin`, `telemetry`
/// and `shutdown` in every service's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    pub nats: &'a NatsConfig,
    pub admin: &'a AdminConfig,
    pub telemetry: &'a TelemetryConfig,
    pub shutdown: &'a ShutdownConfig,
}

impl Common<'_> {
    /// Checks them all, under their names.
    pub fn validate(&self, faults: &mut Faults) {
        faults.section("nats", self.nats);
        faults.section("admin", self.admin);
        faults.section("telemetry", self.telemetry);
        faults.section("shutdown", self.shutdown);
    }
}

/// A whole service's configuration.
pub trait ServiceConfig:
    Serialize + DeserializeOwned + Default + Validate + Send + 'static
{
    /// The sections every service has.
    fn common(&self) -> Common<'_>;
}

/// `[nats]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// One or more servers, separated by commas.
    pub url: String,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an nkey user, such as `foil nats-auth` makes for each role.
    pub nkey_seed: Option<PathBuf>,
    /// User name, with `password`.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    /// Certificate authority in PEM, in place of those of the system.
    pub root_certificate: Option<PathBuf>,
    /// This client's own certificate in PEM, with those between it and the authority, for a server
    /// that asks for one; with `key`. Read anew at every connection.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Refuse a server without TLS. So does a certificate of either kind.
    pub require_tls: bool,
    /// Prefix of private inboxes, for a user who may subscribe to nothing else. Without one a stage's
    /// own binary takes `_INBOX_<stage>`, and all else `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// Longest wait for a reply of the server.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            credentials: None,
            nkey_seed: None,
            user: None,
            password: None,
            token: None,
            root_certificate: None,
            certificate: None,
            key: None,
            require_tls: false,
            inbox_prefix: None,
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl Validate for NatsConfig {
    fn validate(&self, faults: &mut Faults) {
        if let Err(error) = crate::nats::addresses(&self.url) {
            faults.add("url", error);
        }
        for (key, path) in [
            ("credentials", &self.credentials),
            ("nkey_seed", &self.nkey_seed),
            ("root_certificate", &self.root_certificate),
            ("certificate", &self.certificate),
            ("key", &self.key),
        ] {
            faults.require_file(key, path.as_deref());
        }
        faults.require(
            self.certificate.is_some() == self.key.is_some(),
            "certificate",
            "certificate and key go together",
        );
        faults.require(
            self.user.is_some() == self.password.is_some(),
            "password",
            "user and password go together",
        );
        let ways = [
            self.credentials.is_some(),
            self.nkey_seed.is_some(),
            self.user.is_some(),
            self.token.is_some(),
        ];
        faults.require(
            ways.iter().filter(|set| **set).count() <= 1,
            "credentials",
            "give one of credentials, nkey_seed, user and token",
        );
        some_time(faults, "request_timeout", self.request_timeout);
    }
}

/// `[admin]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address of `/livez`, `/readyz` and `/metrics`; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

impl Validate for AdminConfig {
    fn validate(&self, _faults: &mut Faults) {}
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// No single wait of a service is longer.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More are no limit.
const DELIVERIES_MAX: u64 = 100_000;
/// Series of one metric are 2000 at most, and a tenant has up to 6.
const TENANTS_MAX: usize = 200;

/// `[telemetry]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `text` or `json`, on the standard error stream.
    pub log: LogFormat,
    /// What is logged, as in `info,foil_runtime=debug`.
    pub level: String,
    /// OTLP over gRPC, as in `http://collector:4317`; nothing is exported without it.
    pub otlp_endpoint: Option<String>,
    /// Share of new traces that are recorded, 0 to 1; a parent's decision goes before.
    pub sampling: f64,
    /// Tenants of a process that have a label of their own in metrics, the first ones that it meets;
    /// the rest counts as `other`.
    pub tenants: usize,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: LogFormat::Text,
            level: "info".to_owned(),
            otlp_endpoint: None,
            sampling: 0.1,
            tenants: 50,
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self, faults: &mut Faults) {
        if let Err(error) = self.level.parse::<EnvFilter>() {
            faults.add("level", error);
        }
        // A word that is no level names a target, and then nothing else is logged at all.
        let bare = |part: &&str| !part.contains('=') && part.parse::<LevelFilter>().is_err();
        if let Some(part) = self.level.split(',').map(str::trim).find(bare) {
            let problem = format!("{part} is none of off, error, warn, info, debug and trace");
            faults.add("level", problem);
        }
        faults.require(
            (0.0..=1.0).contains(&self.sampling),
            "sampling",
            "must be between 0 and 1",
        );
        faults.require(
            self.tenants <= TENANTS_MAX,
            "tenants",
            "must be at most 200",
        );
        let endpoint = self.otlp_endpoint.as_deref().unwrap_or("http://");
        faults.require(
            endpoint.starts_with("http://") || endpoint.starts_with("https://"),
            "otlp_endpoint",
            "must begin with http:// or https://",
        );
        faults.require_no_user("otlp_endpoint", endpoint);
    }
}

/// `[shutdown]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// From the signal to the end of the process.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
        }
    }
}

impl Validate for ShutdownConfig {
    fn validate(&self, faults: &mut Faults) {
        some_time(faults, "deadline", self.deadline);
    }
}

/// How one stage's worker behaves: its section is `worker` in the stage's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Inputs worked on at once.
    pub permits: usize,
    /// Longest time for one attempt's handler.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Deliveries of one input before it is dead-lettered. The consumer's own limit must be higher.
    pub max_deliveries: u64,
    /// Delay before the second attempt; doubles from there.
    #[serde(with = "humantime_serde")]
    pub backoff_base: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// How long one pull request waits at the server.
    #[serde(with = "humantime_serde")]
    pub pull_expiry: Duration,
    /// Longest wait for one ack of the server.
    #[serde(with = "humantime_serde")]
    pub publish_timeout: Duration,
    /// How long finished work waits for a full or absent stream before the input is given back.
    #[serde(with = "humantime_serde")]
    pub publish_patience: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            permits: 8,
            timeout: Duration::from_secs(60),
            max_deliveries: 5,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            pull_expiry: Duration::from_secs(30),
            publish_timeout: Duration::from_secs(10),
            publish_patience: Duration::from_secs(30),
        }
    }
}

impl WorkerConfig {
    /// The part that settlement needs.
    pub fn policy(&self) -> Policy {
        Policy {
            max_deliveries: self.max_deliveries,
            backoff_base: self.backoff_base,
            backoff_cap: self.backoff_cap,
        }
    }
}

impl Validate for WorkerConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.require(
            (1..=4096).contains(&self.permits),
            "permits",
            "must be between 1 and 4096",
        );
        faults.require(
            (1..=DELIVERIES_MAX).contains(&self.max_deliveries),
            "max_deliveries",
            "must be between 1 and 100000",
        );
        some_time(faults, "timeout", self.timeout);
        some_time(faults, "publish_timeout", self.publish_timeout);
        at_most_a_day(faults, "publish_patience", self.publish_patience);
        faults.require(
            self.pull_expiry >= Duration::from_secs(1),
            "pull_expiry",
            "must be at least 1s",
        );
        at_most_a_day(faults, "pull_expiry", self.pull_expiry);
        faults.require(
            self.backoff_base <= self.backoff_cap,
            "backoff_base",
            "must not exceed backoff_cap",
        );
        some_time(faults, "backoff_base", self.backoff_base);
        at_most_a_day(faults, "backoff_cap", self.backoff_cap);
    }
}

/// Not zero, and at most a day.
fn some_time(faults: &mut Faults, key: &str, value: Duration) {
    faults.require(!value.is_zero(), key, "must be longer than 0s");
    at_most_a_day(faults, key, value);
}

fn at_most_a_day(faults: &mut Faults, key: &str, value: Duration) {
    faults.require(value <= DAY, key, "must be at most 24h");
}
