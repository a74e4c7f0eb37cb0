//! Records: written under a fence, read by key, id, item or user.

use std::cmp::Reverse;
use std::collections::HashMap;

use foil_proto::names::collection::RECORDS;
use qdrant_client::qdrant::{Condition, Filter};
use uuid::Uuid;

use crate::check_input::{check_keys, check_record};
use crate::db::{Part, endless, has_ids, is, of_tenant};
use crate::fence::{REVISION, SEQUENCE};
use crate::model::{Deleted, Record, RecordKey, RecordWrite, Written};
use crate::point::{Fields, Point, field};
use crate::{Store, StoreError};

/// How often a flag is set again because the choice behind it changed meanwhile.
const SETTLE_ROUNDS: usize = 16;

impl Store {
    /// Stores a record unless a newer revision, its deletion or the user's erasure stands there.
    /// Storing another revision drops the difference. Of two different texts under one revision the
    /// first to arrive stays, and the other is [`Written::Stale`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn put_record(&self, record: &RecordWrite) -> Result<Written, StoreError> {
        check_record(record, self.config().dimension)?;
        let key = &record.key;
        let state = self.user_state(&key.tenant, &key.user).await?;
        if state.erased_sequence >= record.sequence {
            self.drop_erased(key, state.erased_sequence).await?;
            return Ok(Written::Stale);
        }
        let write = Uuid::new_v4().to_string();
        let mut fields = Fields::default()
            .with(field::TEXT, record.text.as_str())
            .with(field::TITLE, record.title.as_str())
            .with(field::OCCURRED_AT, record.occurred_at_ms)
            .with(field::UPDATED_AT, record.updated_at_ms)
            .with(field::OPTED_OUT, state.opted_out);
        if let Some(rating) = record.rating {
            fields.set(field::RATING, rating);
        }
        let point = self
            .replace_record(
                key,
                (record.revision, record.sequence),
                (record.vector.clone(), fields.with(field::DELETED, false)),
                (&write, REVISION.is_below(record.revision)),
            )
            .await?;
        let Some(point) = point else {
            return Ok(Written::Stale); // erased between the write and the read
        };
        if self.settle_user(key, record.sequence, &point).await? {
            return Ok(Written::Stale);
        }
        if point.opt_str(field::WRITE)? == Some(&write) {
            return Ok(Written::Stored);
        }
        let stored = REVISION.read(&point)?;
        if stored < record.revision {
            return Err(read_behind());
        }
        let same = stored == record.revision && same_content(&point, record)?;
        Ok(if same { Written::Same } else { Written::Stale })
    }

    /// Deletes a record of this revision or an older one, and drops the differences that used it.
    /// What stays is a tombstone without text, so that an older upsert does not bring it back.
    /// None when nothing follows: a record of a higher revision survives, or the user was erased.
    ///
    /// `sequence`: of the deleting message in FOIL_UPDATES.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn delete_record(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
    ) -> Result<Option<Deleted>, StoreError> {
        check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
        let state = self.user_state(&key.tenant, &key.user).await?;
        if state.erased_sequence >= sequence {
            self.drop_erased(key, state.erased_sequence).await?;
            return Ok(None);
        }
        let alive = Condition::matches(field::DELETED, false);
        let replaces = Filter::should([
            REVISION.is_below(revision),
            Filter::must([REVISION.is(revision), alive]).into(),
        ]);
        let write = Uuid::new_v4().to_string();
        let nothing = vec![0.0; self.config().dimension as usize];
        let fields = Fields::default().with(field::DELETED, true);
        let point = self
            .replace_record(
                key,
                (revision, sequence),
                (nothing, fields),
                (&write, replaces.into()),
            )
            .await?;
        let Some(point) = point else { return Ok(None) };
        if !point.bool(field::DELETED)? {
            return match REVISION.read(&point)? {
                stored if stored > revision => Ok(None),
                _ => Err(read_behind()),
            };
        }
        if self.settle_user(key, sequence, &point).await? {
            return Ok(None);
        }
        let written = match point.opt_str(field::WRITE)? {
            Some(stored) if stored == write => Written::Stored,
            _ => Written::Same,
        };
        let cause = format!("delete:{}", key.id());
        let recompare = self
            .clear_differences_using(&key.tenant, &[key.id()], &cause)
            .await?;
        Ok(Some(Deleted { written, recompare }))
    }

    /// Conditional write of a record's point; then what stands there.
    pub(crate) async fn replace_record(
        &self,
        key: &RecordKey,
        (revision, sequence): (u64, u64),
        (vector, fields): (Vec<f32>, Fields),
        (write, replaces): (&str, Condition),
    ) -> Result<Option<Point>, StoreError> {
        let mut fields = fields
            .with(field::TENANT, key.tenant.as_str())
            .with(field::USER, key.user.as_str())
            .with(field::ITEM, key.item.as_str())
            .with(field::WRITE, write);
        REVISION.write(&mut fields, revision);
        SEQUENCE.write(&mut fields, sequence);
        self.db()
            .upsert(RECORDS, &key.tenant, key.id(), vector, fields, replaces)
            .await?;
        let point = self
            .db()
            .get_one(RECORDS, &key.tenant, key.id(), Part::Payload)
            .await?;
        if let Some(point) = &point
            && (point.str(field::USER)?, point.str(field::ITEM)?) != (&*key.user, &*key.item)
        {
            return Err(point.corrupt(field::ITEM, "user or item is not the one of this id"));
        }
        Ok(point)
    }

    /// After a write: an erasure or an opt-out that ran between the look at the user and the write
    /// missed this record, so it is applied now. True when the user was erased.
    pub(crate) async fn settle_user(
        &self,
        key: &RecordKey,
        sequence: u64,
        point: &Point,
    ) -> Result<bool, StoreError> {
        let mut flagged = point.opt_bool(field::OPTED_OUT)?;
        for _ in 0..SETTLE_ROUNDS {
            let state = self.user_state(&key.tenant, &key.user).await?;
            if state.erased_sequence >= sequence {
                self.drop_erased(key, state.erased_sequence).await?;
                return Ok(true);
            }
            if flagged.is_none_or(|flag| flag == state.opted_out) {
                return Ok(false);
            }
            let fields = Fields::default().with(field::OPTED_OUT, state.opted_out);
            let alive = Condition::matches(field::DELETED, false);
            let this = of_tenant(&key.tenant, [has_ids(&[key.id()]), alive]);
            self.db().set_payload(RECORDS, this, fields).await?;
            flagged = Some(state.opted_out);
        }
        Err(endless("settle opt-out"))
    }

    async fn drop_erased(&self, key: &RecordKey, erased: u64) -> Result<(), StoreError> {
        let this = of_tenant(
            &key.tenant,
            [has_ids(&[key.id()]), SEQUENCE.is_at_most(erased)],
        );
        self.db().delete(RECORDS, this).await
    }

    /// The record, without its vector.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn record(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
        let mut found = self.records_by_ids(&key.tenant, &[key.id()], false).await?;
        Ok(found.pop())
    }

    /// Records by point id, in the order of `ids`; missing and deleted ones are left out.
    ///
    /// # Errors
    /// [`StoreError::TenantMismatch`] when one belongs to another tenant; others come from Qdrant.
    pub async fn records_by_ids(
        &self,
        tenant: &str,
        ids: &[Uuid],
        with_vectors: bool,
    ) -> Result<Vec<Record>, StoreError> {
        check_keys(tenant, None, None)?;
        let points = self
            .db()
            .get(RECORDS, tenant, ids, part(with_vectors))
            .await?;
        let mut found: HashMap<Uuid, Record> = HashMap::with_capacity(points.len());
        for point in points {
            if let Some(record) = to_record(point)? {
                found.insert(record.id, record);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// At most `limit` records of an item, with vectors, lowest ids first. Ids are hashes, so these
    /// are a uniform sample that stays the same while records are added. Those of opted-out users
    /// are among them: see [`Record::opted_out`].
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn item_records(
        &self,
        tenant: &str,
        item: &str,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        check_keys(tenant, None, Some(item))?;
        let filter = of_item(tenant, item);
        let points = self
            .db()
            .scroll(RECORDS, tenant, &filter, Part::PayloadAndVector, limit)
            .await?;
        let mut records = to_records(points)?;
        records.retain(|record| record.key.item == item);
        Ok(records)
    }

    /// The user's `limit` newest records by `occurred_at_ms`, newest first, without vectors. Looks
    /// at [`crate::StoreConfig::user_scan_max`] of them at most.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn user_records(
        &self,
        tenant: &str,
        user: &str,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let newest = self.newest_of_user(tenant, user).await?;
        let ids: Vec<Uuid> = newest.into_iter().take(limit).map(|(id, _)| id).collect();
        let mut records = self.records_by_ids(tenant, &ids, false).await?;
        records.retain(|record| record.key.user == user);
        Ok(records)
    }

    /// What the user wrote about, newest first, at most `limit`.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn user_keys(
        &self,
        tenant: &str,
        user: &str,
        limit: usize,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let newest = self.newest_of_user(tenant, user).await?;
        let items = newest.into_iter().take(limit).map(|(_, item)| item);
        Ok(items
            .map(|item| RecordKey::new(tenant, user, item))
            .collect())
    }

    /// Id and item of each of the user's records, newest first, then by id.
    async fn newest_of_user(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Vec<(Uuid, String)>, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let part = Part::Fields(&[field::OCCURRED_AT, field::ITEM]);
        let limit = self.config().user_scan_max as usize;
        let points = self
            .db()
            .scroll(RECORDS, tenant, &of_user(tenant, user), part, limit)
            .await?;
        let mut found = Vec::with_capacity(points.len());
        for point in points {
            let item = point.str(field::ITEM)?.to_owned();
            found.push((point.int(field::OCCURRED_AT)?, point.id, item));
        }
        found.sort_by_key(|(occurred, id, _)| (Reverse(*occurred), *id));
        Ok(found.into_iter().map(|(_, id, item)| (id, item)).collect())
    }

    /// How many records an item has, opted-out ones included.
    ///
    /// # Errors
    /// From Qdrant.
    pub async fn count_item_records(&self, tenant: &str, item: &str) -> Result<u64, StoreError> {
        check_keys(tenant, None, Some(item))?;
        self.db().count(RECORDS, of_item(tenant, item)).await
    }

    /// How many records a user has.
    ///
    /// # Errors
    /// From Qdrant.
    pub async fn count_user_records(&self, tenant: &str, user: &str) -> Result<u64, StoreError> {
        check_keys(tenant, Some(user), None)?;
        self.db().count(RECORDS, of_user(tenant, user)).await
    }
}

