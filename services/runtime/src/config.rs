//! Configuration: defaults < file < environment < flags. Unknown keys are errors, and every fault
//! is reported at once.
//!
//! A configuration struct derives `Serialize` and `Deserialize` with
//! `#[serde(deny_unknown_fields, default)]`, and implements [`Default`] and [`Validate`]. The
//! environment is read here and nowhere else.

mod faults;
mod load;
mod sections;

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub use faults::{ConfigError, Fault, Faults, Validate};
pub use load::{dump, load};
pub use sections::{
    AdminConfig, Common, LogFormat, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    WorkerConfig,
};

/// Where a configuration comes from, beside its defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those named `FOIL_SECTION__KEY` count, others are left alone.
    pub environment: BTreeMap<String, String>,
    /// `section.key` and value, from flags.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The process's environment beside a file and flags.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            environment,
            flags,
        }
    }
}

/// A value that is shown as `***` wherever it is printed or dumped.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into().into())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests;
