//! The generator against a real nats-server, the embedded Qdrant and a stub of a language model.

#![allow(clippy::unwrap_used)]

mod activity;
mod caller;
mod contexts;
mod failures;
mod strategies;
mod support;
mod texts;
