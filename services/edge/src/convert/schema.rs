//! Collections and payload indexes.

use qdrant_client::qdrant as wire;
use qdrant_edge::{
    BoolIndexParams, DatetimeIndexParams, Distance, FloatIndexParams, IntegerIndexParams,
    KeywordIndexParams, PayloadFieldSchema, PayloadIndexInfo, PayloadSchemaParams,
    PayloadSchemaType, ShardInfo, UuidIndexParams,
};
use serde::{Deserialize, Serialize};
use tonic::Status;
use wire::payload_index_params::IndexParams;

use crate::compact::Upkeep;
use crate::error::invalid;
use crate::limits;

/// The default vector of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VectorSpec {
    /// Components.
    pub size: usize,
    pub distance: Distance,
}

/// The vector of a new collection, none for one without vectors.
pub(crate) fn vector_spec(
    config: Option<wire::VectorsConfig>,
) -> Result<Option<VectorSpec>, Status> {
    use wire::vectors_config::Config;
    let field = "vectors_config";
    let params = match config.and_then(|config| config.config) {
        None => return Ok(None),
        Some(Config::ParamsMap(map)) if map.map.is_empty() => return Ok(None),
        Some(Config::ParamsMap(_)) => {
            return Err(invalid(
                field,
                "named vectors are not served by the embedded Qdrant",
            ));
        }
        Some(Config::Params(params)) => params,
    };
    if params.multivector_config.is_some() {
        return Err(invalid(
            field,
            "multi vectors are not served by the embedded Qdrant",
        ));
    }
    let size = match usize::try_from(params.size) {
        Ok(size) if (1..=limits::DIMENSION).contains(&params.size) => size,
        _ => {
            let most = limits::DIMENSION;
            return Err(invalid(
                "vectors_config.size",
                format!("{} is not within 1 and {most}", params.size),
            ));
        }
    };
    let distance = match wire::Distance::try_from(params.distance) {
        Ok(wire::Distance::Cosine) => Distance::Cosine,
        Ok(wire::Distance::Euclid) => Distance::Euclid,
        Ok(wire::Distance::Dot) => Distance::Dot,
        Ok(wire::Distance::Manhattan) => Distance::Manhattan,
        Ok(wire::Distance::UnknownDistance) | Err(_) => {
            return Err(invalid("vectors_config.distance", "is missing"));
        }
    };
    Ok(Some(VectorSpec { size, distance }))
}

fn vectors_config(spec: Option<VectorSpec>) -> wire::VectorsConfig {
    use wire::vectors_config::Config;
    let config = match spec {
        None => Config::ParamsMap(wire::VectorParamsMap::default()),
        Some(spec) => {
            let distance = match spec.distance {
                Distance::Cosine => wire::Distance::Cosine,
                Distance::Euclid => wire::Distance::Euclid,
                Distance::Dot => wire::Distance::Dot,
                Distance::Manhattan => wire::Distance::Manhattan,
            };
            Config::Params(wire::VectorParams {
                size: spec.size as u64,
                distance: distance.into(),
                ..Default::default()
            })
        }
    };
    wire::VectorsConfig {
        config: Some(config),
    }
}

