//! Who was asked for lately: bucket FOIL_ACTIVE, one key a user with a time to live.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foil_proto::names::user_key;
use foil_proto::token::encode;
use futures::{StreamExt, TryStreamExt, stream};

use crate::bucket::Put;
use crate::check_input::check_keys;
use crate::db::endless;
use crate::progress::Progress;
use crate::{Store, StoreError};

/// Reads at once.
const PARALLEL: usize = 32;
/// Most keys of a tenant.
const KEYS_MAX: usize = 100_000_000;
/// A mark is renewed once this part of the window is over, so that a user who is asked for all the
/// time costs one write in it.
const RENEW_PART: u32 = 32;

impl Store {
    /// Notes that the user was asked for: active for the configured window from now (a mark younger
    /// than a 32nd of it is left as it is). True for exactly one caller when the user was inactive.
    ///
    /// # Errors
    /// From NATS.
    pub async fn touch_active(&self, tenant: &str, user: &str) -> Result<bool, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let key = user_key(tenant, user);
        let window = self.config().active_window;
        let last = self.active().last(&key).await?;
        let active = last.as_ref().is_some_and(|entry| entry.value.is_some());
        if let Some(entry) = last.as_ref().filter(|_| active) {
            let age = SystemTime::now().duration_since(entry.created);
            if age.unwrap_or_default() < window / RENEW_PART {
                return Ok(false);
            }
        }
        let expected = last.map_or(0, |entry| entry.revision);
        let value = Bytes::from_static(b"1");
        match self
            .active()
            .put(&key, value, expected, Some(window))
            .await?
        {
            Put::Stored(_) => Ok(!active),
            Put::Conflict => Ok(false), // another caller noted it at the same moment
        }
    }

    /// Those of `users` who were asked for within the window.
    ///
    /// # Errors
    /// From NATS.
    pub async fn are_active(
        &self,
        tenant: &str,
        users: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        for user in users {
            check_keys(tenant, Some(user), None)?;
        }
        let looks = users.iter().map(|user| async move {
            let entry = self.active().last(&user_key(tenant, user)).await?;
            let active = entry.is_some_and(|entry| entry.value.is_some());
            Ok(active.then(|| (*user).to_owned()))
        });
        // A closure over references held across the wait would make this future not Send.
        let looks: Vec<_> = looks.collect();
        let found = stream::iter(looks).buffer_unordered(PARALLEL);
        found
            .try_filter_map(|user| async { Ok(user) })
            .try_collect()
            .await
    }

    pub(crate) async fn forget_active(&self, tenant: &str, user: &str) -> Result<(), StoreError> {
        let shortest = Duration::from_secs(1);
        let key = user_key(tenant, user);
        self.active().purge(&key, shortest).await
    }

    pub(crate) async fn forget_all_active(
        &self,
        tenant: &str,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let mut from = 1;
        for _ in 0..KEYS_MAX {
            let next = self.active().next_entry(&encode(tenant), from).await?;
            let Some((key, entry)) = next else {
                return Ok(());
            };
            // Each removal leaves a marker, which comes up here in its turn.
            if entry.value.is_some() {
                self.active().purge(&key, Duration::from_secs(1)).await?;
                progress.check("tenant's active users")?;
            }
            from = entry.revision + 1;
        }
        Err(endless("tenant's active users"))
    }
}
