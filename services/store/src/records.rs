//! Records, read by key, id, item or user.

use std::cmp::Reverse;
use std::collections::HashMap;

use foil_proto::names::collection::RECORDS;
use qdrant_client::qdrant::{Condition, Filter};
use uuid::Uuid;

use crate::check_input::check_keys;
use crate::db::{Part, is, of_tenant};
use crate::fence::{REVISION, SEQUENCE};
use crate::model::{Record, RecordKey};
use crate::point::{Point, field};
use crate::{Store, StoreError};

impl Store {
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
