//! A server on a free port, and short forms of calls.

use std::net::SocketAddr;
use std::path::Path;

use foil_edge::{Edge, EdgeConfig};
use qdrant_client::qdrant::{
    CreateCollectionBuilder, Distance, Filter, PointId, PointStruct, RetrievedPoint,
    ScrollPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const C: &str = "records";

pub struct Server {
    pub edge: Edge,
    pub client: Qdrant,
    pub dir: TempDir,
}

pub async fn open(dir: &Path) -> (Edge, Qdrant) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = EdgeConfig {
        data_dir: dir.to_owned(),
        listen,
    };
    let edge = foil_edge::start(config).await.unwrap();
    let client = client(edge.address());
    (edge, client)
}

pub fn client(address: SocketAddr) -> Qdrant {
    Qdrant::from_url(&format!("http://{address}"))
        .skip_compatibility_check()
        .build()
        .unwrap()
}

/// A server without collections.
pub async fn empty() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let (edge, client) = open(dir.path()).await;
    Server { edge, client, dir }
}

/// A server with the collection [`C`] of 4 dimensions.
pub async fn server() -> Server {
    let server = empty().await;
    create(&server.client, C, 4).await;
    server
}

pub async fn create(client: &Qdrant, name: &str, size: u64) {
    let vectors = VectorParamsBuilder::new(size, Distance::Cosine);
    client
        .create_collection(CreateCollectionBuilder::new(name).vectors_config(vectors))
        .await
        .unwrap();
}

pub fn payload(json: Value) -> Payload {
    Payload::try_from(json).unwrap()
}

pub fn point(id: u64, json: Value) -> PointStruct {
    PointStruct::new(id, vec![1.0, 0.0, 0.0, id as f32], payload(json))
}

pub async fn put(client: &Qdrant, points: Vec<PointStruct>) {
    client
        .upsert_points(UpsertPointsBuilder::new(C, points).wait(true))
        .await
        .unwrap();
}

pub fn json(point: &RetrievedPoint) -> Value {
    Value::Object(Payload::from(point.payload.clone()).into())
}

pub fn number(id: &Option<PointId>) -> u64 {
    use qdrant_client::qdrant::point_id::PointIdOptions;
    match id.as_ref().unwrap().point_id_options {
        Some(PointIdOptions::Num(number)) => number,
        _ => panic!("no numeric id"),
    }
}

/// The ids that match, from one page.
pub async fn matching(client: &Qdrant, filter: Filter) -> Vec<u64> {
    let scroll = ScrollPointsBuilder::new(C).filter(filter).limit(1000);
    let page = client.scroll(scroll).await.unwrap();
    page.result.iter().map(|point| number(&point.id)).collect()
}

/// The payload of one point, null where there is none.
pub async fn stored(client: &Qdrant, id: u64) -> Value {
    use qdrant_client::qdrant::GetPointsBuilder;
    let get = GetPointsBuilder::new(C, vec![id.into()]).with_payload(true);
    let found = client.get_points(get).await.unwrap().result;
    found.first().map_or(json!(null), json_of)
}

fn json_of(point: &RetrievedPoint) -> Value {
    json(point)
}

/// The gRPC status of a failed call.
pub fn refused<T: std::fmt::Debug>(result: Result<T, qdrant_client::QdrantError>) -> tonic::Status {
    match result.unwrap_err() {
        qdrant_client::QdrantError::ResponseError { status } => status,
        qdrant_client::QdrantError::ResourceExhaustedError { status, .. } => status,
        other => panic!("not a status: {other}"),
    }
}
