//! The mover: brings what NATS itself gave up to the dead letters. A message that kills every worker
//! before it is even counted would else lie in its stream, delivered to nobody and seen by nobody. And
//! it measures how far every stage is behind ([`lag`]) and how full every stream is.

use std::sync::Arc;

use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::events;

mod advisory;
pub mod config;
mod lag;
pub mod metrics;
mod room;
mod stage;

pub use advisory::Advisory;
pub use config::{Config, MoverConfig};
use lag::LagWatch;
pub use lag::{Lag, lag};
pub use stage::Mover;

/// Runs the stage until the shutdown.
///
/// # Errors
/// Those of [`run_stage`].
pub async fn run(config: &MoverConfig, service: &Service) -> Result<(), RunError> {
    let spec = StageSpec::new(stages::MOVER, stream::ADVISORIES).with_dead_event(events::dead);
    let stage = Arc::new(Mover::new(
        service.nats.clone(),
        config.worker.publish_timeout,
    ));
    let watch = LagWatch::new(service.nats.clone(), config.worker.publish_timeout);
    tokio::select! {
        result = run_stage(stage, spec, config.worker.clone(), service) => result,
        never = watch.run(config.lag_every) => match never {},
    }
}

/// Runs the stage as a process of its own.
///
/// # Errors
/// As [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    run(&config.mover, &service).await
}
