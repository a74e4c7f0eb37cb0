//! The server through the client that Foil's store uses.

#![allow(clippy::unwrap_used)]

mod calls;
mod crash;
mod faults;
mod fencing;
mod filters;
mod limits;
mod process;
mod support;
mod writes;
