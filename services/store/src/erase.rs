//! Erasing a user, a record, a tenant.
//!
//! The erasure itself is stored first: from then on no writer that started earlier leaves anything
//! behind. Then everything goes, in an order in which an interrupted attempt can be repeated.

use std::collections::BTreeSet;

use foil_proto::names::collection::{ITEMS, RECORDS};
use foil_proto::names::user_key;
use foil_proto::token::encode;
use foil_proto::v1;
use futures::future::try_join_all;
use qdrant_client::qdrant::{Condition, Filter};
use uuid::Uuid;

use crate::check_input::check_keys;
use crate::db::{PAGE, Part, endless, has_ids, is, of_tenant, pages};
use crate::fence::SEQUENCE;
use crate::ids::{erasure_id, tenant_erasure_id};
use crate::model::{Deleted, Erased, ErasedRecord, ErasedTenant, Erasure, Record, RecordKey};
use crate::point::{Fields, field};
use crate::progress::{IN_FLIGHT, Progress};
use crate::record_writes::erased_by;
use crate::{Store, StoreError};

impl Store {
    /// Removes everything of a user that came up to the erasing message or was written before it:
    /// records with text and vectors, differences, profiles, activity, their messages in the log, the
    /// work queues, the events and the dead letters; every other user's difference that rests on one
    /// of their records, and the profile versions that rest on those.
    ///
    /// What stays is one point of a hash, the sequence and the time, so that nothing older comes back,
    /// and the user's own opt-out, which protects whatever they may write later. Repeating the call
    /// finishes what was interrupted; its counts are those of what was left.
    ///
    /// # Errors
    /// From Qdrant or NATS; call it again.
    pub async fn erase_user(
        &self,
        tenant: &str,
        user: &str,
        erasure: Erasure,
    ) -> Result<Erased, StoreError> {
        self.erase_user_within(tenant, user, erasure, &mut Progress::default())
            .await
    }

    /// The same, for as long as `progress` allows; an attempt that gets it back goes on where the last
    /// one ended.
    ///
    /// # Errors
    /// As there, and [`StoreError::Unfinished`].
    pub async fn erase_user_within(
        &self,
        tenant: &str,
        user: &str,
        erasure: Erasure,
        progress: &mut Progress,
    ) -> Result<Erased, StoreError> {
        check_keys(tenant, Some(user), None)?;
        self.put_erasure(tenant, Some(user), erasure).await?;
        let cause = cause("erase", erasure_id(tenant, user), erasure);
        let of_user = of_tenant(tenant, [is(field::USER, user), erased_by(erasure)]);
        self.erase_records(tenant, of_user, &cause, progress)
            .await?;
        let recompare = self.cleared_by(tenant, &cause).await?;
        let key = user_key(tenant, user);
        progress.profiles += self.remove_versions(&key, None).await?.unwrap_or(0);
        self.forget_active(tenant, user).await?;
        self.erase_traces_of_user(tenant, user, erasure, progress)
            .await?;
        let (versions, reprofile) = self.forget_profiles_on(tenant, &recompare).await?;
        progress.purged.profiles_of_others += versions;
        let survivors = self.survivors(tenant, Some(user)).await?;
        Ok(Erased {
            records: progress.records,
            profiles: progress.profiles,
            differences_of_others: recompare.len() as u64,
            removed: progress.removed(),
            recompare,
            reprofile,
            survivors,
        })
    }

    /// Removes a record of this revision or an older one: its text from the store, the log and the
    /// dead letters, every profile version that rests on it, its queued comparison, and what
    /// [`Store::delete_record`] removes. None when nothing follows, as there; a record of a higher
    /// revision stays, and is named as a survivor.
    ///
    /// `sequence`: of the deleting message in FOIL_UPDATES.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant or NATS; call it again.
    pub async fn erase_record(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
    ) -> Result<Option<ErasedRecord>, StoreError> {
        self.erase_record_within(key, revision, sequence, &mut Progress::default())
            .await
    }

