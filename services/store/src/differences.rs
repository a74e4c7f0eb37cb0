//! Differences: stored on the record they describe, and dropped when what they rest on is gone.
//!
//! A difference takes long to make, and a representative may be erased meanwhile. So storing one has
//! three steps: announce which representatives it will rest on, check that they all are there, then
//! commit. Whoever removes a record first makes it unusable and then drops the differences and the
//! announcements that name it. Either the check sees that, or the announcement is gone and the
//! commit finds nothing: in no order, and after no crash, does a difference stay that rests on a
//! removed record.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use foil_proto::names::collection::RECORDS;
use foil_proto::v1;
use futures::{StreamExt, TryStreamExt, stream};
use qdrant_client::qdrant::{Condition, Filter, Range};
use uuid::Uuid;

use crate::check_input::{Checked, check_difference, check_keys};
use crate::db::{PAGE, Part, endless, has_ids, is, of_tenant, pages};
use crate::fence::REVISION;
use crate::links::MadeBy;
use crate::model::{Due, RecordKey, Written};
use crate::point::{Fields, Point, field};
use crate::records::of_user;
use crate::{Store, StoreError};

/// Calls at once where many points get different values.
const PARALLEL: usize = 8;

impl Store {
    /// Stores what comparing a record's `revision` found. [`Written::Stale`] when the text changed
    /// meanwhile, or a representative is gone, opted out, or a record of another item or of the same
    /// user. Clears the due mark that carries the difference's own selection fingerprint.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field of an incomplete difference; others come from Qdrant.
    pub async fn put_difference(
        &self,
        key: &RecordKey,
        revision: u64,
        difference: &v1::Difference,
    ) -> Result<Written, StoreError> {
        check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
        let checked = check_difference(difference, revision)?;
        let write = Uuid::new_v4().to_string();
        self.announce(key, revision, &checked, &write).await?;

        let mut ids = checked.representatives.clone();
        ids.push(key.id());
        let points = self
            .db()
            .get(RECORDS, &key.tenant, &ids, Part::Payload)
            .await?;
        let this = points.iter().find(|point| point.id == key.id());
        let Some(this) = this else {
            return Ok(Written::Stale);
        };
        if this.opt_str(field::PENDING)? != Some(&write) {
            return Ok(Written::Stale);
        }
        let stored = this.opt_str(field::DIFFERENCE)? == Some(&checked.json);
        if stored || !all_usable(key, &checked.representatives, &points)? {
            self.withdraw(key, &write).await?;
            return Ok(if stored {
                Written::Same
            } else {
                Written::Stale
            });
        }
        let due = this.opt_str(field::DUE)? == Some(checked.fingerprint);
        if self.commit(key, &checked, &write, due).await?
            || due && self.commit(key, &checked, &write, false).await?
        {
            return Ok(Written::Stored);
        }
        Ok(Written::Stale)
    }

    pub(crate) async fn announce(
        &self,
        key: &RecordKey,
        revision: u64,
        checked: &Checked<'_>,
        write: &str,
    ) -> Result<(), StoreError> {
        let conditions = [
            has_ids(&[key.id()]),
            Condition::matches(field::DELETED, false),
            REVISION.is(revision),
        ];
        let fields = Fields::default().with(field::PENDING, write).with(
            field::PENDING_REPRESENTATIVES,
            texts(&checked.representatives),
        );
        self.db()
            .set_payload(RECORDS, of_tenant(&key.tenant, conditions), fields)
            .await
    }

    async fn withdraw(&self, key: &RecordKey, write: &str) -> Result<(), StoreError> {
        let fields = Fields::default().without(&[field::PENDING, field::PENDING_REPRESENTATIVES]);
        self.db()
            .set_payload(RECORDS, announced(key, write, None), fields)
            .await
    }

    /// `due`: only if the mark still is the difference's own, which then goes. Whether it was stored.
    pub(crate) async fn commit(
        &self,
        key: &RecordKey,
        checked: &Checked<'_>,
        write: &str,
        due: bool,
    ) -> Result<bool, StoreError> {
        let mut fields = Fields::default()
            .with(field::DIFFERENCE, checked.json.as_str())
            .with(field::DIFFERENCE_WRITE, write)
            .with(field::REPRESENTATIVES, texts(&checked.representatives))
            .without(&[
                field::PENDING,
                field::PENDING_REPRESENTATIVES,
                field::CLEARED_BY,
            ]);
        if due {
            fields = fields.without(&[field::DUE, field::DUE_AT]);
        }
        let fields = MadeBy::Comparison.note(fields);
        let filter = announced(key, write, due.then_some(checked.fingerprint));
        self.db().set_payload(RECORDS, filter, fields).await?;
        let part = Part::Fields(&[field::DIFFERENCE_WRITE]);
        let point = self
            .db()
            .get_one(RECORDS, &key.tenant, key.id(), part)
            .await?;
        let Some(point) = point else { return Ok(false) };
        Ok(point.opt_str(field::DIFFERENCE_WRITE)? == Some(write))
    }

