//! The service `Points`.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use qdrant_client::qdrant as wire;
use qdrant_edge::{
    ConditionalInsertOperation, CountRequest, CreateIndex, DeletePayloadOp, FacetRequest,
    FacetValue, FieldIndexOperations, PayloadOps, PointInsertOperations, PointOperations,
    ScrollRequest, SetPayloadOp, UpdateMode, UpdateOperation,
};
use tonic::{Request, Response, Status};
use wire::points_server::Points;

use crate::catalog::Catalog;
use crate::convert::{self, filter, payload, point, schema, select};
use crate::error::invalid;
use crate::unserved;
use crate::{nearest, shard::Shard};

pub(crate) struct PointsService(pub(crate) Arc<Catalog>);

type Written = Result<Response<wire::PointsOperationResponse>, Status>;

/// Every write is answered after its flush, whatever `wait` says: no caller is told less than it
/// asked for.
async fn write(shard: &Shard, operation: UpdateOperation, bytes: usize, since: Instant) -> Written {
    shard.write(operation, bytes).await?;
    Ok(Response::new(wire::PointsOperationResponse {
        result: Some(wire::UpdateResult {
            operation_id: None,
            status: wire::UpdateStatus::Completed.into(),
        }),
        time: since.elapsed().as_secs_f64(),
        usage: None,
    }))
}

fn update_mode(mode: Option<i32>) -> Result<Option<UpdateMode>, Status> {
    mode.map(|mode| match wire::UpdateMode::try_from(mode) {
        Ok(wire::UpdateMode::Upsert) => Ok(UpdateMode::Upsert),
        Ok(wire::UpdateMode::InsertOnly) => Ok(UpdateMode::InsertOnly),
        Ok(wire::UpdateMode::UpdateOnly) => Ok(UpdateMode::UpdateOnly),
        Err(_) => Err(invalid("update_mode", "is unknown")),
    })
    .transpose()
}

fn set_payload(request: wire::SetPayloadPoints) -> Result<SetPayloadOp, Status> {
    let (points, filter) = select::points("points_selector", request.points_selector)?.split();
    let key = request.key.map(|key| convert::path("key", &key));
    Ok(SetPayloadOp {
        payload: payload::to_edge(request.payload)?,
        points,
        filter,
        key: key.transpose()?,
    })
}

