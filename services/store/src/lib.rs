//! Foil's state: records with vectors and differences, items and users in Qdrant; profile versions
//! and the users asked for lately in JetStream key-value buckets. [`provision`] creates it all.
//!
//! Every read and write filters by tenant, and what comes back is checked again: an answer that
//! belongs to another tenant is an error ([`StoreError::TenantMismatch`]), never data.
//!
//! Writes are fenced by revision, so that messages may arrive in any order and any number of times:
//! the highest revision stays, a delete wins over an upsert of the same revision, and of two
//! different texts under one revision the first to arrive stays.

mod config;
mod error;
mod ids;
mod model;
mod store;

pub use config::StoreConfig;
pub use error::StoreError;
pub use model::{
    Deleted, Due, Erased, Item, OptedOut, ProfileSlot, Record, RecordKey, RecordWrite,
    StoredProfile, UserState, Written,
};
pub use store::Store;
