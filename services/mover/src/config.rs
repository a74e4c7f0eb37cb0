//! The configuration of the mover. `[mover]` is the stage's own section.

use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Validate, WorkerConfig,
};
use serde::{Deserialize, Serialize};

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
        }
    }
}

impl Validate for MoverConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
    }
}
