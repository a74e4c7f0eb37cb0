//! Configuration: defaults < file < environment < flags. Unknown keys are errors, and every fault
//! is reported at once.
//!
//! A configuration struct derives `Serialize` and `Deserialize` with
//! `#[serde(deny_unknown_fields, default)]`, and implements [`Default`] and [`Validate`]. The
//! environment is read here and nowhere else.

mod faults;
mod load;
mod sections;
mod tenants;

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

pub use faults::{ConfigError, Fault, Faults, Validate};
pub use load::{dump, load};
pub use sections::{
    AdminConfig, Common, LogFormat, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    WorkerConfig,
};
pub use tenants::Tenants;

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

/// What stands for a secret wherever a configuration is shown.
const HIDDEN: &str = "***";

/// A value that is shown as `***` wherever it is printed or dumped, and that is taken from a file or
/// the environment only.
#[derive(Clone, Debug)]
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
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(SecretVisitor)
    }
}

/// The usual errors quote the value that does not fit.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(no_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(no_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(no_string())
    }
}

fn no_string<E: de::Error>() -> E {
    E::custom("must be a string in quotes")
}

/// Whether an address carries a user or a password (`scheme://user:password@host`), which would be
/// shown wherever the address is.
pub fn names_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests;
