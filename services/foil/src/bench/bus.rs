//! What the runtime costs against a bare loop over NATS.

use anyhow::{Result, anyhow};

use super::Reading;
use super::rig::Nats;
use crate::config::FoilConfig;

const MESSAGES: usize = 20_000;
const CONCURRENCY: usize = 64;

/// Both over the same messages on one server, in turns.
///
/// # Errors
/// When the server does not start or does not do.
pub async fn measure(config: &FoilConfig) -> Result<Vec<Reading>> {
    let nats = Nats::start(config).await?;
    let service = nats.service().await?;
    let report = foil_runtime::bus::measure(&service, MESSAGES, CONCURRENCY).await;
    nats.stop().await;
    let report = report.map_err(|error| anyhow!(error))?;
    Ok(vec![Reading {
        key: "bus",
        value: report.ratio(),
        note: format!(
            "{MESSAGES} messages, {CONCURRENCY} at once, the best of several turns: {:.0} a second \
             through a no-op stage, {:.0} through a bare loop.",
            report.stage_per_second, report.raw_per_second
        ),
    }])
}
