//! Hostile texts and two tenants, through all stages in this process: a real nats-server, the embedded
//! Qdrant, and models that do what a text asks of them.

#![allow(clippy::unwrap_used)]

#[path = "../../hostile/corpus.rs"]
mod corpus;
mod everywhere;
mod limits;
mod obedient;
mod rig;
mod tenants;
