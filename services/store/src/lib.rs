//! Foil's state: records with vectors and differences, items and users in Qdrant; profile versions
//! and the users asked for lately in JetStream key-value buckets. [`provision`] creates it all.
//!
//! Every read and write filters by tenant, and what comes back is checked again: an answer that
//! belongs to another tenant is an error ([`StoreError::TenantMismatch`]), never data.
//!
//! Writes are fenced by revision, so that messages may arrive in any order and any number of times:
//! the highest revision stays, a delete wins over an upsert of the same revision, and of two
//! different texts under one revision the first to arrive stays.

mod active;
mod bucket;
mod check_input;
mod config;
mod db;
mod differences;
mod erase;
mod error;
mod fence;
mod ids;
mod items;
mod model;
mod point;
mod profiles;
pub mod provision;
mod records;
mod store;
mod users;

pub use config::StoreConfig;
pub use error::StoreError;
pub use model::{
    Deleted, Due, Erased, Item, OptedOut, ProfileSlot, Record, RecordKey, RecordWrite,
    StoredProfile, UserState, Written,
};
pub use provision::{Change, Limits, ProvisionConfig, ProvisionReport, provision};
pub use store::Store;
