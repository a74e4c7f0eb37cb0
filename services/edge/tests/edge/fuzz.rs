//! Random and almost right requests, as bytes over gRPC: each is answered or refused, nothing panics,
//! and the server goes on. `PROPTEST_CASES` makes it longer.

#[path = "../../../../tests/hostile/fuzz.rs"]
mod random;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use prost::Message;
use qdrant_client::qdrant as wire;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateFieldIndexCollectionBuilder, DeletePayloadPointsBuilder,
    DeletePointsBuilder, FacetCountsBuilder, FieldType, Filter, GetPointsBuilder,
    QueryPointsBuilder, Range, ScrollPointsBuilder, SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use random::{fuzz, mutated};
use serde_json::json;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::{C, create, payload, point, put, server};

/// The server's memory may not grow beyond this, whatever is asked.
const GROWTH_BYTES_MAX: u64 = 512 << 20;

const METHODS: [&str; 16] = [
    "Points/Upsert",
    "Points/Delete",
    "Points/SetPayload",
    "Points/OverwritePayload",
    "Points/DeletePayload",
    "Points/CreateFieldIndex",
    "Points/Get",
    "Points/Scroll",
    "Points/Count",
    "Points/Facet",
    "Points/Query",
    "Collections/Create",
    "Collections/Get",
    "Collections/List",
    "Collections/CollectionExists",
    "Qdrant/HealthCheck",
];

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = bytes::Buf::remaining(buffer);
        bytes::Buf::advance(buffer, length);
        Ok(Some(length))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// How many bytes the answer has.
async fn call(channel: &Channel, method: &'static str, body: Vec<u8>) -> Result<usize, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/qdrant.{method}").parse().expect("a path");
    let answer = client.unary(Request::new(body), path, Raw).await?;
    Ok(answer.into_inner())
}

fn filter() -> Filter {
    let nested = Filter::should([Condition::is_empty("d"), Condition::has_id([1, 2])]);
    let range = Range {
        gte: Some(1.0),
        lt: Some(5.5),
        ..Range::default()
    };
    let mut filter = Filter::must([Condition::matches("user", "mara".to_owned()), nested.into()]);
    filter.must_not.push(Condition::range("n", range));
    filter.should.push(Condition::matches(
        "tags",
        vec!["a".to_owned(), "b".to_owned()],
    ));
    filter
}

/// A good request of each kind, behind the place of its method.
fn good() -> Vec<Vec<u8>> {
    let fields =
        || payload(json!({ "user": "mara", "n": 3, "f": 1.5, "tags": ["a", { "b": null }] }));
    let points = vec![
        point(7, json!({ "user": "nils", "n": 1 })),
        point(8, json!({})),
    ];
    let upsert = UpsertPointsBuilder::new(C, points);
    let mut fenced: wire::UpsertPoints = upsert.clone().wait(true).build();
    fenced.update_filter = Some(filter());
    let set = || SetPayloadPointsBuilder::new(C, fields()).points_selector(filter());
    let drop = DeletePayloadPointsBuilder::new(C, vec!["n".to_owned(), "a.b[0]".to_owned()]);
    let collection = wire::GetCollectionInfoRequest {
        collection_name: C.to_owned(),
    };
    let exists = wire::CollectionExistsRequest {
        collection_name: C.to_owned(),
    };
    let vectors = wire::VectorParamsBuilder::new(4, wire::Distance::Cosine);
    let made = wire::CreateCollectionBuilder::new(C).vectors_config(vectors);
    let index = CreateFieldIndexCollectionBuilder::new(C, "user", FieldType::Keyword);
    let query = QueryPointsBuilder::new(C)
        .query(vec![1.0_f32, 0.0, 0.0, 1.0])
        .filter(filter());
    let page = ScrollPointsBuilder::new(C)
        .filter(filter())
        .limit(9)
        .offset(3)
        .with_vectors(true);
    [
        (0, upsert.build().encode_to_vec()),
        (0, fenced.encode_to_vec()),
        (
            1,
            DeletePointsBuilder::new(C)
                .points(filter())
                .build()
                .encode_to_vec(),
        ),
        (2, set().build().encode_to_vec()),
        (2, set().key("a.b").build().encode_to_vec()),
        (3, set().build().encode_to_vec()),
        (4, drop.points_selector(filter()).build().encode_to_vec()),
        (5, index.build().encode_to_vec()),
        (
            6,
            GetPointsBuilder::new(C, vec![1.into(), 7.into()])
                .with_vectors(true)
                .build()
                .encode_to_vec(),
        ),
        (7, page.build().encode_to_vec()),
        (
            8,
            CountPointsBuilder::new(C)
                .filter(filter())
                .build()
                .encode_to_vec(),
        ),
        (
            9,
            FacetCountsBuilder::new(C, "user")
                .filter(filter())
                .build()
                .encode_to_vec(),
        ),
        (10, query.with_payload(true).build().encode_to_vec()),
        (11, made.build().encode_to_vec()),
        (12, collection.encode_to_vec()),
        (13, Vec::new()),
        (14, exists.encode_to_vec()),
        (15, Vec::new()),
    ]
    .map(|(method, body): (u8, Vec<u8>)| [vec![method], body].concat())
    .to_vec()
}