fn part(with_vectors: bool) -> Part {
    if with_vectors {
        Part::PayloadAndVector
    } else {
        Part::Payload
    }
}

fn of_item(tenant: &str, item: &str) -> Filter {
    let item = is(field::ITEM, item);
    of_tenant(tenant, [item, Condition::matches(field::DELETED, false)])
}

/// The user's records, tombstones left out.
pub(crate) fn of_user(tenant: &str, user: &str) -> Filter {
    let user = is(field::USER, user);
    of_tenant(tenant, [user, Condition::matches(field::DELETED, false)])
}

/// A replica that lags: the write was acknowledged, so a later read shows it.
fn read_behind() -> StoreError {
    StoreError::Unavailable {
        operation: "get",
        cause: "the read lags behind the write".to_owned(),
    }
}

fn same_content(point: &Point, record: &RecordWrite) -> Result<bool, StoreError> {
    if point.bool(field::DELETED)? {
        return Ok(false);
    }
    Ok(point.str(field::TEXT)? == record.text
        && point.str(field::TITLE)? == record.title
        && point.opt_float(field::RATING)? == record.rating
        && point.int(field::OCCURRED_AT)? == record.occurred_at_ms)
}

fn to_records(points: Vec<Point>) -> Result<Vec<Record>, StoreError> {
    let records = points.into_iter().map(to_record);
    records.filter_map(Result::transpose).collect()
}

