//! The one kind of `Points.Query` that is served: nearest to a dense vector.

use qdrant_client::qdrant as wire;
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{NamedQuery, QueryEnum, QueryRequest, ScoringQuery};
use tonic::Status;

use crate::convert::schema::VectorSpec;
use crate::convert::{at_most, filter, point, select};
use crate::error::invalid;
use crate::limits;

pub(crate) fn request(
    request: wire::QueryPoints,
    spec: Option<VectorSpec>,
) -> Result<QueryRequest, Status> {
    let refused = [
        (!request.prefetch.is_empty(), "prefetch"),
        (request.using.is_some_and(|name| !name.is_empty()), "using"),
        (request.lookup_from.is_some(), "lookup_from"),
    ];
    if let Some((_, field)) = refused.iter().find(|(present, _)| *present) {
        return Err(invalid(field, "is not served by the embedded Qdrant"));
    }
    let vector = dense(request.query)?;
    let spec = spec.ok_or_else(|| invalid("query", "the collection holds no vectors"))?;
    point::check_vector("query", &vector, spec.size)?;
    let offset = usize::try_from(request.offset.unwrap_or(0)).unwrap_or(usize::MAX);
    at_most("offset", offset, limits::PAGE)?;
    let nearest = QueryEnum::Nearest(NamedQuery::default_dense(vector));
    Ok(QueryRequest {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Vector(nearest)),
        filter: filter::optional("filter", request.filter)?,
        score_threshold: request.score_threshold.map(OrderedFloat),
        limit: select::limit(request.limit)?,
        offset,
        params: None,
        with_vector: select::vectors(request.with_vectors)?,
        with_payload: select::payload(request.with_payload, false)?,
    })
}

fn dense(query: Option<wire::Query>) -> Result<Vec<f32>, Status> {
    use wire::{query, vector_input};
    let Some(query::Variant::Nearest(input)) = query.and_then(|query| query.variant) else {
        let problem = "only the nearest points to a vector are served by the embedded Qdrant";
        return Err(invalid("query", problem));
    };
    match input.variant {
        Some(vector_input::Variant::Dense(dense)) => Ok(dense.data),
        _ => Err(invalid("query", "is not a dense vector")),
    }
}
