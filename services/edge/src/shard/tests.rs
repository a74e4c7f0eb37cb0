use qdrant_edge::{PointOperations, UpdateOperation};

use super::*;

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    Engine::create(dir.path(), None).unwrap();
    let nothing = || {
        let nothing = PointOperations::DeletePoints { ids: Vec::new() };
        UpdateOperation::PointOperation(nothing)
    };
    let full = Shard::open("c", None, dir.path().to_owned(), u64::MAX).unwrap();
    let refusal = full.write(nothing(), 1).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
    assert!(
        refusal.message().starts_with("data directory: "),
        "{}",
        refusal.message()
    );
    assert_eq!(
        full.read(|edge| Ok(edge.info().points_count))
            .await
            .unwrap(),
        0
    );
    full.close();

    let free = Shard::open("c", None, dir.path().to_owned(), 0).unwrap();
    free.write(nothing(), 1).await.unwrap();
    free.close();
    let closed = free.write(nothing(), 1).await.unwrap_err();
    assert_eq!(closed.code(), tonic::Code::Unavailable);
}
