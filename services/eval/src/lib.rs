//! Does it personalise? What `foil eval` runs.
//!
//! [`data`] is what is evaluated on, [`selection`] measures without an LLM whether what is selected
//! and measured tells a user from others, [`stats`] gives intervals and paired tests, [`plot`] draws.

pub mod data;
pub mod plot;
pub mod progress;
pub mod selection;
pub mod stats;