/// What a refusal may be: the request's fault, named. Decoding fails inside tonic, which calls that
/// internal.
fn is_refusal(status: &Status) -> bool {
    let decoding = status.code() == Code::Internal && status.message().contains("decode");
    let fault = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::Unimplemented
    );
    (decoding || fault) && !status.message().is_empty() && status.message().len() < 4_096
}

/// Bytes resident of this process, the server within it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("its memory");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<u64>().expect("a number") << 10
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics of every thread from now on.
fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
}

#[test]
fn fuzz_requests() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (server, channel) = runtime.block_on(async {
        let server = server().await;
        create(&server.client, "empty", 4).await;
        put(
            &server.client,
            (1..20)
                .map(|id| point(id, json!({ "user": "mara", "n": id })))
                .collect(),
        )
        .await;
        let url = format!("http://{}", server.edge.address());
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        (server, channel)
    });
    let healthy = CountPointsBuilder::new(C).exact(true);
    let before = resident();
    count_panics();
    let random = prop::collection::vec(any::<u8>(), 0..300);
    fuzz(
        "requests",
        &prop_oneof![5 => mutated(good()), 1 => random],
        |bytes| {
            let (method, body) = bytes.split_first().unwrap_or((&13, &[]));
            let method = METHODS[usize::from(*method) % METHODS.len()];
            let answer = runtime.block_on(call(&channel, method, body.to_vec()));
            if let Err(status) = answer {
                prop_assert!(is_refusal(&status), "{method}: {status:?}");
            }
            prop_assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{}", method);
            let counted = runtime.block_on(server.client.count(healthy.clone()));
            prop_assert!(counted.is_ok(), "{method}: {counted:?}");
            Ok(())
        },
    );
    let grown = resident().saturating_sub(before);
    println!("memory grew by {} KiB", grown >> 10);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
    runtime.block_on(async {
        put(&server.client, vec![point(99, json!({ "user": "after" }))]).await;
        assert_eq!(
            crate::support::stored(&server.client, 99).await["user"],
            "after"
        );
        server.edge.shutdown().await;
    });
}

/// One inside the other, as deep as a message can be and deeper.
fn nested_lists(depth: usize) -> wire::Value {
    let leaf = wire::Value::from(1);
    (0..depth).fold(leaf, |inner, _| wire::Value::from(vec![inner]))
}

fn nested_filters(depth: usize) -> Filter {
    let leaf = Filter::must([Condition::matches("n", 1)]);
    (0..depth).fold(leaf, |inner, _| Filter::must([Condition::from(inner)]))
}

#[tokio::test]
async fn deep_and_wide_requests_are_answered_or_refused() {
    let server = server().await;
    let url = format!("http://{}", server.edge.address());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let before = resident();
    for depth in [1, 20, 40, 90, 120, 5_000] {
        let fields = [("deep".to_owned(), nested_lists(depth))].into();
        let mut upsert = UpsertPointsBuilder::new(C, vec![point(1, json!({}))]).build();
        upsert.points[0].payload = fields;
        let count = CountPointsBuilder::new(C)
            .filter(nested_filters(depth))
            .build();
        for (method, body) in [
            ("Points/Upsert", upsert.encode_to_vec()),
            ("Points/Count", count.encode_to_vec()),
        ] {
            let answer = call(&channel, method, body).await;
            match answer {
                Ok(_) => assert!(depth < 100, "{method} {depth}"),
                Err(status) => assert!(is_refusal(&status), "{method} {depth}: {status:?}"),
            }
        }
    }
    // A field that says that it is longer than the whole message.
    for length in [u64::MAX, 1 << 40, 1 << 31, 65] {
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(length, &mut body);
        body.extend(b"records");
        let status = call(&channel, "Points/Upsert", body).await.unwrap_err();
        assert!(is_refusal(&status), "{status:?}");
    }
    let names: Vec<String> = (0..300_000).map(|number| number.to_string()).collect();
    let wide = Filter::must([Condition::matches("user", names)]);
    let wide = CountPointsBuilder::new(C)
        .filter(wide)
        .build()
        .encode_to_vec();
    let status = call(&channel, "Points/Count", wide).await.unwrap_err();
    assert!(
        status.code() == Code::InvalidArgument && status.message().starts_with("filter"),
        "{status:?}"
    );
    put(&server.client, vec![point(2, json!({}))]).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
}
