//! The section `[store]`.

use std::path::PathBuf;
use std::time::Duration;

use foil_runtime::config::{Faults, Secret, Validate};
use serde::{Deserialize, Serialize};

/// Where the state is, and the limits of a call. Section `[store]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Qdrant's gRPC address; `https://` for TLS.
    pub qdrant_url: String,
    /// The key itself. Rather use `qdrant_api_key_file`.
    pub qdrant_api_key: Option<Secret>,
    /// A file with the key and nothing else.
    pub qdrant_api_key_file: Option<PathBuf>,
    /// Certificate authority in PEM, in place of those of the system.
    pub qdrant_root_certificate: Option<PathBuf>,
    /// This client's own certificate in PEM, for a server that asks for one; with `qdrant_key`.
    pub qdrant_certificate: Option<PathBuf>,
    pub qdrant_key: Option<PathBuf>,
    /// Longest wait for one call, Qdrant or bucket.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Length of the vectors: the embedding model's. Writes of another length are refused.
    pub dimension: u32,
    /// Qdrant runs as a cluster with replicas: write through the leader, read from a majority.
    pub replicated: bool,
    /// How long a user counts as active after being asked for.
    #[serde(with = "humantime_serde")]
    pub active_window: Duration,
    /// Most records of one user that are looked at to find their newest.
    pub user_scan_max: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            qdrant_url: "http://127.0.0.1:6334".to_owned(),
            qdrant_api_key: None,
            qdrant_api_key_file: None,
            qdrant_root_certificate: None,
            qdrant_certificate: None,
            qdrant_key: None,
            timeout: Duration::from_secs(10),
            dimension: 384,
            replicated: false,
            active_window: Duration::from_secs(30 * 24 * 60 * 60),
            user_scan_max: 8_192,
        }
    }
}

impl Validate for StoreConfig {
    fn validate(&self, faults: &mut Faults) {
        let scheme = ["http://", "https://"];
        faults.require(
            scheme.iter().any(|s| self.qdrant_url.starts_with(s)),
            "qdrant_url",
            "is no http:// or https:// address",
        );
        faults.require_no_user("qdrant_url", &self.qdrant_url);
        self.validate_files(faults);
        faults.require(
            (Duration::from_millis(100)..=Duration::from_secs(300)).contains(&self.timeout),
            "timeout",
            "is not within 100 ms and 5 min",
        );
        faults.require(
            (1..=65_536).contains(&self.dimension),
            "dimension",
            "is not within 1 and 65536",
        );
        faults.require(
            self.active_window >= Duration::from_secs(1),
            "active_window",
            "is below 1 s, the shortest time to live of a key",
        );
        faults.require(
            (1..=65_536).contains(&self.user_scan_max),
            "user_scan_max",
            "is not within 1 and 65536",
        );
    }
}

impl StoreConfig {
    fn validate_files(&self, faults: &mut Faults) {
        let certificates = [
            ("qdrant_root_certificate", &self.qdrant_root_certificate),
            ("qdrant_certificate", &self.qdrant_certificate),
            ("qdrant_key", &self.qdrant_key),
        ];
        let https = self.qdrant_url.starts_with("https://");
        for (key, path) in certificates {
            faults.require_file(key, path.as_deref());
            let meant = path.is_none() || https;
            faults.require(meant, key, "needs an https:// address in store.qdrant_url");
        }
        faults.require_file("qdrant_api_key_file", self.qdrant_api_key_file.as_deref());
        faults.require(
            self.qdrant_certificate.is_some() == self.qdrant_key.is_some(),
            "qdrant_certificate",
            "qdrant_certificate and qdrant_key go together",
        );
        faults.require(
            self.qdrant_api_key.is_none() || self.qdrant_api_key_file.is_none(),
            "qdrant_api_key",
            "give one of qdrant_api_key and qdrant_api_key_file",
        );
    }
}
