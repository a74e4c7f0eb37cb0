//! The collections of Qdrant and their payload indexes.

use foil_proto::names::collection;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::{
    CreateCollection, CreateCollectionBuilder, CreateFieldIndexCollection, Distance, FieldType,
    HnswConfigDiffBuilder, KeywordIndexParamsBuilder, VectorParamsBuilder,
};

use super::config::ProvisionConfig;
use super::{Change, ProvisionReport};
use crate::point::field;
use crate::store::{NO_VECTOR, check_dimension};
use crate::{Store, StoreError};

struct Spec {
    name: &'static str,
    dimension: u32,
    distance: Distance,
    indexes: &'static [(&'static str, FieldType)],
}

fn specs(dimension: u32) -> [Spec; 3] {
    let none = u32::try_from(NO_VECTOR.len()).unwrap_or(1);
    [
        Spec {
            name: collection::RECORDS,
            dimension,
            distance: Distance::Cosine,
            // What whole-collection filters ask for; conditions on one known point need no index.
            indexes: &[
                (field::TENANT, FieldType::Keyword),
                (field::USER, FieldType::Keyword),
                (field::ITEM, FieldType::Keyword),
                (field::REPRESENTATIVES, FieldType::Keyword),
                (field::PENDING_REPRESENTATIVES, FieldType::Keyword),
                (field::CLEARED_BY, FieldType::Keyword),
                (field::DELETED, FieldType::Bool),
                (field::DUE_AT, FieldType::Integer),
            ],
        },
        Spec {
            name: collection::ITEMS,
            dimension: none,
            distance: Distance::Dot,
            indexes: &[(field::TENANT, FieldType::Keyword)],
        },
        Spec {
            name: collection::USERS,
            dimension: none,
            distance: Distance::Dot,
            indexes: &[(field::TENANT, FieldType::Keyword)],
        },
    ]
}

pub(super) async fn provision(
    store: &Store,
    config: &ProvisionConfig,
    report: &mut ProvisionReport,
) -> Result<(), StoreError> {
    for spec in specs(store.config().dimension) {
        let mut change = Change::Unchanged;
        if store.collection_exists(spec.name).await? {
            let found = store.collection_dimension(spec.name).await?;
            check_dimension(spec.name, found, spec.dimension)?;
        } else {
            create(store, config, &spec).await?;
            change = Change::Created;
        }
        let existing = indexes(store, spec.name).await?;
        for (name, kind) in spec.indexes {
            if !existing.iter().any(|index| index == name) {
                create_index(store, spec.name, name, *kind).await?;
                if change == Change::Unchanged {
                    change = Change::Updated;
                }
            }
        }
        report.add(format!("collection {}", spec.name), change, Vec::new());
    }
    Ok(())
}

async fn create(store: &Store, config: &ProvisionConfig, spec: &Spec) -> Result<(), StoreError> {
    let vectors = VectorParamsBuilder::new(u64::from(spec.dimension), spec.distance);
    let call: CreateCollection = CreateCollectionBuilder::new(spec.name)
        .vectors_config(vectors)
        // Points are found by filters alone, never by likeness: no graph is to be built.
        .hnsw_config(HnswConfigDiffBuilder::default().m(0))
        .on_disk_payload(true)
        .shard_number(config.qdrant_shards)
        .replication_factor(config.qdrant_replicas)
        // An acknowledged write is on a majority.
        .write_consistency_factor(config.qdrant_replicas / 2 + 1)
        .build();
    let created = store
        .db()
        .call("create_collection", spec.name, |mut clients| {
            let call = call.clone();
            async move { clients.collections.create(call).await }
        });
    created.await.map(drop)
}

async fn indexes(store: &Store, name: &'static str) -> Result<Vec<String>, StoreError> {
    let info = store.collection_info(name).await?;
    Ok(info.payload_schema.into_keys().collect())
}

async fn create_index(
    store: &Store,
    collection: &'static str,
    name: &str,
    kind: FieldType,
) -> Result<(), StoreError> {
    // Qdrant then keeps a tenant's points together.
    let tenant = (name == field::TENANT).then(|| {
        let params = KeywordIndexParamsBuilder::default().is_tenant(true);
        IndexParams::KeywordIndexParams(params.build()).into()
    });
    let call = CreateFieldIndexCollection {
        collection_name: collection.to_owned(),
        wait: Some(true),
        field_name: name.to_owned(),
        field_type: Some(kind.into()),
        field_index_params: tenant,
        ..CreateFieldIndexCollection::default()
    };
    let created = store
        .db()
        .call("create_field_index", collection, |mut clients| {
            let call = call.clone();
            async move { clients.points.create_field_index(call).await }
        });
    created.await.map(drop)
}
