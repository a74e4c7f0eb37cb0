//! The section `[store]`.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// Where the state is, and the limits of a call. Section `[store]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Qdrant's gRPC address.
    pub qdrant_url: String,
    pub qdrant_api_key: Option<SecretString>,
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
            timeout: Duration::from_secs(10),
            dimension: 384,
            replicated: false,
            active_window: Duration::from_secs(30 * 24 * 60 * 60),
            user_scan_max: 8_192,
        }
    }
}

impl StoreConfig {
    /// All that is wrong with it, each naming its key.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |ok: bool, fault: &str| {
            if !ok {
                faults.push(format!("store.{fault}"));
            }
        };
        let scheme = ["http://", "https://"];
        check(
            scheme.iter().any(|s| self.qdrant_url.starts_with(s)),
            "qdrant_url: is no http:// or https:// address",
        );
        check(
            (Duration::from_millis(100)..=Duration::from_secs(300)).contains(&self.timeout),
            "timeout: is not within 100 ms and 5 min",
        );
        check(
            (1..=65_536).contains(&self.dimension),
            "dimension: is not within 1 and 65536",
        );
        check(
            self.active_window >= Duration::from_secs(1),
            "active_window: is below 1 s, the shortest time to live of a key",
        );
        check(
            (1..=65_536).contains(&self.user_scan_max),
            "user_scan_max: is not within 1 and 65536",
        );
        faults
    }
}
