//! Points and their vectors.

use std::collections::HashMap;

use qdrant_client::qdrant as wire;
use qdrant_edge::{
    PointStructPersisted, Record, ScoredPoint, VectorStructInternal, VectorStructPersisted,
};
use tonic::Status;

use super::{at_most, payload, point_id, wire_id};
use crate::error::invalid;
use crate::limits;

/// The points of an upsert. `dimension`: the collection's, none where it has no vectors.
pub(crate) fn to_edge(
    points: Vec<wire::PointStruct>,
    dimension: Option<usize>,
) -> Result<Vec<PointStructPersisted>, Status> {
    at_most("points", points.len(), limits::IDS_PER_CALL)?;
    let converted = points.into_iter().map(|point| {
        let id = point.id.ok_or_else(|| invalid("points.id", "is missing"))?;
        Ok(PointStructPersisted {
            id: point_id("points.id", id)?,
            vector: vector(point.vectors, dimension)?,
            payload: Some(payload::to_edge(point.payload)?),
        })
    });
    converted.collect()
}

fn vector(
    vectors: Option<wire::Vectors>,
    dimension: Option<usize>,
) -> Result<VectorStructPersisted, Status> {
    let given = dense(vectors)?;
    match (dimension, given) {
        (Some(expected), Some(vector)) => {
            check_vector("points.vectors", &vector, expected)?;
            Ok(VectorStructPersisted::Single(vector))
        }
        (None, Some(_)) => Err(invalid("points.vectors", "the collection holds no vectors")),
        // Qdrant allows a point to come without its vector.
        (_, None) => Ok(VectorStructPersisted::Named(HashMap::new())),
    }
}

/// The engine would store a vector of not-numbers and then order points at random.
pub(crate) fn check_vector(field: &str, vector: &[f32], expected: usize) -> Result<(), Status> {
    if vector.len() != expected {
        let got = vector.len();
        let problem = format!("vector dimension error: expected dim: {expected}, got {got}");
        return Err(invalid(field, problem));
    }
    if vector.iter().any(|component| !component.is_finite()) {
        return Err(invalid(field, "a component is not finite"));
    }
    Ok(())
}

fn dense(vectors: Option<wire::Vectors>) -> Result<Option<Vec<f32>>, Status> {
    use wire::vectors::VectorsOptions;
    match vectors.and_then(|vectors| vectors.vectors_options) {
        None => Ok(None),
        Some(VectorsOptions::Vector(vector)) => dense_values(vector).map(Some),
        Some(VectorsOptions::Vectors(named)) if named.vectors.is_empty() => Ok(None),
        Some(VectorsOptions::Vectors(mut named)) => match named.vectors.remove("") {
            Some(vector) if named.vectors.is_empty() => dense_values(vector).map(Some),
            _ => Err(refused("named")),
        },
    }
}

// Clients before 1.16 fill `data`, later ones the oneof.
#[allow(deprecated)]
fn dense_values(vector: wire::Vector) -> Result<Vec<f32>, Status> {
    use wire::vector::Vector;
    match vector.vector {
        Some(Vector::Dense(dense)) => Ok(dense.data),
        Some(Vector::Sparse(_)) => Err(refused("sparse")),
        Some(Vector::MultiDense(_)) => Err(refused("multi")),
        Some(Vector::Document(_) | Vector::Image(_) | Vector::Object(_)) => {
            Err(refused("inferred"))
        }
        None if vector.indices.is_some() => Err(refused("sparse")),
        None if vector.vectors_count.is_some() => Err(refused("multi")),
        None => Ok(vector.data),
    }
}

fn refused(kind: &str) -> Status {
    let problem = format!("{kind} vectors are not served by the embedded Qdrant");
    invalid("points.vectors", problem)
}

pub(crate) fn retrieved(record: Record) -> wire::RetrievedPoint {
    wire::RetrievedPoint {
        id: Some(wire_id(record.id)),
        payload: record.payload.map(payload::from_edge).unwrap_or_default(),
        vectors: record.vector.and_then(vectors_output),
        shard_key: None,
        order_value: None,
    }
}

pub(crate) fn scored(point: ScoredPoint) -> wire::ScoredPoint {
    wire::ScoredPoint {
        id: Some(wire_id(point.id)),
        payload: point.payload.map(payload::from_edge).unwrap_or_default(),
        score: point.score,
        version: point.version,
        vectors: point.vector.and_then(vectors_output),
        shard_key: None,
        order_value: None,
    }
}

/// None for a point without a vector.
fn vectors_output(vector: VectorStructInternal) -> Option<wire::VectorsOutput> {
    use wire::vectors_output::VectorsOptions;
    // Only the default vector is ever written.
    let VectorStructInternal::Single(data) = vector else {
        return None;
    };
    // A client of 1.16 and later reads the oneof and looks at the fields before it only in its
    // absence.
    let dense = wire::vector_output::Vector::Dense(wire::DenseVector { data });
    let output = wire::VectorOutput {
        vector: Some(dense),
        ..Default::default()
    };
    Some(wire::VectorsOutput {
        vectors_options: Some(VectorsOptions::Vector(output)),
    })
}
