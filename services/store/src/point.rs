//! Points of Qdrant: payload fields by name, read back with care.

use std::collections::HashMap;

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{PointId, RetrievedPoint, Value, vector_output};
use uuid::Uuid;

use crate::StoreError;

/// Payload field names.
pub(crate) mod field {
    pub const TENANT: &str = "tenant";
    pub const USER: &str = "user";
    pub const ITEM: &str = "item";
    /// Random, one per write: tells a writer whether it is its own write that stands there.
    pub const WRITE: &str = "write";
    pub const DELETED: &str = "deleted";
    pub const TEXT: &str = "text";
    pub const TITLE: &str = "title";
    pub const RATING: &str = "rating";
    pub const OCCURRED_AT: &str = "occurred_at_ms";
    pub const UPDATED_AT: &str = "updated_at_ms";
    pub const OPTED_OUT: &str = "opted_out";
    pub const DUE: &str = "due";
    pub const DUE_AT: &str = "due_at_ms";
    /// JSON text, not a structure: Qdrant's integers are signed and a revision may not fit.
    pub const DIFFERENCE: &str = "difference";
    pub const DIFFERENCE_WRITE: &str = "difference_write";
    /// Point ids that the stored difference rests on.
    pub const REPRESENTATIVES: &str = "representatives";
    /// A difference about to be stored: which write, and what it will rest on.
    pub const PENDING: &str = "pending";
    pub const PENDING_REPRESENTATIVES: &str = "pending_representatives";
    /// Why the difference was dropped, until the record is compared anew.
    pub const CLEARED_BY: &str = "cleared_by";
    /// `traceparent` of the work that stored the record.
    pub const UPDATE_TRACE: &str = "update_trace";
    /// `traceparent` of the work that stored the difference.
    pub const DIFFERENCE_TRACE: &str = "difference_trace";
    pub const DESCRIPTION: &str = "description";
    /// On an erasure: when it was stored in FOIL_UPDATES.
    pub const ERASED_AT: &str = "erased_at_ms";
}

/// A payload being written.
#[derive(Default)]
pub(crate) struct Fields(HashMap<String, Value>);

impl Fields {
    pub(crate) fn set(&mut self, field: &'static str, value: impl Into<Value>) {
        self.0.insert(field.to_owned(), value.into());
    }

    pub(crate) fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.set(field, value);
        self
    }

    /// Setting a field to null removes it.
    pub(crate) fn without(self, fields: &[&'static str]) -> Self {
        fields.iter().fold(self, |all, field| {
            let null = Value {
                kind: Some(Kind::NullValue(0)),
            };
            all.with(field, null)
        })
    }

    pub(crate) fn into_map(self) -> HashMap<String, Value> {
        self.0
    }
}

/// A point that was read.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) id: Uuid,
    payload: HashMap<String, Value>,
    pub(crate) vector: Option<Vec<f32>>,
}

impl Point {
    /// Takes the answer over, if it belongs to `tenant`.
    pub(crate) fn of(tenant: &str, answer: RetrievedPoint) -> Result<Self, StoreError> {
        let id = match answer
            .id
            .as_ref()
            .and_then(|id| id.point_id_options.as_ref())
        {
            Some(PointIdOptions::Uuid(id)) => Uuid::parse_str(id).ok(),
            _ => None,
        };
        let id = id.ok_or_else(|| StoreError::Corrupt {
            place: format!("{:?}", answer.id),
            field: "id",
            problem: "is no UUID".to_owned(),
        })?;
        let vector = match answer.vectors.and_then(|vectors| vectors.get_vector()) {
            Some(vector_output::Vector::Dense(dense)) => Some(dense.data),
            _ => None,
        };
        let point = Self {
            id,
            payload: answer.payload,
            vector,
        };
        if point.str(field::TENANT)? == tenant {
            Ok(point)
        } else {
            Err(StoreError::TenantMismatch {
                place: id.to_string(),
            })
        }
    }

    pub(crate) fn corrupt(&self, field: &'static str, problem: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            place: self.id.to_string(),
            field,
            problem: problem.into(),
        }
    }

    /// None where the field is absent or null.
    fn kind(&self, field: &'static str) -> Option<&Kind> {
        match self.payload.get(field)?.kind.as_ref()? {
            Kind::NullValue(_) => None,
            kind => Some(kind),
        }
    }

    fn required(&self, field: &'static str) -> Result<&Kind, StoreError> {
        self.kind(field)
            .ok_or_else(|| self.corrupt(field, "is missing"))
    }

    pub(crate) fn str(&self, field: &'static str) -> Result<&str, StoreError> {
        match self.required(field)? {
            Kind::StringValue(text) => Ok(text),
            _ => Err(self.corrupt(field, "is no text")),
        }
    }

    pub(crate) fn opt_str(&self, field: &'static str) -> Result<Option<&str>, StoreError> {
        match self.kind(field) {
            None => Ok(None),
            Some(_) => self.str(field).map(Some),
        }
    }

    pub(crate) fn int(&self, field: &'static str) -> Result<i64, StoreError> {
        match self.required(field)? {
            Kind::IntegerValue(number) => Ok(*number),
            _ => Err(self.corrupt(field, "is no integer")),
        }
    }

    pub(crate) fn opt_int(&self, field: &'static str) -> Result<Option<i64>, StoreError> {
        match self.kind(field) {
            None => Ok(None),
            Some(_) => self.int(field).map(Some),
        }
    }

    /// A whole number may come back as an integer.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn opt_float(&self, field: &'static str) -> Result<Option<f64>, StoreError> {
        match self.kind(field) {
            None => Ok(None),
            Some(Kind::DoubleValue(number)) => Ok(Some(*number)),
            Some(Kind::IntegerValue(number)) => Ok(Some(*number as f64)),
            Some(_) => Err(self.corrupt(field, "is no number")),
        }
    }

    pub(crate) fn bool(&self, field: &'static str) -> Result<bool, StoreError> {
        match self.required(field)? {
            Kind::BoolValue(value) => Ok(*value),
            _ => Err(self.corrupt(field, "is no truth value")),
        }
    }

    pub(crate) fn opt_bool(&self, field: &'static str) -> Result<Option<bool>, StoreError> {
        match self.kind(field) {
            None => Ok(None),
            Some(_) => self.bool(field).map(Some),
        }
    }
}

pub(crate) fn point_ids(ids: &[Uuid]) -> Vec<PointId> {
    ids.iter().map(|id| PointId::from(*id)).collect()
}
