//! The selector: which peers stand for the rest, and whose difference is due.

pub mod choose;
pub mod cluster;
