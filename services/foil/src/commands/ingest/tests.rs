use std::time::Duration;

use foil_proto::names::{header, subject};
use foil_proto::{check, v1};
use foil_rig::Qdrant;
use foil_runtime::testing::NatsServer;
use foil_store::{Store, provision};
use prost::Message as _;

use super::*;
use crate::config::FoilConfig;

/// Real servers, with a session on them.
pub(crate) struct Test {
    pub(crate) session: Session,
    _server: NatsServer,
    _qdrant: Option<Qdrant>,
    pub(crate) directory: tempfile::TempDir,
}

async fn start(edge: bool) -> Test {
    let directory = tempfile::tempdir().expect("a directory");
    let server = NatsServer::start(None);
    let mut config = FoilConfig {
        nats: server.config(),
        ..FoilConfig::default()
    };
    // A port that nobody listens on.
    config.admin.listen = ([127, 0, 0, 1], 1).into();
    config.store.qdrant_url = "http://127.0.0.1:1".to_owned();
    let mut running = None;
    if edge {
        let qdrant = Qdrant::start(directory.path()).await;
        config.store.qdrant_url = qdrant.url();
        running = Some(qdrant);
    }
    let nats = server.client().await;
    let store = Store::connect(&config.store, nats.clone())
        .await
        .expect("a store");
    Test {
        session: Session {
            jetstream: async_nats::jetstream::new(nats.clone()),
            nats,
            store,
            tenant: "demo".to_owned(),
            json: false,
            config,
        },
        _server: server,
        _qdrant: running,
        directory,
    }
}

pub(crate) async fn provisioned() -> Test {
    let test = start(true).await;
    let session = &test.session;
    provision::provision(&session.store, &session.config.provision)
        .await
        .expect("provisioned");
    test
}

pub(crate) async fn unprovisioned() -> Test {
    start(false).await
}

fn args(files: &[&Path]) -> IngestArgs {
    IngestArgs {
        files: files.iter().map(|path| path.to_path_buf()).collect(),
        wait: false,
        timeout: Duration::from_secs(3),
    }
}

fn record(user: &str, revision: u64) -> String {
    format!(
        r#"{{"type":"record","user":"{user}","item":"kettle","revision":{revision},"text":"Good."}}"#
    )
}

async fn publish_all(test: &Test, path: &Path) -> Summary {
    let mut summary = Summary::default();
    let mut meter = Meter::new(None);
    publish(&test.session, &[path.to_owned()], &mut meter, &mut summary)
        .await
        .expect("published");
    summary
}

async fn stored(test: &Test, sequence: u64) -> (async_nats::HeaderMap, String, v1::Update) {
    let stream = test.session.jetstream.get_stream(stream::UPDATES).await;
    let message = stream
        .expect("a stream")
        .direct_get(sequence)
        .await
        .expect("a message");
    let update = v1::Update::decode(message.payload).expect("an update");
    (message.headers, message.subject.to_string(), update)
}

#[tokio::test]
async fn faults_are_named_and_the_rest_is_published_once() {
    let test = provisioned().await;
    let file = test.directory.path().join("updates.ndjson");
    let mut bytes = format!("{}\nrubbish\n\n{}\n", record("a", 1), record("b.*", 1)).into_bytes();
    bytes.extend(b"{\"type\":\"user_erase\",\"user\":\"\xff\"}\n");
    bytes.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
    bytes.extend(format!("\n{}", record("c", 1)).bytes());
    std::fs::write(&file, bytes).expect("written");

    let summary = publish_all(&test, &file).await;
    assert_eq!((summary.published, summary.duplicates), (3, 0));
    let places: Vec<_> = summary
        .faults
        .iter()
        .map(|f| (f.line, f.error.as_str()))
        .collect();
    assert_eq!(places[0], (2, "line: not JSON: expected value at column 1"));
    assert_eq!(places[1], (5, "line: invalid UTF-8 at byte 30"));
    assert_eq!(places[2], (6, "line: is longer than 1048576 bytes"));
    assert_eq!(places.len(), 3);
    assert_eq!(summary.faults[0].file, file.display().to_string());

    let (headers, subject, update) = stored(&test, 2).await;
    assert_eq!(subject, subject::update("demo", "b.*"));
    assert_eq!(check::user_of(&update), "b.*");
    assert!(headers.get(header::MESSAGE_ID).is_some());

    let again = publish_all(&test, &file).await;
    assert_eq!((again.published, again.duplicates), (0, 3));
    let code = run(&test.session, &args(&[&file])).await.expect("it ran");
    assert_eq!(code, ExitCode::FAILURE);
}

