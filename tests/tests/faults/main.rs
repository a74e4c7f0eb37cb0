//! A full disk, a read-only one, and queues that nobody works off: NATS, the embedded Qdrant and the
//! stages as processes of their own, with stub models.

#![allow(clippy::unwrap_used)]

mod backpressure;
mod memory;
mod nats_disk;
mod qdrant_disk;
mod support;
