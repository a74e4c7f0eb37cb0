//! The stage on a real nats-server and the embedded Qdrant; the vectors come from foil-llm's stub.

#![allow(clippy::unwrap_used)]

mod support;

use foil_embedder::EmbedderConfig;
use foil_proto::names::{header, stream, subject};
use foil_proto::v1;
use foil_store::{RecordKey, Written};
use prost::Message as _;
use v1::update::Change;

use support::{Rig, TENANT, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_update_becomes_a_record_and_a_select_token() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let key = RecordKey::new(TENANT, "mara", "café");
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 2)))
        .await;
    let record = rig.store.record(&key).await.unwrap().unwrap();
    assert_eq!(
        (record.revision, record.text.as_str()),
        (2, "mara on café, 2")
    );
    let tokens = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    let subject = subject::select(TENANT, "café");
    let token = tokens.get_last_raw_message_by_subject(&subject);
    let token = token.await.unwrap();
    let work = v1::SelectWork::decode(token.payload.clone()).unwrap();
    assert_eq!((work.tenant.as_str(), work.item.as_str()), (TENANT, "café"));
    assert!(token.headers.get(header::UPDATED_AT).is_some());
    // Nobody asked for this user: no profile is made.
    assert_eq!(rig.count(stream::PROFILE).await, 0);
    let before = rig.model.embedding_calls();
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 1)))
        .await;
    let record = rig.store.record(&key).await.unwrap().unwrap();
    assert_eq!(record.revision, 2);
    // At most the health check called the model in between.
    assert!(rig.model.embedding_calls() <= before + 1);
    rig.store.touch_active(TENANT, "mara").await.unwrap();
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 3)))
        .await;
    assert_eq!(rig.count(stream::PROFILE).await, 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_zero_is_the_time() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 0)))
        .await;
    let record = rig.store.record(&RecordKey::new(TENANT, "mara", "i")).await;
    assert_eq!(record.unwrap().unwrap().revision, 1_700_000_000_000);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_and_an_erased_record_stay_away() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let key = |item| RecordKey::new(TENANT, "mara", item);
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 1)))
        .await;
    let delete = v1::RecordDelete {
        user: "mara".to_owned(),
        item: "i".to_owned(),
        revision: 1,
    };
    rig.send("mara", Change::RecordDelete(delete)).await;
    assert!(rig.store.record(&key("i")).await.unwrap().is_none());
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 1)))
        .await;
    assert!(rig.store.record(&key("i")).await.unwrap().is_none());

    rig.send("mara", Change::RecordUpsert(text("mara", "j", 1)))
        .await;
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    let sequence = rig.send("mara", Change::UserErase(erase)).await;
    assert!(rig.store.record(&key("j")).await.unwrap().is_none());
    let events = rig.jetstream.get_stream(stream::EVENTS).await.unwrap();
    let erased = subject::event("user.erased", TENANT, "mara");
    let event = events
        .get_last_raw_message_by_subject(&erased)
        .await
        .unwrap();
    let event = v1::Event::decode(event.payload).unwrap();
    let Some(v1::event::Kind::UserErased(erased)) = event.kind else {
        panic!("another event");
    };
    assert_eq!((erased.sequence, erased.records), (sequence, 1));
    // What they write later is the user's new beginning.
    let mut later = text("mara", "j", 1);
    later.occurred_at_ms = erased.erased_at_ms + 1;
    rig.send("mara", Change::RecordUpsert(later)).await;
    assert!(rig.store.record(&key("j")).await.unwrap().is_some());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_has_a_profile_that_is_there_looked_at_even_of_a_user_nobody_reads() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let delete = |user: &str| {
        Change::RecordDelete(v1::RecordDelete {
            user: user.to_owned(),
            item: "i".to_owned(),
            revision: 1,
        })
    };
    for user in ["mara", "noor"] {
        let upsert = Change::RecordUpsert(text(user, "i", 1));
        rig.send(user, upsert).await;
    }
    let profile = v1::Profile {
        tenant: TENANT.to_owned(),
        user: "mara".to_owned(),
        version: 1,
        summary: "mara writes in short sentences".to_owned(),
        strategy: "intsum".to_owned(),
        provenance: Some(v1::ProfileProvenance::default()),
        ..v1::Profile::default()
    };
    let written = rig.store.put_profile(&profile, 0).await.unwrap();
    assert_eq!(written, Written::Stored);
    rig.send("noor", delete("noor")).await;
    assert_eq!(rig.count(stream::PROFILE).await, 0);
    rig.send("mara", delete("mara")).await;
    assert_eq!(rig.count(stream::PROFILE).await, 1);
    let tokens = rig.jetstream.get_stream(stream::PROFILE).await.unwrap();
    let token = tokens.get_raw_message(tokens.cached_info().state.last_sequence);
    let work = v1::ProfileWork::decode(token.await.unwrap().payload).unwrap();
    assert_eq!((work.tenant.as_str(), work.user.as_str()), (TENANT, "mara"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_and_opt_outs_are_kept() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let item = v1::ItemUpsert {
        item: "i".to_owned(),
        title: "Tea house".to_owned(),
        description: "A place for tea".to_owned(),
        revision: 1,
    };
    rig.send("", Change::ItemUpsert(item)).await;
    let item = rig.store.item(TENANT, "i").await.unwrap().unwrap();
    assert_eq!(item.title, "Tea house");
    let choice = v1::PeerOptOut {
        user: "mara".to_owned(),
        opted_out: true,
        revision: 1,
    };
    rig.send("mara", Change::PeerOptOut(choice)).await;
    assert!(
        rig.store
            .user_state(TENANT, "mara")
            .await
            .unwrap()
            .opted_out
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_updates_are_dead_lettered_with_their_field_named() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let good = text("mara", "i", 1);
    let with = |change: fn(&mut v1::RecordUpsert)| {
        let mut record = good.clone();
        change(&mut record);
        Some(Change::RecordUpsert(record))
    };
    let cases: Vec<(&str, &str, Option<Change>)> = vec![
        (
            "text: is blank",
            TENANT,
            with(|r| r.text = " \n".to_owned()),
        ),
        (
            "text: 70000 bytes",
            TENANT,
            with(|r| r.text = "x".repeat(70_000)),
        ),
        ("item: is missing", TENANT, with(|r| r.item.clear())),
        (
            "item: 300 bytes",
            TENANT,
            with(|r| r.item = "x".repeat(300)),
        ),
        ("rating: ", TENANT, with(|r| r.rating = Some(f64::NAN))),
        ("occurred_at_ms: ", TENANT, with(|r| r.occurred_at_ms = -1)),
        (
            "occurred_at_ms: ",
            TENANT,
            with(|r| r.occurred_at_ms = i64::MAX),
        ),
        ("change: ", TENANT, None),
        ("tenant: is not the subject's", "other", with(|_| {})),
        (
            "user: is not the subject's",
            TENANT,
            with(|r| r.user = "noor".to_owned()),
        ),
    ];
    for (fault, tenant, change) in cases {
        rig.clear(stream::DEAD).await;
        let update = v1::Update {
            tenant: tenant.to_owned(),
            change,
        };
        rig.publish(subject::update(TENANT, "mara"), &update).await;
        rig.settled().await;
        let dead = rig.jetstream.get_stream(stream::DEAD).await.unwrap();
        let copy = subject::dead("embedder", TENANT);
        let copy = dead.get_last_raw_message_by_subject(&copy).await.unwrap();
        let error = copy.headers.get(header::DEAD_ERROR).unwrap().as_str();
        assert!(error.contains(fault), "{fault}: {error}");
        let reason = copy.headers.get(header::DEAD_REASON).unwrap().as_str();
        assert_eq!(reason, "invalid", "{fault}");
        let events = rig.jetstream.get_stream(stream::EVENTS).await.unwrap();
        let told = subject::event("dead", TENANT, "mara");
        let told = events.get_last_raw_message_by_subject(&told).await.unwrap();
        let told = v1::Event::decode(told.payload).unwrap();
        let Some(v1::event::Kind::Dead(told)) = told.kind else {
            panic!("another event");
        };
        assert_eq!(told.sequence, copy.sequence, "{fault}");
    }
    assert_eq!(rig.count(stream::SELECT).await, 0);
    rig.end().await;
}
