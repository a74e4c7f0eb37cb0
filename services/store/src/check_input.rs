//! What may be stored. Every fault names its field.

use foil_proto::{check, token::ID_BYTES_MAX, v1};
use uuid::Uuid;

use crate::StoreError;
use crate::model::{Item, RecordWrite};

/// Longest difference as JSON, bytes.
const DIFFERENCE_BYTES_MAX: usize = 256 * 1024;
/// Longest profile version, bytes; the bucket refuses longer values.
pub(crate) const PROFILE_BYTES_MAX: usize = 512 * 1024;
/// Longest summary of a profile, characters.
const SUMMARY_CHARS_MAX: usize = 4_000;
/// Most representatives of a difference.
const REPRESENTATIVES_MAX: usize = 16;

fn fault(field: &'static str, problem: impl Into<String>) -> StoreError {
    StoreError::Invalid {
        field,
        problem: problem.into(),
    }
}

fn size(field: &'static str, text: &str, max: usize) -> Result<(), StoreError> {
    if text.len() > max {
        return Err(fault(field, format!("{} bytes, at most {max}", text.len())));
    }
    Ok(())
}

fn id(field: &'static str, id: &str, max: usize) -> Result<(), StoreError> {
    if id.is_empty() {
        return Err(fault(field, "is missing"));
    }
    size(field, id, max)
}

fn finite(field: &'static str, number: f64) -> Result<(), StoreError> {
    if number.is_finite() {
        Ok(())
    } else {
        Err(fault(field, "is not a finite number"))
    }
}

pub(crate) fn check_keys(
    tenant: &str,
    user: Option<&str>,
    item: Option<&str>,
) -> Result<(), StoreError> {
    id("tenant", tenant, check::TENANT_BYTES_MAX)?;
    user.map_or(Ok(()), |user| id("user", user, ID_BYTES_MAX))?;
    item.map_or(Ok(()), |item| id("item", item, ID_BYTES_MAX))
}

pub(crate) fn check_record(record: &RecordWrite, dimension: u32) -> Result<(), StoreError> {
    let key = &record.key;
    check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
    if record.text.trim().is_empty() {
        return Err(fault("text", "is blank"));
    }
    size("text", &record.text, check::TEXT_BYTES_MAX)?;
    size("title", &record.title, check::TITLE_BYTES_MAX)?;
    record.rating.map_or(Ok(()), |r| finite("rating", r))?;
    let length = record.vector.len();
    if length != dimension as usize {
        return Err(fault(
            "vector",
            format!("{length} numbers, not {dimension}"),
        ));
    }
    if !record.vector.iter().all(|x| x.is_finite()) {
        return Err(fault("vector", "holds a number that is not finite"));
    }
    if record.vector.iter().all(|x| *x == 0.0) {
        return Err(fault("vector", "has no direction: it is all zeros"));
    }
    Ok(())
}

pub(crate) fn check_item(tenant: &str, item: &Item) -> Result<(), StoreError> {
    check_keys(tenant, None, Some(&item.id))?;
    size("title", &item.title, check::TITLE_BYTES_MAX)?;
    size(
        "description",
        &item.description,
        check::DESCRIPTION_BYTES_MAX,
    )
}

/// What of a difference is needed to store it.
pub(crate) struct Checked<'a> {
    pub(crate) json: String,
    pub(crate) representatives: Vec<Uuid>,
    pub(crate) fingerprint: &'a str,
}

pub(crate) fn check_difference(
    difference: &v1::Difference,
    revision: u64,
) -> Result<Checked<'_>, StoreError> {
    if difference.findings.is_empty() {
        return Err(fault("findings", "are missing"));
    }
    for finding in &difference.findings {
        finite("findings.confidence", finding.confidence)?;
    }
    for evidence in &difference.evidence {
        finite("evidence.value", evidence.value)?;
        finite("evidence.peers_mean", evidence.peers_mean)?;
        finite("evidence.item_mean", evidence.item_mean)?;
        finite("evidence.z_score", evidence.z_score)?;
    }
    let provenance = difference.provenance.as_ref();
    let provenance = provenance.ok_or_else(|| fault("provenance", "is missing"))?;
    if provenance.revision != revision {
        let problem = format!(
            "{}, but revision {revision} was compared",
            provenance.revision
        );
        return Err(fault("provenance.revision", problem));
    }
    let count = provenance.representatives.len();
    if !(1..=REPRESENTATIVES_MAX).contains(&count) {
        let problem = format!("{count}, not 1 to {REPRESENTATIVES_MAX}");
        return Err(fault("provenance.representatives", problem));
    }
    let representatives = provenance.representatives.iter().map(|id| {
        Uuid::parse_str(id).map_err(|_| fault("provenance.representatives", "holds no point id"))
    });
    let selection = provenance.selection.as_ref();
    let selection = selection.ok_or_else(|| fault("provenance.selection", "is missing"))?;
    let json = serde_json::to_string(difference)
        .map_err(|error| fault("difference", error.to_string()))?;
    size("difference", &json, DIFFERENCE_BYTES_MAX)?;
    Ok(Checked {
        json,
        representatives: representatives.collect::<Result<_, _>>()?,
        fingerprint: &selection.fingerprint,
    })
}

pub(crate) fn check_profile(profile: &v1::Profile) -> Result<(), StoreError> {
    check_keys(&profile.tenant, Some(&profile.user), None)?;
    if profile.version == 0 {
        return Err(fault("version", "is missing"));
    }
    let chars = profile.summary.chars().count();
    if profile.summary.trim().is_empty() {
        return Err(fault("summary", "is blank"));
    }
    if chars > SUMMARY_CHARS_MAX {
        let problem = format!("{chars} characters, at most {SUMMARY_CHARS_MAX}");
        return Err(fault("summary", problem));
    }
    if profile.provenance.is_none() {
        return Err(fault("provenance", "is missing"));
    }
    for evidence in &profile.evidence {
        finite("evidence.value", evidence.value)?;
        finite("evidence.z_score", evidence.z_score)?;
    }
    let bytes = prost::Message::encoded_len(profile);
    if bytes > PROFILE_BYTES_MAX {
        return Err(fault(
            "profile",
            format!("{bytes} bytes, at most {PROFILE_BYTES_MAX}"),
        ));
    }
    Ok(())
}