#[tokio::test]
async fn more_updates_than_the_window_keep_their_order() {
    let test = provisioned().await;
    let file = test.directory.path().join("many.ndjson");
    let mut lines: Vec<_> = (1..=700).map(|n| record("u", n)).collect();
    lines.insert(350, r#"{"type":"user_erase","user":"u"}"#.to_owned());
    std::fs::write(&file, lines.join("\n")).expect("written");
    let summary = publish_all(&test, &file).await;
    assert_eq!((summary.published, summary.fault_count), (701, 0));
    for (sequence, revision) in [(1, 1), (350, 350), (352, 351), (701, 700)] {
        let (_, _, update) = stored(&test, sequence).await;
        let Some(v1::update::Change::RecordUpsert(record)) = update.change else {
            panic!("{sequence} is a record")
        };
        assert_eq!(record.revision, revision);
    }
    // The same erasure may be meant a second time, so it has no id to be known by.
    let (headers, _, update) = stored(&test, 351).await;
    assert!(matches!(
        update.change,
        Some(v1::update::Change::UserErase(_))
    ));
    assert_eq!(headers.get(header::MESSAGE_ID), None);
}

#[tokio::test]
async fn waiting_ends_at_the_timeout_and_when_all_is_done() {
    let test = provisioned().await;
    let session = &test.session;
    let waited = wait::until_done(session, Duration::from_secs(30))
        .await
        .expect("waited");
    assert_eq!(waited.left, None);
    assert!(waited.seconds < 10.0);

    let file = test.directory.path().join("one.ndjson");
    std::fs::write(&file, record("u", 1)).expect("written");
    publish_all(&test, &file).await;
    let ack = session
        .jetstream
        .publish(subject::profile_schedule("demo", "u"), "".into())
        .await;
    ack.expect("sent").await.expect("stored");
    let waited = wait::until_done(session, Duration::from_secs(1))
        .await
        .expect("waited");
    let left = waited.left.expect("something is left");
    assert_eq!(
        (left.records, left.items, left.comparisons, left.profiles),
        (1, 0, 0, 1)
    );
}

#[tokio::test]
async fn what_cannot_be_read_or_stored_is_an_error_before_anything_is_published() {
    let test = unprovisioned().await;
    let file = test.directory.path().join("one.ndjson");
    std::fs::write(&file, record("u", 1)).expect("written");
    let error = run(&test.session, &args(&[&file]))
        .await
        .expect_err("no stream");
    assert!(format!("{error:#}").contains("foil provision"), "{error:#}");
    let missing = test.directory.path().join("missing");
    for path in [missing.as_path(), test.directory.path()] {
        let error = run(&test.session, &args(&[path]))
            .await
            .expect_err("no file");
        assert!(
            format!("{error:#}").contains(&path.display().to_string()),
            "{error:#}"
        );
    }
}

#[tokio::test]
async fn every_update_begins_a_trace() {
    let test = provisioned().await;
    telemetry::init(&TelemetryConfig::default(), "ingest").expect("telemetry");
    let file = test.directory.path().join("two.ndjson");
    std::fs::write(&file, format!("{}\n{}", record("u", 1), record("u", 2))).expect("written");
    publish_all(&test, &file).await;
    let mut traces = Vec::new();
    for sequence in [1, 2] {
        let (headers, ..) = stored(&test, sequence).await;
        let parent = headers.get(header::TRACEPARENT).expect("a trace context");
        traces.push(parent.as_str()[3..35].to_owned());
    }
    assert_ne!(traces[0], traces[1]);
}
