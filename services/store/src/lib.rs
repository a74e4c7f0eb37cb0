//! Foil's state: records with vectors and differences, items and users in Qdrant; profile versions
//! and the users asked for lately in JetStream key-value buckets. [`provision`] creates it all.
//!
//! Every read and write filters by tenant, and what comes back is checked again: an answer that
//! belongs to another tenant is an error ([`StoreError::TenantMismatch`]), never data.
//!
//! Writes are fenced by revision, so that messages may arrive in any order and any number of times:
//! the highest revision stays, a delete wins over an upsert of the same revision, and of two
//! different texts under one revision the first to arrive stays.
//!
//! Beside Qdrant, a worker's NATS user needs, under `$JS.API.` where no other prefix is named:
//!
//! | calls | rights to publish |
//! |---|---|
//! | `profile`, `profile_slot`, `profile_history` | `DIRECT.GET.KV_FOIL_PROFILES.>` |
//! | `put_profile`, `delete_profile` | the same, `STREAM.MSG.GET.` and `STREAM.MSG.DELETE.KV_FOIL_PROFILES`, and `$KV.FOIL_PROFILES.>` |
//! | `are_active` | `DIRECT.GET.KV_FOIL_ACTIVE.>` |
//! | `touch_active` | the same and `$KV.FOIL_ACTIVE.>` |
//! | `erase_user`, `erase_record`, `erase_tenant`, `forget_profiles_on` | all of these; `STREAM.MSG.GET.` and `STREAM.MSG.DELETE.` of FOIL_UPDATES, FOIL_DEAD, FOIL_GENERATE and KV_FOIL_PROFILES; `STREAM.MSG.GET.KV_FOIL_ACTIVE`; `STREAM.PURGE.` of FOIL_SELECT, FOIL_EXTRACT, FOIL_PROFILE and FOIL_EVENTS |
//! | `forget_update` | `STREAM.MSG.GET.` and `STREAM.MSG.DELETE.FOIL_UPDATES` |
//! | [`provision`] | `STREAM.` and `CONSUMER.` `INFO`, `CREATE` and `UPDATE` of all |

mod active;
mod bucket;
mod check_input;
mod compaction;
mod config;
mod db;
mod differences;
mod doomed;
mod erase;
mod error;
pub mod events;
mod fence;
mod ids;
mod items;
mod links;
pub mod metrics;
mod model;
mod point;
mod profiles;
mod progress;
pub mod provision;
mod qdrant;
mod record_writes;
mod records;
mod room;
mod store;
mod traces;
mod users;
mod wipe;

pub use compaction::Compaction;
pub use config::StoreConfig;
pub use error::{OrStage, StoreError};
pub use links::MadeBy;
pub use model::{
    Deleted, Due, Erased, ErasedRecord, ErasedTenant, Erasure, Item, OptedOut, ProfileSlot, Record,
    RecordKey, RecordWrite, StoredProfile, UserState, Written,
};
pub use progress::Progress;
pub use provision::{Change, Limits, ProvisionConfig, ProvisionReport, provision};
pub use store::Store;

#[cfg(test)]
extern crate self as foil_store; // as the shared support names it
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod races;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/it/support.rs"]
mod support;
