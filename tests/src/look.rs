//! What is in a running Foil, seen through NATS and the store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, jetstream};
use foil_proto::names::{stage, stream, subject};
use foil_proto::v1::{self, update::Change};
use foil_store::{Store, StoreConfig};
use prost::Message as _;

const POLL_EVERY: Duration = Duration::from_millis(100);
/// Most records of one user that are counted.
const RECORDS_MAX: usize = 1000;

/// Connections to the servers of a [`crate::Place`].
pub struct Look {
    pub nats: async_nats::Client,
    pub jetstream: jetstream::Context,
    pub store: Store,
}

impl Look {
    pub(crate) async fn at(nats: &str, qdrant: &str) -> Self {
        let nats = async_nats::connect(nats).await.expect("NATS answers");
        let config = StoreConfig {
            qdrant_url: format!("http://{qdrant}"),
            ..StoreConfig::default()
        };
        Self::over(nats, &config).await
    }

    pub(crate) async fn over(nats: async_nats::Client, config: &StoreConfig) -> Self {
        let store = Store::connect(config, nats.clone()).await;
        Self {
            jetstream: jetstream::new(nats.clone()),
            store: store.expect("a store"),
            nats,
        }
    }

    /// Publishes the first revision of a user's record, and waits until NATS stored it.
    ///
    /// # Panics
    /// When it is not stored.
    pub async fn publish(&self, [tenant, user, item]: [&str; 3], text: &str, headers: HeaderMap) {
        let record = v1::RecordUpsert {
            user: user.to_owned(),
            item: item.to_owned(),
            text: text.to_owned(),
            revision: 1,
            ..v1::RecordUpsert::default()
        };
        let update = v1::Update {
            tenant: tenant.to_owned(),
            change: Some(Change::RecordUpsert(record)),
        };
        let payload = update.encode_to_vec().into();
        let to = subject::update(tenant, user);
        let sent = self.jetstream.publish_with_headers(to, headers, payload);
        let stored = sent.await.expect("sent").await;
        stored.expect("stored");
    }

    /// Messages in a stream.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub async fn messages(&self, name: &str) -> u64 {
        let stream = self.jetstream.get_stream(name).await.expect(name);
        stream.cached_info().state.messages
    }

    /// Updates that the embedder has finished, and those that were published.
    ///
    /// # Panics
    /// When NATS cannot be asked.
    pub async fn updates_done(&self) -> (u64, u64) {
        let updates = self.jetstream.get_stream(stream::UPDATES).await;
        let updates = updates.expect("the stream of updates");
        let published = updates.cached_info().state.last_sequence;
        let consumer = updates.consumer_info(stage::EMBEDDER).await;
        let consumer = consumer.expect("the embedder's consumer");
        (consumer.ack_floor.stream_sequence, published)
    }

    /// Waits until the embedder has finished all that was published.
    ///
    /// # Panics
    /// When it has not within `limit`.
    pub async fn all_embedded(&self, limit: Duration) {
        self.until("all updates are finished", limit, async || {
            let (done, published) = self.updates_done().await;
            done >= published
        })
        .await;
    }

    /// Waits until `holds`.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn until(&self, what: &str, limit: Duration, holds: impl AsyncFn() -> bool) {
        let until = Instant::now() + limit;
        while !holds().await {
            assert!(Instant::now() < until, "not within {limit:?}: {what}");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// The items a user has a record on: (item, revision, text). One record too many shows.
    ///
    /// # Panics
    /// When the store cannot be asked, or counts other records than it lists.
    pub async fn records(&self, tenant: &str, user: &str) -> BTreeSet<(String, u64, String)> {
        let records = self.store.user_records(tenant, user, RECORDS_MAX).await;
        let records = records.expect("the user's records");
        let listed = records.len() as u64;
        let counted = self.store.count_user_records(tenant, user).await;
        assert_eq!(counted.expect("their count"), listed, "{user}");
        let set: BTreeSet<_> = records
            .into_iter()
            .map(|record| (record.key.item, record.revision, record.text))
            .collect();
        assert_eq!(set.len() as u64, listed, "{user} has a record twice");
        set
    }
}
