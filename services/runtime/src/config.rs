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

/// What the environment's variables begin with.
const PREFIX: &str = "FOIL_";

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

    /// Variables that begin with `FOIL_` and name no key, as `FOIL_LLM_PARALLEL` does where
    /// `FOIL_LLM__PARALLEL` was meant. Without those that Foil's scripts and tests have, and without
    /// those that Kubernetes sets for services whose names begin with `foil-`.
    pub fn strays(&self) -> impl Iterator<Item = &str> {
        let names = self.environment.keys().map(String::as_str);
        names.filter(|name| {
            let rest = name.strip_prefix(PREFIX).unwrap_or_default();
            !rest.is_empty() && !rest.contains("__") && !is_scripts(rest) && !is_kubernetes(rest)
        })
    }
}

fn is_scripts(rest: &str) -> bool {
    rest == "CACHE" || rest.starts_with("TEST_") || rest.starts_with("DEMO_")
}

fn is_kubernetes(rest: &str) -> bool {
    let after = |part| rest.split_once(part).map(|(_, after)| after);
    let port = after("_PORT_").is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    let service = after("_SERVICE_HOST").or(after("_SERVICE_PORT")).is_some();
    port || service || rest.ends_with("_PORT")
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
