//! What every stage runs on: pulling, concurrency, heartbeat, settlement, dead letters, shutdown,
//! configuration, telemetry and the admin port. It knows no domain message.
//!
//! | result of [`Stage::handle`] | settlement |
//! |---|---|
//! | ok | publish the outputs, await their acks, double-ack the input |
//! | retry, timeout, panic | NAK with a jittered delay; on the last attempt a dead-letter copy, then Term |
//! | undecodable, reject | dead-letter copy, then Term, on the first delivery |
//! | fatal | NAK with a delay, readiness off, drain, exit 1 |
//! | the dead-letter copy fails | NAK with a delay; nothing is ever Termed without a stored copy |
//! | delivered too often (a message that kills the process) | checked before the handler runs: dead-letter copy, then Term |

pub mod error;
pub mod stage;

pub use error::{Classify, Reason, StageError};
pub use stage::{Context, Emit, Outcome, Schedule, Stage};
