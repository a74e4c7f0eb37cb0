//! Profile versions: bucket FOIL_PROFILES, one key a user, written by compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foil_proto::names::user_key;
use foil_proto::v1;
use prost::Message;

use crate::bucket::{Entry, Put};
use crate::check_input::{check_keys, check_profile};
use crate::db::endless;
use crate::model::{ProfileSlot, RecordKey, StoredProfile, Written};
use crate::{Store, StoreError};

/// Versions that are kept of a profile.
pub(crate) const HISTORY: usize = 16;
/// How long a removal refuses the writes of profilers that started before it: far longer than one
/// runs. Afterwards nothing is left under the user's key.
const MARKER_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often versions are looked at again because another one came in between.
const SETTLE_ROUNDS: usize = 16;

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
        let marked = entry.as_ref().map_or(0, |entry| entry.number);
        let stored = entry.map(|entry| to_profile(tenant, user, entry));
        let stored = stored.transpose()?.flatten();
        let current = stored.map(|stored| stored.profile);
        Ok(ProfileSlot {
            version: current.as_ref().map_or(marked, |profile| profile.version),
            current,
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
        let entries = self.profiles().all(&key, HISTORY + 1).await?;
        self.make_room(&entries).await?;
        let put = self.profiles().put(&key, value.clone(), expected, None);
        match put.await? {
            Put::Stored(_) => Ok(Written::Stored),
            // It may have been this very version, sent twice because its ack was lost.
            Put::Conflict => match self.profiles().last(&key).await? {
                Some(entry) if entry.value == Some(value) => Ok(Written::Same),
                _ => Ok(Written::Stale),
            },
        }
    }

    /// Removes a key's oldest message where one more would make the server drop it: that would leave
    /// its text in the server's files, out of the reach of an erasure.
    /// Gives how many versions went for it.
    async fn make_room(&self, entries: &[Entry]) -> Result<u64, StoreError> {
        let over = (entries.len() + 1).saturating_sub(HISTORY);
        let mut versions = 0;
        for entry in entries.iter().take(over) {
            self.profiles().remove(entry.revision).await?;
            versions += u64::from(entry.value.is_some());
        }
        Ok(versions)
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
        match self.remove_versions(&key, Some(expected)).await? {
            Some(_) => Ok(Written::Stored),
            // It may have been this very removal, whose ack was lost, or an erasure.
            None => match self.profiles().last(&key).await? {
                Some(entry) if entry.value.is_some() => Ok(Written::Stale),
                _ => Ok(Written::Same),
            },
        }
    }

    /// Removes all versions under a key, and refuses those still being written. Gives how many there
    /// were; none where the newest is not the `expected` one.
    pub(crate) async fn remove_versions(
        &self,
        key: &str,
        expected: Option<u64>,
    ) -> Result<Option<u64>, StoreError> {
        let entries = self.profiles().all(key, HISTORY + 1).await?;
        let mut removed = self.make_room(&entries).await?;
        let marked = self
            .profiles()
            .mark(key, expected, 0, Some(MARKER_TTL))
            .await?;
        let Put::Stored(marker) = marked else {
            return Ok(None);
        };
        // Once more: a version may have come before the marker.
        for entry in self.profiles().all(key, HISTORY + 1).await? {
            if entry.revision < marker {
                self.profiles().remove(entry.revision).await?;
                removed += u64::from(entry.value.is_some());
            }
        }
        Ok(Some(removed))
    }

    /// Removes the versions that rest on a record of which `rests` is true, and refuses those still
    /// being written from older reads. The newest version goes too where it is one of them, and
    /// counting goes on after it. Gives how many there were, and whether the user, who had a profile
    /// once, has none now.
    pub(crate) async fn forget_versions(
        &self,
        tenant: &str,
        user: &str,
        rests: impl Fn(&v1::Source) -> bool,
    ) -> Result<(u64, bool), StoreError> {
        let key = user_key(tenant, user);
        for _ in 0..SETTLE_ROUNDS {
            let entries = self.profiles().all(&key, HISTORY + 1).await?;
            let look = Look::at(&entries, &rests);
            self.make_room(&entries).await?;
            let bare = look.keep.is_none() && look.version > 0;
            let fenced = match look.keep {
                // The same once more: who writes from an older read expects the former place.
                Some(value) => self.profiles().put(&key, value, look.newest, None).await?,
                None => {
                    let ttl = (look.version == 0).then_some(MARKER_TTL);
                    let expected = Some(look.newest);
                    let marked = self.profiles().mark(&key, expected, look.version, ttl);
                    marked.await?
                }
            };
            if let Put::Conflict = fenced {
                continue;
            }
            for revision in look.gone {
                self.profiles().remove(revision).await?;
            }
            return Ok((look.versions_gone, bare));
        }
        Err(endless("settle profile"))
    }

    /// Removes other users' profile versions that rest on differences which went, as `recompare`
    /// names them. Gives how many, and who of them has no profile now: it is to be made anew.
    ///
    /// # Errors
    /// From NATS.
    pub async fn forget_profiles_on(
        &self,
        tenant: &str,
        recompare: &[RecordKey],
    ) -> Result<(u64, Vec<String>), StoreError> {
        let mut items: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for key in recompare {
            items.entry(&key.user).or_default().insert(&key.item);
        }
        let (mut versions, mut reprofile) = (0, Vec::new());
        for (user, items) in items {
            let rests = |source: &v1::Source| source.compared && items.contains(&*source.item);
            let (gone, bare) = self.forget_versions(tenant, user, rests).await?;
            versions += gone;
            if bare {
                reprofile.push(user.to_owned());
            }
        }
        Ok((versions, reprofile))
    }
}

/// What [`Store::forget_versions`] finds under a key.
struct Look {
    /// Revision of the newest message; 0: none was ever written.
    newest: u64,
    /// The newest version that ever was.
    version: u64,
    /// The newest message, where it is a version that stays.
    keep: Option<bytes::Bytes>,
    /// Revisions of what goes: versions, the former place of the one that stays, older markers.
    gone: Vec<u64>,
    versions_gone: u64,
}

impl Look {
    fn at(entries: &[Entry], rests: &impl Fn(&v1::Source) -> bool) -> Self {
        let mut look = Self {
            newest: entries.last().map_or(0, |entry| entry.revision),
            version: 0,
            keep: None,
            gone: Vec::new(),
            versions_gone: 0,
        };
        for entry in entries {
            look.version = look.version.max(entry.number);
            let Some(value) = &entry.value else {
                look.gone.push(entry.revision);
                continue;
            };
            // What cannot be read may rest on anything.
            let profile = v1::Profile::decode(value.clone()).unwrap_or_default();
            look.version = look.version.max(profile.version);
            let sources = profile.provenance.iter().flat_map(|p| &p.sources);
            let goes = profile.version == 0 || sources.into_iter().any(rests);
            look.versions_gone += u64::from(goes);
            let newest = entry.revision == look.newest;
            if goes || newest {
                look.gone.push(entry.revision);
            }
            look.keep = (!goes && newest).then(|| value.clone());
        }
        look
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
