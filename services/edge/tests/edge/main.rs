//! The server through the client that Foil's store uses.

mod calls;
mod crash;
mod fencing;
mod filters;
mod limits;
mod process;
mod support;
mod writes;
