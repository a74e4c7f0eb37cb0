//! Profile versions: bucket FOIL_PROFILES, one key a user, written by compare-and-swap.

use std::time::Duration;

use foil_proto::names::user_key;
use foil_proto::v1;
use prost::Message;

use crate::bucket::{Entry, Put};
use crate::check_input::{check_keys, check_profile};
use crate::model::{ProfileSlot, StoredProfile, Written};
use crate::{Store, StoreError};

/// Versions that are kept of a profile.
pub(crate) const HISTORY: usize = 16;
/// How long a removal refuses the writes of profilers that started before it: far longer than one
/// runs. Afterwards nothing is left under the user's key.
const MARKER_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Store {
    /// The newest version of a user's profile.
    ///
    /// # Errors
    /// From NATS, or [`StoreError::Corrupt`].
    pub async fn profile(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Option<StoredProfile>, StoreError> {
        let slot = self.profile_slot(tenant, user).await?;
        let kv_revision = slot.kv_revision;
        Ok(slot.current.map(|profile| StoredProfile {
            profile,
            kv_revision,
        }))
    }

    /// The place of a user's profile, for writing the next version. Read it before the records that
    /// the version will rest on.
    ///
    /// # Errors
    /// From NATS, or [`StoreError::Corrupt`].
    pub async fn profile_slot(&self, tenant: &str, user: &str) -> Result<ProfileSlot, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let entry = self.profiles().last(&user_key(tenant, user)).await?;
        let kv_revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let stored = entry.map(|entry| to_profile(tenant, user, entry));
        let stored = stored.transpose()?.flatten();
        Ok(ProfileSlot {
            current: stored.map(|stored| stored.profile),
            kv_revision,
        })
    }

    /// The kept versions, newest first, at most 16.
    ///
    /// # Errors
    /// From NATS, or [`StoreError::Corrupt`].
    pub async fn profile_history(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Vec<StoredProfile>, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let key = user_key(tenant, user);
        // One more than is kept: a version may be added, and the oldest go, while this reads.
        let entries = self.profiles().history(&key, HISTORY + 1).await?;
        let mut versions = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().rev() {
            versions.extend(to_profile(tenant, user, entry)?);
        }
        versions.truncate(HISTORY);
        Ok(versions)
    }

    /// Stores a version if the slot is still the `expected` revision
    /// ([`ProfileSlot::kv_revision`]). [`Written::Stale`]: another version or an erasure came in
    /// between.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from NATS.
    pub async fn put_profile(
        &self,
        profile: &v1::Profile,
        expected: u64,
    ) -> Result<Written, StoreError> {
        check_profile(profile)?;
        let key = user_key(&profile.tenant, &profile.user);
        let value = bytes::Bytes::from(profile.encode_to_vec());
        match self
            .profiles()
            .put(&key, value.clone(), expected, None)
            .await?
        {
            Put::Stored => Ok(Written::Stored),
            // It may have been this very version, sent twice because its ack was lost.
            Put::Conflict => match self.profiles().last(&key).await? {
                Some(entry) if entry.value == Some(value) => Ok(Written::Same),
                _ => Ok(Written::Stale),
            },
        }
    }

    /// Removes all versions of the profile of a user whose records are gone, if the slot is still the
    /// `expected` revision ([`ProfileSlot::kv_revision`], read before the records were found gone),
    /// and refuses versions still being written from older reads, also where nothing was.
    /// [`Written::Same`]: it was removed already. [`Written::Stale`]: another version came in
    /// between.
    ///
    /// # Errors
    /// From NATS.
    pub async fn delete_profile(
        &self,
        tenant: &str,
        user: &str,
        expected: u64,
    ) -> Result<Written, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let key = user_key(tenant, user);
        let purged = self.profiles().purge(&key, Some(expected), MARKER_TTL);
        match purged.await? {
            Put::Stored => Ok(Written::Stored),
            // It may have been this very removal, whose ack was lost, or an erasure.
            Put::Conflict => match self.profiles().last(&key).await? {
                Some(entry) if entry.value.is_some() => Ok(Written::Stale),
                _ => Ok(Written::Same),
            },
        }
    }

    /// Removes all versions, and refuses those still being written. Gives how many there were.
    pub(crate) async fn erase_profiles(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        let key = user_key(tenant, user);
        let versions = self.profiles().history(&key, HISTORY + 1).await?;
        self.profiles().purge(&key, None, MARKER_TTL).await?;
        let versions = versions.iter().filter(|entry| entry.value.is_some());
        Ok(versions.count() as u64)
    }
}

/// None for a marker.
fn to_profile(tenant: &str, user: &str, entry: Entry) -> Result<Option<StoredProfile>, StoreError> {
    let Some(value) = entry.value else {
        return Ok(None);
    };
    let place = || format!("profile {}", user_key(tenant, user));
    let profile = v1::Profile::decode(value).map_err(|error| StoreError::Corrupt {
        place: place(),
        field: "value",
        problem: error.to_string(),
    })?;
    if profile.tenant != tenant {
        return Err(StoreError::TenantMismatch { place: place() });
    }
    if profile.user != user {
        return Err(StoreError::Corrupt {
            place: place(),
            field: "user",
            problem: "is another one".to_owned(),
        });
    }
    Ok(Some(StoredProfile {
        profile,
        kv_revision: entry.revision,
    }))
}
