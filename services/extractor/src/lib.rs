//! The extractor: compares a record with its representatives and stores what it found.

pub mod evidence;
pub mod leak;
