//! Does it personalise? What `foil eval` runs.
//!
//! [`data`] is what is evaluated on, [`selection`] measures without an LLM whether what is selected
//! and measured tells a user from others, [`run`] writes texts by every strategy and scores them by
//! [`metrics`], [`report`] shows what it found, [`stats`] gives intervals and paired tests, [`plot`]
//! draws.

pub mod data;
pub mod fingerprint;
mod lock;
pub mod metrics;
pub mod plot;
pub mod progress;
pub mod report;
pub mod run;
pub mod selection;
pub mod stats;