#[tonic::async_trait]
impl Points for PointsService {
    /// With `update_filter`, an existing point is overwritten only where it matches; a missing one
    /// is inserted.
    async fn upsert(&self, request: Request<wire::UpsertPoints>) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        let dimension = shard.spec().map(|spec| spec.size);
        let points = point::to_edge(request.points, dimension)?;
        let points = PointInsertOperations::PointsList(points);
        let condition = filter::optional("update_filter", request.update_filter)?;
        let mode = update_mode(request.update_mode)?;
        let operation = if condition.is_none() && mode.is_none() {
            PointOperations::UpsertPoints(points)
        } else {
            PointOperations::UpsertPointsConditional(ConditionalInsertOperation {
                points_op: points,
                condition: condition.unwrap_or_default(),
                update_mode: mode,
            })
        };
        write(
            &shard,
            UpdateOperation::PointOperation(operation),
            bytes,
            since,
        )
        .await
    }

    async fn delete(&self, request: Request<wire::DeletePoints>) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        let operation = match select::points("points", request.points)? {
            select::Points::Ids(ids) => PointOperations::DeletePoints { ids },
            select::Points::Matching(filter) => PointOperations::DeletePointsByFilter(filter),
        };
        write(
            &shard,
            UpdateOperation::PointOperation(operation),
            bytes,
            since,
        )
        .await
    }

    async fn set_payload(&self, request: Request<wire::SetPayloadPoints>) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        let operation = PayloadOps::SetPayload(set_payload(request)?);
        write(
            &shard,
            UpdateOperation::PayloadOperation(operation),
            bytes,
            since,
        )
        .await
    }

    async fn overwrite_payload(&self, request: Request<wire::SetPayloadPoints>) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        // Qdrant's server ignores it and overwrites everything.
        if request.key.is_some() {
            return Err(invalid("key", "is not served for overwrite_payload"));
        }
        let operation = PayloadOps::OverwritePayload(set_payload(request)?);
        write(
            &shard,
            UpdateOperation::PayloadOperation(operation),
            bytes,
            since,
        )
        .await
    }

    async fn delete_payload(&self, request: Request<wire::DeletePayloadPoints>) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        let (points, filter) = select::points("points_selector", request.points_selector)?.split();
        let keys = select::paths("keys", &request.keys)?;
        let operation = PayloadOps::DeletePayload(DeletePayloadOp {
            keys,
            points,
            filter,
        });
        write(
            &shard,
            UpdateOperation::PayloadOperation(operation),
            bytes,
            since,
        )
        .await
    }

    async fn create_field_index(
        &self,
        request: Request<wire::CreateFieldIndexCollection>,
    ) -> Written {
        let since = Instant::now();
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let shard = self.0.shard(&request.collection_name)?;
        let schema = schema::field_schema(request.field_type, request.field_index_params)?;
        let operation = FieldIndexOperations::CreateIndex(CreateIndex {
            field_name: convert::path("field_name", &request.field_name)?,
            field_schema: Some(schema),
        });
        write(
            &shard,
            UpdateOperation::FieldIndexOperation(operation),
            bytes,
            since,
        )
        .await
    }

    /// In the order of the ids; missing points are left out.
    async fn get(
        &self,
        request: Request<wire::GetPoints>,
    ) -> Result<Response<wire::GetResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let shard = self.0.shard(&request.collection_name)?;
        let ids = convert::point_ids("ids", request.ids)?;
        let payload = select::payload(request.with_payload, true)?;
        let vectors = select::vectors(request.with_vectors)?;
        let records = shard
            .read(move |edge| edge.retrieve(&ids, Some(payload), Some(vectors)))
            .await?;
        Ok(Response::new(wire::GetResponse {
            result: records.into_iter().map(point::retrieved).collect(),
            time: since.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    /// In the order of the ids.
    async fn scroll(
        &self,
        request: Request<wire::ScrollPoints>,
    ) -> Result<Response<wire::ScrollResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        if request.order_by.is_some() {
            return Err(invalid("order_by", "is not served by the embedded Qdrant"));
        }
        let shard = self.0.shard(&request.collection_name)?;
        let offset = request.offset.map(|id| convert::point_id("offset", id));
        let scroll = ScrollRequest {
            offset: offset.transpose()?,
            limit: Some(select::limit(request.limit.map(u64::from))?),
            filter: filter::optional("filter", request.filter)?,
            with_payload: Some(select::payload(request.with_payload, true)?),
            with_vector: select::vectors(request.with_vectors)?,
            order_by: None,
        };
        let (records, next) = shard.read(move |edge| edge.scroll(scroll)).await?;
        Ok(Response::new(wire::ScrollResponse {
            next_page_offset: next.map(convert::wire_id),
            result: records.into_iter().map(point::retrieved).collect(),
            time: since.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    async fn count(
        &self,
        request: Request<wire::CountPoints>,
    ) -> Result<Response<wire::CountResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let shard = self.0.shard(&request.collection_name)?;
        let count = CountRequest {
            filter: filter::optional("filter", request.filter)?,
            exact: request.exact.unwrap_or(true),
        };
        let count = shard.read(move |edge| edge.count(count)).await?;
        Ok(Response::new(wire::CountResponse {
            result: Some(wire::CountResult {
                count: count as u64,
            }),
            time: since.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    /// Needs an index on the key, as in Qdrant.
    async fn facet(
        &self,
        request: Request<wire::FacetCounts>,
    ) -> Result<Response<wire::FacetResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let shard = self.0.shard(&request.collection_name)?;
        let facet = FacetRequest {
            key: convert::path("key", &request.key)?,
            limit: select::limit(request.limit)?,
            filter: filter::optional("filter", request.filter)?,
            // The engine counts exactly either way.
            exact: true,
        };
        let facet = shard.read(move |edge| edge.facet(facet)).await?;
        let hits = facet.hits.into_iter().map(|hit| wire::FacetHit {
            value: Some(wire::FacetValue {
                variant: Some(facet_value(hit.value)),
            }),
            count: hit.count as u64,
        });
        Ok(Response::new(wire::FacetResponse {
            hits: hits.collect(),
            time: since.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    /// The nearest points to a vector, best first.
    async fn query(
        &self,
        request: Request<wire::QueryPoints>,
    ) -> Result<Response<wire::QueryResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        let shard = self.0.shard(&request.collection_name)?;
        let query = nearest::request(request, shard.spec())?;
        let found = shard.read(move |edge| edge.query(query)).await?;
        Ok(Response::new(wire::QueryResponse {
            result: found.into_iter().map(point::scored).collect(),
            time: since.elapsed().as_secs_f64(),
            usage: None,
        }))
    }

    unserved! {
        "Points",
        update_vectors(UpdatePointVectors) -> PointsOperationResponse,
        delete_vectors(DeletePointVectors) -> PointsOperationResponse,
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse,
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse,
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse,
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse,
        search(SearchPoints) -> SearchResponse,
        search_batch(SearchBatchPoints) -> SearchBatchResponse,
        search_groups(SearchPointGroups) -> SearchGroupsResponse,
        recommend(RecommendPoints) -> RecommendResponse,
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse,
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse,
        discover(DiscoverPoints) -> DiscoverResponse,
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse,
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse,
        query_batch(QueryBatchPoints) -> QueryBatchResponse,
        query_groups(QueryPointGroups) -> QueryGroupsResponse,
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse,
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse,
    }
}

fn facet_value(value: FacetValue) -> wire::facet_value::Variant {
    use wire::facet_value::Variant;
    match value {
        FacetValue::Keyword(text) => Variant::StringValue(text),
        FacetValue::Int(integer) => Variant::IntegerValue(integer),
        FacetValue::Uuid(uuid) => Variant::StringValue(uuid::Uuid::from_u128(uuid).to_string()),
        FacetValue::Bool(flag) => Variant::BoolValue(flag),
    }
}
