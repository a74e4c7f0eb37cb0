//! The server through the client that Foil's store uses.

#![allow(clippy::unwrap_used)]

mod bounds;
mod calls;
mod compaction;
mod crash;
mod faults;
mod fencing;
mod filters;
mod fuzz;
mod limits;
mod process;
mod support;
mod writes;
