//! What the verbs that talk to a running Foil share.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream;
use foil_runtime::NatsConfig;
use foil_runtime::nats::NatsError;
use foil_store::Store;

use crate::cli::Global;
use crate::config::{FoilConfig, load};
use crate::out;

/// Longest wait for the first connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection, and how to answer.
pub struct Session {
    pub config: FoilConfig,
    pub nats: async_nats::Client,
    pub jetstream: jetstream::Context,
    pub store: Store,
    pub tenant: String,
    pub json: bool,
}

impl Session {
    /// Connects to the servers that the configuration names.
    ///
    /// # Errors
    /// When the configuration is at fault, or NATS does not answer within 5 seconds.
    pub async fn open(global: &Global) -> Result<Self> {
        Self::open_within(global, CONNECT).await
    }

    /// Like [`Session::open`], with another wait for NATS.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn open_within(global: &Global, wait: Duration) -> Result<Self> {
        let config = load(global)?;
        let nats = foil_runtime::nats::connect_within(&config.nats, "foil", wait).await;
        let nats = nats.map_err(|error| match error {
            // Elsewhere somebody else's server was meant.
            NatsError::Unreachable { .. } if config.nats.url == NatsConfig::default().url => {
                anyhow!("{error}; is `foil up` running?")
            }
            other => other.into(),
        })?;
        let store = Store::connect(&config.store, nats.clone())
            .await
            .context("store")?;
        Ok(Self {
            jetstream: jetstream::new(nats.clone()),
            nats,
            store,
            tenant: global.tenant().to_owned(),
            json: global.json,
            config,
        })
    }

    /// Prints one JSON document.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<()> {
        say!("{}", out::json(&serde_json::to_string_pretty(value)?));
        Ok(())
    }
}