    /// The same, in the way of [`Store::erase_user_within`].
    ///
    /// # Errors
    /// As there, and [`StoreError::Unfinished`].
    pub async fn erase_record_within(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
        progress: &mut Progress,
    ) -> Result<Option<ErasedRecord>, StoreError> {
        let there = self.record(key).await?;
        let Some(deleted) = self.delete_record(key, revision, sequence).await? else {
            return Ok(None);
        };
        self.finish_erasing(key, revision, (there, deleted), progress)
            .await
            .map(Some)
    }

    /// The rest, once the record is deleted; a newer revision may come meanwhile.
    pub(crate) async fn finish_erasing(
        &self,
        key: &RecordKey,
        revision: u64,
        (there, deleted): (Option<Record>, Deleted),
        progress: &mut Progress,
    ) -> Result<ErasedRecord, StoreError> {
        if there.is_some_and(|there| there.revision <= revision) {
            progress.records = 1;
        }
        let rests = |source: &v1::Source| source.item == key.item && source.revision <= revision;
        let tenant = &key.tenant;
        let (profiles, _) = self.forget_versions(tenant, &key.user, rests).await?;
        progress.profiles += profiles;
        self.erase_traces_of_record(key, revision, progress).await?;
        let recompare = deleted.recompare;
        let (versions, reprofile) = self.forget_profiles_on(tenant, &recompare).await?;
        progress.purged.profiles_of_others += versions;
        // Looked for after the queue was: what it is queued for from now on stays there.
        let stands = self.record(key).await?.is_some();
        Ok(ErasedRecord {
            records: progress.records,
            profiles: progress.profiles,
            removed: progress.removed(),
            recompare,
            reprofile,
            survivors: stands.then(|| key.clone()).into_iter().collect(),
        })
    }

    /// Removes everything of a tenant, in the way of [`Store::erase_user`].
    ///
    /// What stays is one point with the sequence and the time; for each item and each opt-out a hash
    /// with its revision, since those carry no time and a replay of them would bring them back.
    ///
    /// # Errors
    /// From Qdrant or NATS; call it again.
    pub async fn erase_tenant(
        &self,
        tenant: &str,
        erasure: Erasure,
    ) -> Result<ErasedTenant, StoreError> {
        self.erase_tenant_within(tenant, erasure, &mut Progress::default())
            .await
    }

    /// The same, in the way of [`Store::erase_user_within`].
    ///
    /// # Errors
    /// As there, and [`StoreError::Unfinished`].
    pub async fn erase_tenant_within(
        &self,
        tenant: &str,
        erasure: Erasure,
        progress: &mut Progress,
    ) -> Result<ErasedTenant, StoreError> {
        check_keys(tenant, None, None)?;
        self.put_erasure(tenant, None, erasure).await?;
        let cause = cause("erase-tenant", tenant_erasure_id(tenant), erasure);
        let all = of_tenant(tenant, [erased_by(erasure)]);
        self.erase_records(tenant, all, &cause, progress).await?;
        progress.items += self.erase_items(tenant, erasure.sequence).await?;
        self.fold_erasures(tenant, erasure.sequence).await?;
        self.erase_profiles_of_tenant(tenant, progress).await?;
        self.forget_all_active(tenant, progress).await?;
        self.erase_traces_of_tenant(tenant, erasure, progress)
            .await?;
        Ok(ErasedTenant {
            records: progress.records,
            items: progress.items,
            profiles: progress.profiles,
            removed: progress.removed(),
            recompare: self.cleared_by(tenant, &cause).await?,
            survivors: self.survivors(tenant, None).await?,
        })
    }

    /// Records of a user, or of a tenant, that stand now: to be called after the queues were emptied,
    /// for what is queued from then on stays.
    async fn survivors(
        &self,
        tenant: &str,
        user: Option<&str>,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let alive = Condition::matches(field::DELETED, false);
        let of_user = user.map(|user| is(field::USER, user));
        let all = of_tenant(tenant, [alive].into_iter().chain(of_user));
        self.keys(tenant, all, "surviving records").await
    }

