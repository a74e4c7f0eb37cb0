//! The services `Qdrant` and `Collections`.

use std::sync::Arc;
use std::time::Instant;

use qdrant_client::qdrant as wire;
use tonic::{Request, Response, Status};
use wire::collections_server::Collections;
use wire::qdrant_server::Qdrant;

use crate::catalog::Catalog;
use crate::convert::schema;
use crate::error::invalid;
use crate::unserved;

/// What a client compares its own version with. The calls served are those of this release.
const API_VERSION: &str = "1.20.0";

pub(crate) struct HealthService;

#[tonic::async_trait]
impl Qdrant for HealthService {
    async fn health_check(
        &self,
        _request: Request<wire::HealthCheckRequest>,
    ) -> Result<Response<wire::HealthCheckReply>, Status> {
        Ok(Response::new(wire::HealthCheckReply {
            title: "foil-edge, embedded Qdrant".to_owned(),
            version: API_VERSION.to_owned(),
            commit: None,
        }))
    }
}

pub(crate) struct CollectionsService(pub(crate) Arc<Catalog>);

impl CollectionsService {
    /// Collections are made and removed with many file operations, so not on a thread of the
    /// runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let catalog = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&catalog))
            .await
            .map_err(|_| Status::internal("the call failed inside the engine"))?
    }
}

fn done(result: bool, since: Instant) -> Response<wire::CollectionOperationResponse> {
    Response::new(wire::CollectionOperationResponse {
        result,
        time: since.elapsed().as_secs_f64(),
    })
}

/// Options that would change what the caller gets are refused; those that tune a server are not.
fn check_options(request: &wire::CreateCollection) -> Result<(), Status> {
    let refused = [
        (
            request
                .sparse_vectors_config
                .as_ref()
                .is_some_and(|config| !config.map.is_empty()),
            "sparse_vectors_config",
        ),
        (request.strict_mode_config.is_some(), "strict_mode_config"),
        (!request.metadata.is_empty(), "metadata"),
        (
            request.sharding_method == Some(wire::ShardingMethod::Custom.into()),
            "sharding_method",
        ),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, field)) => Err(invalid(field, "is not served by the embedded Qdrant")),
        None => Ok(()),
    }
}

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn get(
        &self,
        request: Request<wire::GetCollectionInfoRequest>,
    ) -> Result<Response<wire::GetCollectionInfoResponse>, Status> {
        let since = Instant::now();
        let shard = self.0.shard(&request.into_inner().collection_name)?;
        let info = shard.read(|edge| Ok(edge.info())).await?;
        Ok(Response::new(wire::GetCollectionInfoResponse {
            result: Some(schema::collection_info(shard.spec(), info, shard.upkeep())),
            time: since.elapsed().as_secs_f64(),
        }))
    }

    async fn list(
        &self,
        _request: Request<wire::ListCollectionsRequest>,
    ) -> Result<Response<wire::ListCollectionsResponse>, Status> {
        let since = Instant::now();
        let names = self.0.names()?.into_iter();
        Ok(Response::new(wire::ListCollectionsResponse {
            collections: names
                .map(|name| wire::CollectionDescription { name })
                .collect(),
            time: since.elapsed().as_secs_f64(),
        }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateCollection>,
    ) -> Result<Response<wire::CollectionOperationResponse>, Status> {
        let since = Instant::now();
        let request = request.into_inner();
        check_options(&request)?;
        let name = request.collection_name;
        let vector = schema::vector_spec(request.vectors_config)?;
        self.blocking(move |catalog| catalog.create(&name, vector))
            .await?;
        Ok(done(true, since))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteCollection>,
    ) -> Result<Response<wire::CollectionOperationResponse>, Status> {
        let since = Instant::now();
        let name = request.into_inner().collection_name;
        let deleted = self.blocking(move |catalog| catalog.delete(&name)).await?;
        Ok(done(deleted, since))
    }

    async fn collection_exists(
        &self,
        request: Request<wire::CollectionExistsRequest>,
    ) -> Result<Response<wire::CollectionExistsResponse>, Status> {
        let since = Instant::now();
        let exists = self
            .0
            .find(&request.into_inner().collection_name)?
            .is_some();
        Ok(Response::new(wire::CollectionExistsResponse {
            result: Some(wire::CollectionExists { exists }),
            time: since.elapsed().as_secs_f64(),
        }))
    }

    unserved! {
        "Collections",
        update(UpdateCollection) -> CollectionOperationResponse,
        update_aliases(ChangeAliases) -> CollectionOperationResponse,
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse,
        list_aliases(ListAliasesRequest) -> ListAliasesResponse,
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse,
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest)
            -> UpdateCollectionClusterSetupResponse,
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse,
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse,
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse,
    }
}
