//! What a profile rests on: the user's records, their differences, and the measured evidence.

use foil_proto::v1;
use foil_store::Record;
use sha2::{Digest as _, Sha256};

/// Bytes of the fingerprint that are kept.
const FINGERPRINT_BYTES: usize = 16;

const DPL: &str = "dpl";
const INTSUM: &str = "intsum";
/// Of profiles.
pub const STRATEGIES: [&str; 2] = [DPL, INTSUM];

/// Whether the summary rests on differences, or on the history alone.
pub fn strategy(records: &[Record]) -> &'static str {
    if records.iter().any(|record| record.difference.is_some()) {
        DPL
    } else {
        INTSUM
    }
}

/// Names the inputs: equal inputs give an equal value. `context`: whatever else the summary depends
/// on, such as the model and the prompt.
pub fn fingerprint(records: &[Record], context: &[&str]) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for text in context {
        part(text.as_bytes());
    }
    for record in records {
        part(record.id.as_bytes());
        part(&record.revision.to_be_bytes());
        part(&difference_at(record).to_be_bytes());
    }
    let hash = hash.finalize();
    hash.iter().take(FINGERPRINT_BYTES).fold(
        String::with_capacity(2 * FINGERPRINT_BYTES),
        |text, byte| format!("{text}{byte:02x}"),
    )
}

/// The records as sources of a profile.
pub fn sources(records: &[Record]) -> Vec<v1::Source> {
    let source = |record: &Record| v1::Source {
        item: record.key.item.clone(),
        revision: record.revision,
        compared: record.difference.is_some(),
        difference_at_ms: difference_at(record),
    };
    records.iter().map(source).collect()
}

/// When the record's difference was made, milliseconds since 1970; 0 without one.
fn difference_at(record: &Record) -> i64 {
    let difference = record.difference.as_ref();
    let provenance = difference.and_then(|difference| difference.provenance.as_ref());
    provenance.map_or(0, |provenance| provenance.created_at_ms)
}

/// Records whose difference is newer than `profile`, all that have one without it.
pub fn compared_since<'a>(records: &'a [Record], profile: Option<&v1::Profile>) -> Vec<&'a Record> {
    let provenance = profile.and_then(|profile| profile.provenance.as_ref());
    let since = provenance.map_or(0, |provenance| provenance.created_at_ms);
    let newer = records.iter().filter(|r| difference_at(r) > since);
    newer.collect()
}

/// The mean of each feature over all differences, in the order in which features first appear.
pub fn mean_evidence(records: &[Record]) -> Vec<v1::Evidence> {
    let mut sums: Vec<(v1::Evidence, f64)> = Vec::new();
    let differences = records.iter().filter_map(|r| r.difference.as_ref());
    for found in differences.flat_map(|difference| &difference.evidence) {
        match sums
            .iter_mut()
            .find(|(sum, _)| sum.feature == found.feature)
        {
            Some((sum, count)) => {
                sum.value += found.value;
                sum.peers_mean += found.peers_mean;
                sum.item_mean += found.item_mean;
                sum.z_score += found.z_score;
                *count += 1.0;
            }
            None => sums.push((found.clone(), 1.0)),
        }
    }
    let mean = |(sum, count): (v1::Evidence, f64)| v1::Evidence {
        value: sum.value / count,
        peers_mean: sum.peers_mean / count,
        item_mean: sum.item_mean / count,
        z_score: sum.z_score / count,
        ..sum
    };
    sums.into_iter().map(mean).collect()
}

/// How much longer the profile should wait for comparisons that are under way, milliseconds; none
/// when there are none, or they have been waited for. So while comparisons follow each other there is
/// one profile each `max_wait_ms`, not one for each of them; and a comparison that was given up,
/// which leaves its mark for good, delays no profile by more than that.
pub fn waiting_for(
    records: &[Record],
    profiled_at_ms: i64,
    now_ms: i64,
    max_wait_ms: i64,
) -> Option<i64> {
    let marks = records.iter().filter(|r| r.due.is_some());
    let oldest = marks.map(|record| record.due_at_ms).min()?;
    let since = oldest.max(profiled_at_ms);
    let left = since.saturating_add(max_wait_ms).saturating_sub(now_ms);
    (left > 0).then_some(left)
}

#[cfg(test)]
mod tests;
