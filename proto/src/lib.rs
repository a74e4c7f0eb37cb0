//! The wire contract of Foil: messages ([`v1`]), names of subjects, streams, consumers, buckets and
//! headers ([`names`]), ids as subject tokens ([`token`]), and the checks a message must pass
//! ([`check`]), and
//! the features of measured evidence in words ([`feature`]).

pub mod check;
pub mod feature;
pub mod names;
pub mod token;

/// Generated from `proto/foil/v1/*.proto`.
#[allow(clippy::all, clippy::unwrap_used)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/foil.v1.rs"));
}
