//! What every stage runs on: pulling, concurrency, heartbeat, settlement, dead letters, shutdown,
//! configuration, telemetry and the admin port. It knows no domain message.
//!
//! | result of [`Stage::handle`] | settlement |
//! |---|---|
//! | ok | publish the outputs, await their acks, double-ack the input |
//! | retry, timeout, panic | NAK with a jittered delay; on the last attempt a dead-letter copy, then Term |
//! | undecodable, reject | dead-letter copy, then Term, on the first delivery |
//! | fatal | NAK with a delay, readiness off, drain, exit 1 |
//! | an output cannot be stored | wait, then NAK with a delay: backpressure, not the input's fault |
//! | to be copied, but [`Stage::may_be_kept`] says no | Term without a copy: the outcome `erased` |
//! | the dead-letter copy, or that question, fails | NAK with a delay: not the input's fault, and nothing else is ever Termed without a stored copy |
//! | delivered too often (a message that kills the process) | checked before the handler runs: dead-letter copy, then Term |
//!
//! A stage pulls only while every check that it registered ([`Service::health`]) and every check of
//! the process is up: an outage of what it needs costs waiting, not attempts.
//!
//! `examples/echo.rs` is a whole stage.

pub mod admin;
mod burial;
pub mod bus;
pub mod config;
mod dead_letter;
pub mod error;
mod excused;
pub mod health;
mod heartbeat;
mod keyed;
pub mod metrics;
pub mod nats;
mod outputs;
mod process;
mod publish;
mod pull;
mod service;
pub mod settle;
pub mod shutdown;
pub mod stage;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
mod worker;

pub use burial::{DeadEvent, bury};
pub use config::{
    AdminConfig, Common, ConfigError, Faults, NatsConfig, Secret, ServiceConfig, ShutdownConfig,
    Sources, TelemetryConfig, Tenants, Validate, WorkerConfig,
};
pub use dead_letter::{DeadLetter, tenant_of};
pub use error::{BoxError, Classify, Reason, StageError};
pub use health::{Health, HealthCheck};
pub use keyed::KeyedMutex;
pub use service::{RunError, Service, install_tls_provider, key_and_value, main_with};
pub use shutdown::Shutdown;
pub use stage::{Context, Decode, Emit, Outcome, Schedule, Stage};
pub use worker::{StageSpec, run_stage};
