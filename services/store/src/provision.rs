//! Creates what Foil runs on: streams, consumers, buckets, collections. Only this does; a worker
//! that finds something missing waits.
//!
//! Running it again changes nothing, or brings what exists to the configured limits. It never
//! deletes anything, and never takes over what another system made.

mod collections;
mod config;
mod jetstream;
mod streams;

use std::fmt;

pub use config::{Limits, ProvisionConfig};

use crate::{Store, StoreError};

/// What was done to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Created,
    /// Its limits were others than the configured ones.
    Updated,
    Unchanged,
}

/// What was done, in order: kind and name ("stream FOIL_UPDATES"), and the change.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ProvisionReport {
    pub entries: Vec<(String, Change)>,
}

impl ProvisionReport {
    fn add(&mut self, what: String, change: Change) {
        self.entries.push((what, change));
    }

    /// How many things had this change.
    pub fn count(&self, change: Change) -> usize {
        self.entries.iter().filter(|(_, c)| *c == change).count()
    }
}

impl fmt::Display for ProvisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, change) in &self.entries {
            let change = match change {
                Change::Created => "created",
                Change::Updated => "updated",
                Change::Unchanged => "unchanged",
            };
            writeln!(f, "{change:9} {what}")?;
        }
        Ok(())
    }
}

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
