//! The configuration of the selector. `[selector]` is the stage's own section.

use std::time::Duration;

use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

use crate::choose::Strategy;

/// All of the process's sections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub selector: SelectorConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("selector", &self.selector);
    }
}

impl ServiceConfig for Config {
    fn common(&self) -> Common<'_> {
        Common {
            nats: &self.nats,
            admin: &self.admin,
            telemetry: &self.telemetry,
            shutdown: &self.shutdown,
        }
    }
}

/// Whose records are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Those of users who were asked for lately.
    #[default]
    Active,
    /// Everybody's.
    Eager,
}

/// The stage itself. Section `[selector]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    pub worker: WorkerConfig,
    pub strategy: Strategy,
    /// Representatives of a record, at most.
    pub k: usize,
    /// Records of an item that are looked at: a uniform sample of more.
    pub max_candidates: usize,
    /// A record is compared again when its item has grown by this factor.
    pub growth: f64,
    pub compare: Compare,
    /// How long a profile waits for further updates of its user.
    #[serde(with = "humantime_serde")]
    pub profile_debounce: Duration,
}

impl Default for SelectorConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig::default(),
            strategy: Strategy::default(),
            k: 4,
            max_candidates: 256,
            growth: 2.0,
            compare: Compare::default(),
            profile_debounce: Duration::from_secs(3),
        }
    }
}

impl Validate for SelectorConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        faults.require((1..=16).contains(&self.k), "k", "must be between 1 and 16");
        faults.require(
            (2..=4096).contains(&self.max_candidates),
            "max_candidates",
            "must be between 2 and 4096",
        );
        faults.require(
            (1.0..=1000.0).contains(&self.growth),
            "growth",
            "must be between 1 and 1000",
        );
        faults.require(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.profile_debounce),
            "profile_debounce",
            "must be between 1s and 1h",
        );
    }
}
