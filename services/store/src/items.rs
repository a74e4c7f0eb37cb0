//! Items: what is written about.

use std::collections::HashMap;

use foil_proto::names::collection::ITEMS;
use uuid::Uuid;

use crate::check_input::{check_item, check_keys};
use crate::db::Part;
use crate::fence::{REVISION, SEQUENCE};
use crate::ids::item_id;
use crate::model::{Item, Written};
use crate::point::{Fields, Point, field};
use crate::store::NO_VECTOR;
use crate::{Store, StoreError};

impl Store {
    /// Stores an item unless a newer revision, or an erasure of the tenant, stands there. Of two
    /// different items under one revision the first to arrive stays.
    ///
    /// `sequence`: of the update in FOIL_UPDATES.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn put_item(
        &self,
        tenant: &str,
        item: &Item,
        sequence: u64,
    ) -> Result<Written, StoreError> {
        check_item(tenant, item)?;
        if self.tenant_erased(tenant).await? >= sequence {
            return Ok(Written::Stale);
        }
        let id = item_id(tenant, &item.id);
        let write = Uuid::new_v4().to_string();
        let mut fields = Fields::default()
            .with(field::TENANT, tenant)
            .with(field::ITEM, item.id.as_str())
            .with(field::TITLE, item.title.as_str())
            .with(field::DESCRIPTION, item.description.as_str())
            .with(field::WRITE, write.as_str());
        REVISION.write(&mut fields, item.revision);
        SEQUENCE.write(&mut fields, sequence);
        let replaces = REVISION.is_below(item.revision);
        self.db()
            .upsert(ITEMS, tenant, id, NO_VECTOR.to_vec(), fields, replaces)
            .await?;
        let point = self.db().get_one(ITEMS, tenant, id, Part::Payload).await?;
        let Some(point) = point else {
            return Err(StoreError::Unavailable {
                operation: "get",
                cause: "the read lags behind the write".to_owned(),
            });
        };
        if point.opt_str(field::WRITE)? == Some(&write) {
            // An erasure between the look at the tenant and the write did not see this item.
            let erased = self.tenant_erased(tenant).await?;
            if erased >= sequence {
                self.erase_items(tenant, erased).await?;
                return Ok(Written::Stale);
            }
            return Ok(Written::Stored);
        }
        Ok(if to_item(&point)?.as_ref() == Some(item) {
            Written::Same
        } else {
            Written::Stale
        })
    }

    /// Whether an item's update must neither be stored nor stay anywhere: the tenant was erased after
    /// it, or after this revision of the item.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn is_item_erased(
        &self,
        tenant: &str,
        item: &str,
        (revision, sequence): (u64, u64),
    ) -> Result<bool, StoreError> {
        check_keys(tenant, None, Some(item))?;
        if self.tenant_erased(tenant).await? >= sequence {
            return Ok(true);
        }
        let id = item_id(tenant, item);
        let point = self.db().get_one(ITEMS, tenant, id, Part::Payload).await?;
        let Some(point) = point else { return Ok(false) };
        let deleted = point.opt_bool(field::DELETED)? == Some(true);
        Ok(deleted && REVISION.read(&point)? >= revision)
    }

    /// One item.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn item(&self, tenant: &str, item: &str) -> Result<Option<Item>, StoreError> {
        let mut found = self.items(tenant, &[item]).await?;
        Ok(found.remove(item))
    }

    /// Items by id; unknown ones are left out.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn items(
        &self,
        tenant: &str,
        items: &[&str],
    ) -> Result<HashMap<String, Item>, StoreError> {
        for item in items {
            check_keys(tenant, None, Some(item))?;
        }
        let ids: Vec<Uuid> = items.iter().map(|item| item_id(tenant, item)).collect();
        let points = self.db().get(ITEMS, tenant, &ids, Part::Payload).await?;
        let mut found = HashMap::with_capacity(points.len());
        for point in points {
            if let Some(item) = to_item(&point)? {
                found.insert(item.id.clone(), item);
            }
        }
        Ok(found)
    }
}

/// None where the tenant was erased.
fn to_item(point: &Point) -> Result<Option<Item>, StoreError> {
    if point.opt_bool(field::DELETED)? == Some(true) {
        return Ok(None);
    }
    Ok(Some(Item {
        id: point.str(field::ITEM)?.to_owned(),
        title: point.str(field::TITLE)?.to_owned(),
        description: point.str(field::DESCRIPTION)?.to_owned(),
        revision: REVISION.read(point)?,
    }))
}
