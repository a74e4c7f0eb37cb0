//! Between Qdrant's protobuf messages and the engine's types.

pub(crate) mod filter;
pub(crate) mod payload;
pub(crate) mod point;
pub(crate) mod schema;
pub(crate) mod select;

use qdrant_client::qdrant as wire;
use qdrant_edge::{JsonPath, PointId};
use tonic::Status;
use uuid::Uuid;

use crate::error::invalid;
use crate::limits;

pub(crate) fn point_id(field: &str, id: wire::PointId) -> Result<PointId, Status> {
    use wire::point_id::PointIdOptions;
    match id.point_id_options {
        Some(PointIdOptions::Num(number)) => Ok(PointId::NumId(number)),
        Some(PointIdOptions::Uuid(text)) => Uuid::parse_str(&text)
            .map(PointId::Uuid)
            .map_err(|_| invalid(field, "is neither a number nor a UUID")),
        None => Err(invalid(field, "is missing")),
    }
}

pub(crate) fn point_ids(field: &str, ids: Vec<wire::PointId>) -> Result<Vec<PointId>, Status> {
    at_most(field, ids.len(), limits::IDS_PER_CALL)?;
    ids.into_iter().map(|id| point_id(field, id)).collect()
}

pub(crate) fn wire_id(id: PointId) -> wire::PointId {
    use wire::point_id::PointIdOptions;
    wire::PointId {
        point_id_options: Some(match id {
            PointId::NumId(number) => PointIdOptions::Num(number),
            PointId::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
        }),
    }
}

pub(crate) fn path(field: &str, text: &str) -> Result<JsonPath, Status> {
    JsonPath::try_from(text).map_err(|()| invalid(field, "is not a path into the payload"))
}

pub(crate) fn at_most(field: &str, count: usize, limit: usize) -> Result<(), Status> {
    if count > limit {
        return Err(invalid(field, format!("{count} is more than {limit}")));
    }
    Ok(())
}
