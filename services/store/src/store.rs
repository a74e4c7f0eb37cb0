//! The handle that every stage holds.

use std::sync::Arc;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use foil_proto::names::{bucket, collection};
use foil_runtime::config::Faults;
use qdrant_client::qdrant::{
    CollectionExistsRequest, CollectionInfo, GetCollectionInfoRequest, vectors_config,
};

use crate::bucket::Bucket;
use crate::db::Db;
use crate::{StoreConfig, StoreError};

/// Every point has a vector; those of items and users are never compared.
pub(crate) const NO_VECTOR: [f32; 1] = [0.0];

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    db: Db,
    context: Context,
    profiles: Bucket,
    active: Bucket,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = &self.inner.config.qdrant_url;
        f.debug_struct("Store")
            .field("qdrant_url", url)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A handle; nothing is called yet, so it works while Qdrant and NATS are down.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the configuration is at fault.
    #[allow(clippy::unused_async)] // callers should not care when this starts to look at the servers
    pub async fn connect(
        config: &StoreConfig,
        nats: async_nats::Client,
    ) -> Result<Self, StoreError> {
        if let Some(fault) = Faults::of(config).first() {
            return Err(StoreError::Invalid {
                field: "store",
                problem: fault.to_string(),
            });
        }
        let mut context = async_nats::jetstream::new(nats);
        context.set_timeout(config.timeout);
        let bucket = |name| Bucket::new(name, context.clone(), config.timeout);
        Ok(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                db: Db::new(config)?,
                profiles: bucket(bucket::PROFILES),
                active: bucket(bucket::ACTIVE),
                context,
            }),
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn profiles(&self) -> &Bucket {
        &self.inner.profiles
    }

    pub(crate) fn active(&self) -> &Bucket {
        &self.inner.active
    }

    pub(crate) fn context(&self) -> &Context {
        &self.inner.context
    }

    /// A stream, not looked up.
    pub(crate) async fn stream(&self, name: &'static str) -> Result<Stream<()>, StoreError> {
        let stream = self.inner.context.get_stream_no_info(name).await;
        stream.map_err(|error| StoreError::Unavailable {
            operation: "stream",
            cause: error.to_string(),
        })
    }

    /// Whether Qdrant answers, the collections exist, the vectors have the configured length, and a
    /// disk that was full has room again.
    ///
    /// # Errors
    /// [`StoreError::NotProvisioned`], [`StoreError::Incompatible`], or from Qdrant.
    pub async fn ready(&self) -> Result<(), StoreError> {
        for name in [collection::ITEMS, collection::USERS] {
            if !self.collection_exists(name).await? {
                return Err(StoreError::NotProvisioned {
                    what: format!("collection {name}"),
                });
            }
        }
        let found = self.collection_dimension(collection::RECORDS).await?;
        check_dimension(collection::RECORDS, found, self.config().dimension)?;
        self.db().check_room().await
    }

    pub(crate) async fn collection_exists(&self, name: &'static str) -> Result<bool, StoreError> {
        let call = CollectionExistsRequest {
            collection_name: name.to_owned(),
        };
        let exists = self.db().call("collection_exists", name, |mut clients| {
            let call = call.clone();
            async move { clients.collections.collection_exists(call).await }
        });
        Ok(exists.await?.result.is_some_and(|result| result.exists))
    }

    pub(crate) async fn collection_info(
        &self,
        name: &'static str,
    ) -> Result<CollectionInfo, StoreError> {
        let call = GetCollectionInfoRequest {
            collection_name: name.to_owned(),
        };
        let info = self.db().call("collection_info", name, |mut clients| {
            let call = call.clone();
            async move { clients.collections.get(call).await }
        });
        Ok(info.await?.result.unwrap_or_default())
    }

    /// Length of a collection's vectors; none where it has several kinds or none at all.
    pub(crate) async fn collection_dimension(
        &self,
        name: &'static str,
    ) -> Result<Option<u64>, StoreError> {
        let info = self.collection_info(name).await?;
        let vectors = info
            .config
            .and_then(|config| config.params)
            .and_then(|params| params.vectors_config)
            .and_then(|vectors| vectors.config);
        Ok(match vectors {
            Some(vectors_config::Config::Params(params)) => Some(params.size),
            _ => None,
        })
    }
}

pub(crate) fn check_dimension(
    name: &str,
    found: Option<u64>,
    wanted: u32,
) -> Result<(), StoreError> {
    if found == Some(u64::from(wanted)) {
        return Ok(());
    }
    let found = found.map_or("no single vector".to_owned(), |size| {
        format!("vectors of {size}")
    });
    Err(StoreError::Incompatible {
        what: format!("collection {name}"),
        problem: format!(
            "holds {found}, but store.dimension is {wanted}: \
             the embedding model was changed, or the collection is another's"
        ),
    })
}
