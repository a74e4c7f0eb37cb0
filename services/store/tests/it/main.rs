//! The store against a real nats-server and the embedded Qdrant.

#![allow(clippy::unwrap_used)]

mod active;
mod differences;
mod erase;
mod items;
mod order;
mod outage;
mod profiles;
mod provisioning;
mod records;
mod support;
mod tenants;
mod users;
