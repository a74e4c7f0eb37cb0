//! Which traces made what is stored, so that later work on it can be linked to them. The work streams
//! keep one message a subject: what came of a message that another one replaced is known here alone.

use foil_proto::names::collection::RECORDS;
use foil_runtime::telemetry;
use uuid::Uuid;

use crate::Store;
use crate::db::Part;
use crate::model::Record;
use crate::point::{Fields, field};

/// Links of one span. Its backend has to show them.
const LINKS_MAX: usize = 32;

/// What a trace made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBy {
    /// A record as it is stored now.
    Update,
    /// Its difference.
    Comparison,
}

impl MadeBy {
    fn field(self) -> &'static str {
        match self {
            Self::Update => field::UPDATE_TRACE,
            Self::Comparison => field::DIFFERENCE_TRACE,
        }
    }

    /// Notes the current trace beside what it makes, if it is recorded; takes away an earlier one's
    /// else.
    pub(crate) fn note(self, fields: Fields) -> Fields {
        match telemetry::traceparent() {
            Some(trace) => fields.with(self.field(), trace),
            None => fields.without(&[self.field()]),
        }
    }
}

impl Store {
    /// Links the current span to the traces behind these records, at most 32 of them; those of its
    /// own trace are left out. Asks Qdrant only where the span is recorded, and a failure there costs
    /// the links alone.
    pub async fn link_traces(&self, tenant: &str, records: &[&Record], made_by: MadeBy) {
        if records.is_empty() || telemetry::traceparent().is_none() {
            return;
        }
        let ids = records.iter().take(LINKS_MAX).map(|record| record.id);
        let ids: Vec<Uuid> = ids.collect();
        let part = match made_by {
            MadeBy::Update => Part::Fields(&[field::UPDATE_TRACE]),
            MadeBy::Comparison => Part::Fields(&[field::DIFFERENCE_TRACE]),
        };
        match self.db().get(RECORDS, tenant, &ids, part).await {
            Ok(points) => {
                for point in points {
                    if let Ok(Some(trace)) = point.opt_str(made_by.field()) {
                        telemetry::link(trace);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "a trace has no links"),
        }
    }
}
