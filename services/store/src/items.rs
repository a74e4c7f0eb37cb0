//! Items: what is written about.

use std::collections::HashMap;

use foil_proto::names::collection::ITEMS;
use uuid::Uuid;

use crate::check_input::{check_item, check_keys};
use crate::db::Part;
use crate::fence::REVISION;
use crate::ids::item_id;
use crate::model::{Item, Written};
use crate::point::{Fields, Point, field};
use crate::store::NO_VECTOR;
use crate::{Store, StoreError};

impl Store {
    /// Stores an item unless a newer revision stands there. Of two different items under one
    /// revision the first to arrive stays.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn put_item(&self, tenant: &str, item: &Item) -> Result<Written, StoreError> {
        check_item(tenant, item)?;
        let id = item_id(tenant, &item.id);
        let write = Uuid::new_v4().to_string();
        let mut fields = Fields::default()
            .with(field::TENANT, tenant)
            .with(field::ITEM, item.id.as_str())
            .with(field::TITLE, item.title.as_str())
            .with(field::DESCRIPTION, item.description.as_str())
            .with(field::WRITE, write.as_str());
        REVISION.write(&mut fields, item.revision);
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
            return Ok(Written::Stored);
        }
        Ok(if to_item(&point)? == *item {
            Written::Same
        } else {
            Written::Stale
        })
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
            let item = to_item(&point)?;
            found.insert(item.id.clone(), item);
        }
        Ok(found)
    }
}

fn to_item(point: &Point) -> Result<Item, StoreError> {
    Ok(Item {
        id: point.str(field::ITEM)?.to_owned(),
        title: point.str(field::TITLE)?.to_owned(),
        description: point.str(field::DESCRIPTION)?.to_owned(),
        revision: REVISION.read(point)?,
    })
}