/// None for a tombstone.
fn to_record(point: Point) -> Result<Option<Record>, StoreError> {
    if point.bool(field::DELETED)? {
        return Ok(None);
    }
    let difference = match point.opt_str(field::DIFFERENCE)? {
        None => None,
        Some(json) => Some(serde_json::from_str(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            point.corrupt(
                field::DIFFERENCE,
                format!("no difference at {line}:{column}"),
            )
        })?),
    };
    let key = RecordKey::new(
        point.str(field::TENANT)?,
        point.str(field::USER)?,
        point.str(field::ITEM)?,
    );
    Ok(Some(Record {
        key,
        id: point.id,
        text: point.str(field::TEXT)?.to_owned(),
        title: point.str(field::TITLE)?.to_owned(),
        rating: point.opt_float(field::RATING)?,
        occurred_at_ms: point.int(field::OCCURRED_AT)?,
        revision: REVISION.read(&point)?,
        updated_at_ms: point.int(field::UPDATED_AT)?,
        sequence: SEQUENCE.read(&point)?,
        difference,
        due: point.opt_str(field::DUE)?.map(str::to_owned),
        due_at_ms: point.opt_int(field::DUE_AT)?.unwrap_or(0),
        opted_out: point.bool(field::OPTED_OUT)?,
        vector: point.vector,
    }))
}
