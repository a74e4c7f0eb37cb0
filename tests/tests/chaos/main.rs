//! Faults of whole processes: real NATS, the embedded Qdrant and every stage as processes of their
//! own, with stubs for the models.

#![allow(clippy::unwrap_used)]

mod engine;
mod load;
mod short;
mod shutdown;