/// The schema of a payload index. Parameters decide where both are given, as in Qdrant.
pub(crate) fn field_schema(
    field_type: Option<i32>,
    params: Option<wire::PayloadIndexParams>,
) -> Result<PayloadFieldSchema, Status> {
    use PayloadSchemaParams as Params;
    let refused = |kind: &str| {
        let problem = format!("{kind} indexes are not served by the embedded Qdrant");
        Err(invalid("field_type", problem))
    };
    if let Some(params) = params.and_then(|params| params.index_params) {
        let params = match params {
            IndexParams::KeywordIndexParams(p) => Params::Keyword(KeywordIndexParams {
                is_tenant: p.is_tenant,
                ..Default::default()
            }),
            IndexParams::UuidIndexParams(p) => Params::Uuid(UuidIndexParams {
                is_tenant: p.is_tenant,
                ..Default::default()
            }),
            IndexParams::IntegerIndexParams(p) => Params::Integer(IntegerIndexParams {
                lookup: p.lookup,
                range: p.range,
                ..Default::default()
            }),
            IndexParams::FloatIndexParams(_) => Params::Float(FloatIndexParams::default()),
            IndexParams::BoolIndexParams(_) => Params::Bool(BoolIndexParams::default()),
            IndexParams::DatetimeIndexParams(_) => Params::Datetime(DatetimeIndexParams::default()),
            IndexParams::GeoIndexParams(_) => return refused("geo"),
            IndexParams::TextIndexParams(_) => return refused("text"),
        };
        return Ok(PayloadFieldSchema::FieldParams(params));
    }
    let field_type = field_type.and_then(|kind| wire::FieldType::try_from(kind).ok());
    let kind = match field_type {
        Some(wire::FieldType::Keyword) => PayloadSchemaType::Keyword,
        Some(wire::FieldType::Uuid) => PayloadSchemaType::Uuid,
        Some(wire::FieldType::Integer) => PayloadSchemaType::Integer,
        Some(wire::FieldType::Float) => PayloadSchemaType::Float,
        Some(wire::FieldType::Bool) => PayloadSchemaType::Bool,
        Some(wire::FieldType::Datetime) => PayloadSchemaType::Datetime,
        Some(wire::FieldType::Geo) => return refused("geo"),
        Some(wire::FieldType::Text) => return refused("text"),
        None => return Err(invalid("field_type", "is missing")),
    };
    Ok(PayloadFieldSchema::FieldType(kind))
}

/// What `Collections.Get` answers.
///
/// Yellow means to Qdrant that its optimisers have work: here, that bytes of what was removed are on
/// disk. Who waits for one removal while others go on finds in the metadata how many there were since
/// the collection was opened, and how many of them are gone.
pub(crate) fn collection_info(
    spec: Option<VectorSpec>,
    info: ShardInfo,
    upkeep: &Upkeep,
) -> wire::CollectionInfo {
    let status = match upkeep.is_dirty() {
        true => wire::CollectionStatus::Yellow,
        false => wire::CollectionStatus::Green,
    };
    let (removals, compacted) = upkeep.counts();
    let count = |count: u64| wire::Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let metadata = [
        ("foil_edge_removals".to_owned(), count(removals)),
        ("foil_edge_compacted".to_owned(), count(compacted)),
    ];
    let params = wire::CollectionParams {
        shard_number: 1,
        vectors_config: Some(vectors_config(spec)),
        replication_factor: Some(1),
        write_consistency_factor: Some(1),
        ..Default::default()
    };
    let schema = info.payload_schema.into_iter();
    wire::CollectionInfo {
        status: status.into(),
        optimizer_status: Some(wire::OptimizerStatus {
            ok: true,
            ..Default::default()
        }),
        segments_count: info.segments_count as u64,
        config: Some(wire::CollectionConfig {
            params: Some(params),
            metadata: metadata.into(),
            ..Default::default()
        }),
        payload_schema: schema
            .map(|(key, index)| (key.to_string(), index_info(index)))
            .collect(),
        points_count: Some(info.points_count as u64),
        indexed_vectors_count: Some(info.indexed_vectors_count as u64),
        ..Default::default()
    }
}

fn index_info(index: PayloadIndexInfo) -> wire::PayloadSchemaInfo {
    use wire::PayloadSchemaType as Wire;
    let data_type = match index.data_type {
        PayloadSchemaType::Keyword => Wire::Keyword,
        PayloadSchemaType::Integer => Wire::Integer,
        PayloadSchemaType::Float => Wire::Float,
        PayloadSchemaType::Geo => Wire::Geo,
        PayloadSchemaType::Text => Wire::Text,
        PayloadSchemaType::Bool => Wire::Bool,
        PayloadSchemaType::Datetime => Wire::Datetime,
        PayloadSchemaType::Uuid => Wire::Uuid,
    };
    let params = match index.params {
        Some(PayloadSchemaParams::Keyword(p)) => {
            Some(IndexParams::KeywordIndexParams(wire::KeywordIndexParams {
                is_tenant: p.is_tenant,
                ..Default::default()
            }))
        }
        Some(PayloadSchemaParams::Uuid(p)) => {
            Some(IndexParams::UuidIndexParams(wire::UuidIndexParams {
                is_tenant: p.is_tenant,
                ..Default::default()
            }))
        }
        _ => None,
    };
    wire::PayloadSchemaInfo {
        data_type: data_type.into(),
        params: params.map(|params| wire::PayloadIndexParams {
            index_params: Some(params),
        }),
        points: Some(index.points as u64),
    }
}
