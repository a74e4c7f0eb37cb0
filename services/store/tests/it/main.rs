//! The store against a real nats-server and the embedded Qdrant.

#![allow(clippy::unwrap_used)]

mod active;
mod differences;
mod erase;
mod erase_bytes;
mod erase_large;
mod erase_record;
mod erase_tenant;
mod items;
mod limits;
mod order;
mod outage;
mod profiles;
mod provisioning;
mod records;
mod support;
mod tenants;
mod users;