    /// Drops every difference that rests on one of these records, and every announcement of one.
    /// Gives the records whose difference is missing for that, to be compared anew. `cause` names
    /// the reason, at most 128 bytes: a repeated call with it gives the same records, until they are
    /// compared or change. The records themselves must be unusable by now: deleted, opted out or
    /// gone.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn clear_differences_using(
        &self,
        tenant: &str,
        ids: &[Uuid],
        cause: &str,
    ) -> Result<Vec<RecordKey>, StoreError> {
        check_keys(tenant, None, None)?;
        self.clear_using(tenant, ids, cause).await?;
        self.cleared_by(tenant, cause).await
    }

    pub(crate) async fn clear_using(
        &self,
        tenant: &str,
        ids: &[Uuid],
        cause: &str,
    ) -> Result<(), StoreError> {
        const STORED: &[&str] = &[
            field::DIFFERENCE,
            field::DIFFERENCE_WRITE,
            field::REPRESENTATIVES,
        ];
        const ANNOUNCED: &[&str] = &[field::PENDING, field::PENDING_REPRESENTATIVES];
        for ids in ids.chunks(PAGE) {
            let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
            for (by, gone) in [
                (field::PENDING_REPRESENTATIVES, ANNOUNCED),
                (field::REPRESENTATIVES, STORED),
            ] {
                let using = of_tenant(tenant, [Condition::matches(by, ids.clone())]);
                let fields = Fields::default()
                    .with(field::CLEARED_BY, cause)
                    .without(gone);
                self.db().set_payload(RECORDS, using, fields).await?;
            }
        }
        Ok(())
    }

    /// The records whose difference was dropped for `cause` and that were not compared since.
    pub(crate) async fn cleared_by(
        &self,
        tenant: &str,
        cause: &str,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let filter = of_tenant(
            tenant,
            [
                is(field::CLEARED_BY, cause),
                Condition::matches(field::DELETED, false),
            ],
        );
        self.keys(tenant, filter, "cleared differences").await
    }

    /// Keys of the records that match. `what` names them in an error.
    pub(crate) async fn keys(
        &self,
        tenant: &str,
        filter: Filter,
        what: &'static str,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let part = Part::Fields(&[field::USER, field::ITEM]);
        let mut keys = Vec::new();
        let mut from = None;
        for _ in pages() {
            let (points, next) = self
                .db()
                .page(RECORDS, tenant, filter.clone(), part, (from, PAGE))
                .await?;
            for point in &points {
                let (user, item) = (point.str(field::USER)?, point.str(field::ITEM)?);
                keys.push(RecordKey::new(tenant, user, item));
            }
            if next.is_none() {
                return Ok(keys);
            }
            from = next;
        }
        Err(endless(what))
    }

    /// Marks records whose comparison was ordered. A mark replaces an older one; deleted records
    /// take none.
    ///
    /// # Errors
    /// From Qdrant.
    pub async fn mark_due(&self, tenant: &str, marks: &[Due]) -> Result<(), StoreError> {
        check_keys(tenant, None, None)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let mut groups: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for mark in marks {
            groups.entry(&mark.fingerprint).or_default().push(mark.id);
        }
        let calls = groups.iter().flat_map(|(fingerprint, ids)| {
            ids.chunks(PAGE).map(move |ids| {
                let alive = Condition::matches(field::DELETED, false);
                let fields = Fields::default()
                    .with(field::DUE, *fingerprint)
                    .with(field::DUE_AT, now);
                let these = of_tenant(tenant, [has_ids(ids), alive]);
                self.db().set_payload(RECORDS, these, fields)
            })
        });
        // Closures over references held across the wait would make this future not Send.
        let calls: Vec<_> = calls.collect();
        stream::iter(calls)
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// Takes a record's mark away, if it still carries this fingerprint: the comparison is not
    /// needed any more, or cannot be made.
    ///
    /// # Errors
    /// From Qdrant.
    pub async fn clear_due(&self, key: &RecordKey, fingerprint: &str) -> Result<(), StoreError> {
        check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
        let mark = is(field::DUE, fingerprint);
        let this = of_tenant(&key.tenant, [has_ids(&[key.id()]), mark]);
        let fields = Fields::default().without(&[field::DUE, field::DUE_AT]);
        self.db().set_payload(RECORDS, this, fields).await
    }

    /// How many of the user's records await a comparison that was ordered at or after `since_ms`
    /// (milliseconds since 1970; 0: ever). A comparison that was dead-lettered leaves its mark, so
    /// whoever waits for the count to fall to 0 should look at recent marks only.
    ///
    /// # Errors
    /// From Qdrant.
    #[allow(clippy::cast_precision_loss)] // times stay below 2^53 for 285,000 years
    pub async fn count_due(
        &self,
        tenant: &str,
        user: &str,
        since_ms: i64,
    ) -> Result<u64, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let since = Range {
            gte: Some(since_ms.max(1) as f64),
            ..Range::default()
        };
        let mut filter = of_user(tenant, user);
        filter.must.push(Condition::range(field::DUE_AT, since));
        self.db().count(RECORDS, filter).await
    }
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(Uuid::to_string).collect()
}

/// The record while this write is announced on it, and while it is due for `due` if that is named.
fn announced(key: &RecordKey, write: &str, due: Option<&str>) -> Filter {
    let mut filter = of_tenant(
        &key.tenant,
        [has_ids(&[key.id()]), is(field::PENDING, write)],
    );
    if let Some(fingerprint) = due {
        let mark = is(field::DUE, fingerprint);
        filter.must.push(mark);
    }
    filter
}

/// Whether each of `representatives` is among `points` as a peer of `key`.
fn all_usable(
    key: &RecordKey,
    representatives: &[Uuid],
    points: &[Point],
) -> Result<bool, StoreError> {
    let mut usable = HashSet::new();
    for point in points {
        if !point.bool(field::DELETED)?
            && !point.bool(field::OPTED_OUT)?
            && point.str(field::ITEM)? == key.item
            && point.str(field::USER)? != key.user
        {
            usable.insert(point.id);
        }
    }
    Ok(representatives.iter().all(|id| usable.contains(id)))
}
