//! Which points a call means, and which parts of them it wants.

use qdrant_client::qdrant as wire;
use qdrant_edge::{
    Filter, JsonPath, PayloadSelector, PayloadSelectorExclude, PayloadSelectorInclude, PointId,
    WithPayloadInterface, WithVector,
};
use tonic::Status;
use wire::points_selector::PointsSelectorOneOf;
use wire::{with_payload_selector, with_vectors_selector};

use super::{at_most, filter, path, point_ids};
use crate::error::invalid;
use crate::limits;

/// The points that a write means.
pub(crate) enum Points {
    Ids(Vec<PointId>),
    Matching(Filter),
}

impl Points {
    /// As the pair of options that the engine's payload operations hold.
    pub(crate) fn split(self) -> (Option<Vec<PointId>>, Option<Filter>) {
        match self {
            Self::Ids(ids) => (Some(ids), None),
            Self::Matching(filter) => (None, Some(filter)),
        }
    }
}

pub(crate) fn points(
    field: &str,
    selector: Option<wire::PointsSelector>,
) -> Result<Points, Status> {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(list)) => point_ids(field, list.ids).map(Points::Ids),
        Some(PointsSelectorOneOf::Filter(f)) => filter::required(field, f).map(Points::Matching),
        None => Err(invalid(field, "is missing")),
    }
}

/// Absent means `default`: Qdrant returns the payload of scrolled and retrieved points unasked, and
/// that of found ones only when asked.
pub(crate) fn payload(
    selector: Option<wire::WithPayloadSelector>,
    default: bool,
) -> Result<WithPayloadInterface, Status> {
    use with_payload_selector::SelectorOptions;
    let options = selector.and_then(|selector| selector.selector_options);
    Ok(match options {
        None => WithPayloadInterface::Bool(default),
        Some(SelectorOptions::Enable(enable)) => WithPayloadInterface::Bool(enable),
        Some(SelectorOptions::Include(list)) => {
            let include = paths("with_payload.include", &list.fields)?;
            let include = PayloadSelectorInclude { include };
            WithPayloadInterface::Selector(PayloadSelector::Include(include))
        }
        Some(SelectorOptions::Exclude(list)) => {
            let exclude = paths("with_payload.exclude", &list.fields)?;
            let exclude = PayloadSelectorExclude { exclude };
            WithPayloadInterface::Selector(PayloadSelector::Exclude(exclude))
        }
    })
}

pub(crate) fn paths(field: &str, texts: &[String]) -> Result<Vec<JsonPath>, Status> {
    at_most(field, texts.len(), limits::CONDITIONS)?;
    texts.iter().map(|text| path(field, text)).collect()
}

pub(crate) fn vectors(selector: Option<wire::WithVectorsSelector>) -> Result<WithVector, Status> {
    use with_vectors_selector::SelectorOptions;
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(WithVector::Bool(false)),
        Some(SelectorOptions::Enable(enable)) => Ok(WithVector::Bool(enable)),
        Some(SelectorOptions::Include(_)) => {
            let problem = "named vectors are not served by the embedded Qdrant";
            Err(invalid("with_vectors.include", problem))
        }
    }
}

/// Size of a page from 1 on; absent means Qdrant's default of 10.
pub(crate) fn limit(limit: Option<u64>) -> Result<usize, Status> {
    let Some(limit) = limit else {
        return Ok(limits::DEFAULT_PAGE);
    };
    match usize::try_from(limit) {
        Ok(page @ 1..=limits::PAGE) => Ok(page),
        _ => {
            let most = limits::PAGE;
            Err(invalid(
                "limit",
                format!("{limit} is not within 1 and {most}"),
            ))
        }
    }
}