    /// Removes the records that match, and others' differences that rest on them. Counts those that had
    /// a text, and notes whose profiles are to go.
    async fn erase_records(
        &self,
        tenant: &str,
        erased: Filter,
        cause: &str,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        for _ in pages() {
            let part = Part::Fields(&[field::DELETED, field::USER]);
            let (points, _) = self
                .db()
                .page(RECORDS, tenant, erased.clone(), part, (None, PAGE))
                .await?;
            if points.is_empty() {
                return Ok(());
            }
            let mut records = 0;
            for point in &points {
                records += u64::from(!point.bool(field::DELETED)?);
                let key = point.opt_str(field::USER)?;
                let key = key.map(|user| user_key(tenant, user));
                progress
                    .keys
                    .extend(key.filter(|key| !progress.keys_gone.contains(key)));
            }
            let ids: Vec<Uuid> = points.iter().map(|point| point.id).collect();
            let these = || {
                let mut these = erased.clone();
                these.must.push(has_ids(&ids));
                these
            };
            // Unusable first, then what rests on them, and gone last: interrupted anywhere, the next
            // call still finds the ids.
            let unusable = Fields::default().with(field::OPTED_OUT, true);
            self.db().set_payload(RECORDS, these(), unusable).await?;
            self.clear_using(tenant, &ids, cause).await?;
            self.db().delete(RECORDS, these()).await?;
            progress.records += records;
            progress.check("erase records")?;
        }
        Err(endless("erase records"))
    }

    /// Items that did not come after `sequence` become hashes with a revision. Gives how many.
    pub(crate) async fn erase_items(&self, tenant: &str, sequence: u64) -> Result<u64, StoreError> {
        let mut erased = of_tenant(tenant, []);
        erased.must_not.push(SEQUENCE.is_above(sequence));
        erased
            .must_not
            .push(Condition::matches(field::DELETED, true));
        let items = self.db().count(ITEMS, erased.clone()).await?;
        let nothing = Fields::default().with(field::DELETED, true).without(&[
            field::ITEM,
            field::TITLE,
            field::DESCRIPTION,
            field::WRITE,
        ]);
        self.db().set_payload(ITEMS, erased, nothing).await?;
        Ok(items)
    }

    /// Of those whose records went, since a profile may be under way though none is stored yet; then all
    /// that are stored.
    async fn erase_profiles_of_tenant(
        &self,
        tenant: &str,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        while !progress.keys.is_empty() {
            let keys: BTreeSet<String> = progress.keys.iter().take(IN_FLIGHT).cloned().collect();
            self.remove_profiles(keys, progress).await?;
        }
        let of_tenant = encode(tenant);
        for _ in 0..KEYS_MAX {
            let from = progress.keys_seen + 1;
            let Some((key, entry)) = self.profiles().next_entry(&of_tenant, from).await? else {
                return Ok(());
            };
            if !progress.keys_gone.contains(&key) {
                self.remove_profiles([key].into(), progress).await?;
            }
            progress.keys_seen = entry.revision;
            progress.check("tenant's profiles")?;
        }
        Err(endless("tenant's profiles"))
    }

    async fn remove_profiles(
        &self,
        keys: BTreeSet<String>,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let mut removals = Vec::with_capacity(keys.len());
        for key in &keys {
            removals.push(self.remove_versions(key, None));
        }
        for removed in try_join_all(removals).await? {
            progress.profiles += removed.unwrap_or(0);
        }
        for key in keys {
            progress.keys.remove(&key);
            progress.keys_gone.insert(key);
        }
        progress.check("tenant's profiles")
    }
}

/// Most messages in the bucket of profiles.
const KEYS_MAX: usize = 100_000_000;

fn cause(kind: &str, id: Uuid, erasure: Erasure) -> String {
    format!("{kind}:{id}:{}", erasure.sequence)
}
