//! Real servers for the tests of the crates that need them: nats-server, the embedded Qdrant, and
//! all that Foil keeps in both, provisioned. Everything ends with the value that holds it.

mod qdrant;
mod servers;

use std::time::Duration;

use foil_runtime::WorkerConfig;
use foil_store::{RecordKey, RecordWrite};
use tokio::time::Instant;

pub use qdrant::Qdrant;
pub use servers::Servers;

pub const TENANT: &str = "acme";
/// Of the vectors of [`record`].
pub const DIMENSION: u32 = 4;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until it holds.
///
/// # Panics
/// When it never does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}: waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first revision of a record, without a place in the log of its own.
pub fn record(user: &str, item: &str, text: &str) -> RecordWrite {
    RecordWrite {
        key: RecordKey::new(TENANT, user, item),
        text: text.to_owned(),
        title: format!("what {user} thinks"),
        rating: Some(4.0),
        occurred_at_ms: 1_700_000_000_000,
        revision: 1,
        updated_at_ms: 1_700_000_000_500,
        sequence: 7,
        vector: vec![3.0, 0.0, 4.0, 0.0],
    }
}

/// Short waits all over.
pub fn worker() -> WorkerConfig {
    WorkerConfig {
        permits: 4,
        timeout: Duration::from_secs(20),
        max_deliveries: 3,
        backoff_base: Duration::from_millis(50),
        backoff_cap: Duration::from_millis(200),
        pull_expiry: Duration::from_secs(2),
        publish_timeout: Duration::from_secs(2),
        publish_patience: Duration::from_millis(200),
    }
}
