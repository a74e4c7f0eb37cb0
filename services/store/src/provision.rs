//! Creates what Foil runs on: streams, consumers, buckets, collections. Only this does; a worker
//! that finds something missing waits.
//!
//! Running it again changes nothing, or brings what exists to the configured limits. It never
//! deletes anything, refuses a limit smaller than what is stored unless it is told to, and never takes
//! over what another system made.

mod collections;
mod config;
mod excess;
mod jetstream;
mod report;
mod streams;

pub use config::{Limits, ProvisionConfig};
pub use report::{Change, Difference, Entry, ProvisionReport};

use crate::{Store, StoreError};

/// Creates or updates everything. `store` names the servers and the length of the vectors.
///
/// # Errors
/// [`StoreError::Incompatible`] says what stands in the way and what to do; others come from the
/// servers. What was done before the error stays; run it again.
pub async fn provision(
    store: &Store,
    config: &ProvisionConfig,
) -> Result<ProvisionReport, StoreError> {
    let mut report = ProvisionReport::default();
    collections::provision(store, config, &mut report).await?;
    jetstream::provision(store.context(), config, &mut report).await?;
    Ok(report)
}
