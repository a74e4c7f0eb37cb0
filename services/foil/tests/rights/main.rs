//! Who may do what: the users that `foil nats-auth` makes, on a real nats-server, and certificates on
//! both sides of NATS and Qdrant.

#![allow(clippy::unwrap_used)]

mod certificates;
mod pass;
mod place;
mod refusals;
mod roles;
mod secrets;
mod table;
mod wire;
