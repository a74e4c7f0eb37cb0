//! The configuration of the mover. `[mover]` is the stage's own section.

use std::time::Duration;

use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Validate, WorkerConfig,
};
use serde::{Deserialize, Serialize};

/// Each look asks NATS twice for every stage, and once for every stream.
const LAG_EVERY_MIN: Duration = Duration::from_secs(1);

/// All of the process's sections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub mover: MoverConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("mover", &self.mover);
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

/// The stage itself. Section `[mover]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MoverConfig {
    pub worker: WorkerConfig,
    /// From one look at the stages' lag and the streams' fill to the next.
    #[serde(with = "humantime_serde")]
    pub lag_every: Duration,
}

impl Default for MoverConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig {
                permits: 4,
                // Only NATS can stand in its way, and a full FOIL_DEAD: it is to outlast both.
                max_deliveries: 10_000,
                ..WorkerConfig::default()
            },
            lag_every: Duration::from_secs(15),
        }
    }
}

impl Validate for MoverConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        faults.require(
            self.lag_every >= LAG_EVERY_MIN,
            "lag_every",
            "must be at least 1s",
        );
    }
}
