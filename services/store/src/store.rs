//! The handle that every stage holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foil_proto::v1;
use uuid::Uuid;

use crate::model::{
    Deleted, Due, Erased, Item, OptedOut, ProfileSlot, Record, RecordKey, RecordWrite,
    StoredProfile, UserState, Written,
};
use crate::{StoreConfig, StoreError};

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    nats: async_nats::Client,
}

fn unbuilt<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable {
        operation: "unbuilt",
        cause: "not built yet".into(),
    })
}

#[allow(unused_variables)]
impl Store {
    pub async fn connect(
        config: &StoreConfig,
        nats: async_nats::Client,
    ) -> Result<Store, StoreError> {
        Ok(Store {
            inner: Arc::new(Inner {
                config: config.clone(),
                nats,
            }),
        })
    }
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }
    pub async fn ready(&self) -> Result<(), StoreError> {
        let _ = &self.inner.nats;
        unbuilt()
    }

    pub async fn put_record(&self, record: &RecordWrite) -> Result<Written, StoreError> {
        unbuilt()
    }
    /// None: a record of a higher revision survives.
    pub async fn delete_record(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
    ) -> Result<Option<Deleted>, StoreError> {
        unbuilt()
    }
    /// Without vector.
    pub async fn record(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        unbuilt()
    }
    /// Missing and deleted ones are left out; in the order of `ids`.
    pub async fn records_by_ids(
        &self,
        tenant: &str,
        ids: &[Uuid],
        with_vectors: bool,
    ) -> Result<Vec<Record>, StoreError> {
        unbuilt()
    }
    /// With vectors, lowest ids first, opted-out ones included.
    pub async fn item_records(
        &self,
        tenant: &str,
        item: &str,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        unbuilt()
    }
    /// Newest first by `occurred_at_ms`, without vectors.
    pub async fn user_records(
        &self,
        tenant: &str,
        user: &str,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        unbuilt()
    }
    pub async fn count_item_records(&self, tenant: &str, item: &str) -> Result<u64, StoreError> {
        unbuilt()
    }
    pub async fn count_user_records(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        unbuilt()
    }

    /// Stale: the text changed meanwhile, or a representative is gone or opted out.
    pub async fn put_difference(
        &self,
        key: &RecordKey,
        revision: u64,
        difference: &v1::Difference,
    ) -> Result<Written, StoreError> {
        unbuilt()
    }
    /// `cause` names why (point id of the deleted record, say): a repeated call with it returns the same keys until they are compared anew.
    pub async fn clear_differences_using(
        &self,
        tenant: &str,
        ids: &[Uuid],
        cause: &str,
    ) -> Result<Vec<RecordKey>, StoreError> {
        unbuilt()
    }
    pub async fn mark_due(&self, tenant: &str, marks: &[Due]) -> Result<(), StoreError> {
        unbuilt()
    }
    /// Only where it still is due for that fingerprint.
    pub async fn clear_due(&self, key: &RecordKey, fingerprint: &str) -> Result<(), StoreError> {
        unbuilt()
    }
    /// The user's records marked due at or after `since_ms` (0: ever).
    pub async fn count_due(
        &self,
        tenant: &str,
        user: &str,
        since_ms: i64,
    ) -> Result<u64, StoreError> {
        unbuilt()
    }

    pub async fn put_item(&self, tenant: &str, item: &Item) -> Result<Written, StoreError> {
        unbuilt()
    }
    pub async fn item(&self, tenant: &str, item: &str) -> Result<Option<Item>, StoreError> {
        unbuilt()
    }
    /// Unknown ones are left out.
    pub async fn items(
        &self,
        tenant: &str,
        items: &[&str],
    ) -> Result<HashMap<String, Item>, StoreError> {
        unbuilt()
    }

    pub async fn user_state(&self, tenant: &str, user: &str) -> Result<UserState, StoreError> {
        unbuilt()
    }
    /// Every asked user is in the answer.
    pub async fn user_states(
        &self,
        tenant: &str,
        users: &[&str],
    ) -> Result<HashMap<String, UserState>, StoreError> {
        unbuilt()
    }
    pub async fn put_opt_out(
        &self,
        tenant: &str,
        user: &str,
        opted_out: bool,
        revision: u64,
    ) -> Result<OptedOut, StoreError> {
        unbuilt()
    }
    pub async fn erase_user(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
    ) -> Result<Erased, StoreError> {
        unbuilt()
    }

    pub async fn profile(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Option<StoredProfile>, StoreError> {
        unbuilt()
    }
    /// For the profiler: read it before the records.
    pub async fn profile_slot(&self, tenant: &str, user: &str) -> Result<ProfileSlot, StoreError> {
        unbuilt()
    }
    /// Newest first, at most 16.
    pub async fn profile_history(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Vec<StoredProfile>, StoreError> {
        unbuilt()
    }
    /// `expected`: `ProfileSlot::kv_revision`. Stale: somebody else wrote meanwhile.
    pub async fn put_profile(
        &self,
        profile: &v1::Profile,
        expected: u64,
    ) -> Result<Written, StoreError> {
        unbuilt()
    }

    /// True when the user was inactive until now.
    pub async fn touch_active(&self, tenant: &str, user: &str) -> Result<bool, StoreError> {
        unbuilt()
    }
    pub async fn are_active(
        &self,
        tenant: &str,
        users: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        unbuilt()
    }
}
