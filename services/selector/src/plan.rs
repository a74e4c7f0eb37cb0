//! What an item's records call for: pure, and heavy enough for a thread of its own.

use std::collections::HashSet;

use foil_store::Record;
use uuid::Uuid;

use crate::choose::{Compared, Point, Strategy, due, fingerprint, representatives};

/// What is to be done for one record.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Compare it with these.
    Compare {
        record: usize,
        representatives: Vec<Uuid>,
        fingerprint: String,
    },
    /// It has nobody to be compared with.
    Alone { record: usize },
}

impl Step {
    /// Index of its record.
    pub(crate) fn record(&self) -> usize {
        match self {
            Self::Compare { record, .. } | Self::Alone { record } => *record,
        }
    }
}

/// Steps of one item's records, in the records' order; none for a record whose difference holds.
/// `key` names the item.
pub(crate) fn plan(
    records: &[Record],
    (strategy, k): (Strategy, usize),
    growth: f64,
    key: &[u8],
) -> Vec<Step> {
    let points: Vec<Point<'_>> = records.iter().map(Point::from).collect();
    let serving: HashSet<Uuid> = points.iter().filter(|p| p.serves).map(|p| p.id).collect();
    let chosen = representatives(&points, strategy, k, key);
    let steps = records.iter().zip(chosen).enumerate();
    steps
        .filter_map(|(index, (record, chosen))| {
            if chosen.is_empty() {
                return Some(Step::Alone { record: index });
            }
            let last = last_comparison(record);
            let last = last.as_ref().map(|(revision, ids, records)| Compared {
                revision: *revision,
                representatives: ids,
                records: *records,
            });
            let count = records.len();
            due(
                record.revision,
                last.as_ref(),
                &chosen,
                &serving,
                count,
                growth,
            )?;
            Some(Step::Compare {
                record: index,
                fingerprint: fingerprint(strategy, &chosen),
                representatives: chosen,
            })
        })
        .collect()
}

/// Revision, representatives and number of records of the stored difference.
fn last_comparison(record: &Record) -> Option<(u64, Vec<Uuid>, usize)> {
    let provenance = record.difference.as_ref()?.provenance.as_ref()?;
    let ids = provenance.representatives.iter();
    // An id that is none serves no longer, as one that is gone.
    let ids = ids.map(|id| Uuid::parse_str(id).unwrap_or(Uuid::nil()));
    let records = provenance.selection.as_ref().map_or(0, |s| s.records);
    Some((provenance.revision, ids.collect(), records as usize))
}
