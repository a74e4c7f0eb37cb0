//! Erasing, from the command to the bytes on disk: each text has a word of its own, the model quotes
//! what it reads, and what is erased is then nowhere.

use std::time::Duration;

use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{bucket, collection, stream};
use foil_runtime::testing::files_with;
use foil_store::RecordKey;
use foil_tests::{Look, Place};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::ScrollPointsBuilder;

use crate::{ONE_CRITERION, SHORT_DEBOUNCE};

const TENANT: &str = "demo";
const OTHER: &str = "other";
const USERS: [&str; 4] = ["mara", "ben", "cleo", "dan"];
const OTHER_USERS: [&str; 2] = ["eva", "fay"];
const ITEMS: [&str; 2] = ["kettle", "lamp"];
const PREFIX: &str = "quetzal";
const LIMIT: Duration = Duration::from_secs(120);

/// In the text and the title of this record alone.
fn word(user: &str, item: &str) -> String {
    format!("{PREFIX}{user}{item}")
}

fn lines(tenant: &str, users: &[&str]) -> Vec<String> {
    let line = |user: &str, item: &str| {
        let word = word(user, item);
        format!(
            r#"{{"type":"record","tenant":"{tenant}","user":"{user}","item":"{item}","revision":1,"rating":3,"occurred_at":"2026-03-14T18:20:00Z","title":"On {word}","text":"I say {word} of it, and I say it again."}}"#
        )
    };
    let of = |user| ITEMS.map(|item| line(user, item));
    users.iter().flat_map(|user| of(user)).collect()
}

struct Rig {
    place: Place,
    look: Look,
    qdrant: Qdrant,
    _up: foil_tests::Up,
    _stub: StubServer,
}

impl Rig {
    async fn start() -> Self {
        let place = Place::new();
        let stub = StubServer::start(StubConfig {
            quotes: Some(PREFIX.to_owned()),
            ..StubConfig::default()
        });
        let stub = stub.unwrap();
        let config = place.file("foil.toml", ONE_CRITERION);
        let settings = [
            format!("--config={}", config.display()),
            "--set=llm.engine=openai".to_owned(),
            "--set=llm.model=stub".to_owned(),
            format!("--set=llm.base_url={}", stub.base_url()),
            "--set=selector.compare=eager".to_owned(),
            "--set=embedder.eager=true".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let up = place.up(&[&settings[..], &SHORT_DEBOUNCE].concat()).await;
        let qdrant = Qdrant::from_url(&format!("http://{}", place.qdrant_address()));
        Self {
            look: place.look().await,
            qdrant: qdrant.skip_compatibility_check().build().unwrap(),
            place,
            _up: up,
            _stub: stub,
        }
    }

    /// Publishes and waits until nothing is left to do. The file is gone afterwards.
    async fn ingest(&self, lines: &[String]) {
        let file = self.place.file("lines.ndjson", lines.join("\n"));
        let done = self.place.ingest(std::slice::from_ref(&file), LIMIT).await;
        done.succeeded();
        std::fs::remove_file(file).unwrap();
    }

    /// Runs `foil erase`, and gives its receipt.
    async fn erase(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["erase", "--json"], arguments].concat();
        let output = self.place.run_within(LIMIT, arguments).await.succeeded();
        assert!(!output.stdout.contains(PREFIX), "{output:#?}");
        output.json()
    }

    /// Where the word is, in Qdrant, in the streams, in the buckets.
    async fn places(&self, word: &str) -> Vec<String> {
        let mut found = Vec::new();
        for name in [collection::RECORDS, collection::ITEMS, collection::USERS] {
            let scroll = ScrollPointsBuilder::new(name)
                .limit(1_000)
                .with_payload(true);
            for point in self.qdrant.scroll(scroll).await.unwrap().result {
                if format!("{:?}", point.payload).contains(word) {
                    let user = point.payload.get("user").and_then(|u| u.as_str());
                    found.push(format!("{name} of {user:?}"));
                }
            }
        }
        for (name, subject, payload) in self.messages().await {
            if holds(&payload, word) {
                found.push(format!("{name} {subject}"));
            }
        }
        found
    }

    /// Stream, subject and payload of every message that there is.
    async fn messages(&self) -> Vec<(String, String, Vec<u8>)> {
        let buckets = [bucket::PROFILES, bucket::ACTIVE].map(|name| format!("KV_{name}"));
        let streams = [
            stream::UPDATES,
            stream::SELECT,
            stream::EXTRACT,
            stream::PROFILE,
            stream::GENERATE,
            stream::EVENTS,
            stream::DEAD,
        ];
        let mut found = Vec::new();
        for name in streams.map(str::to_owned).into_iter().chain(buckets) {
            let stream = self.look.jetstream.get_stream(&name).await.unwrap();
            for sequence in 1..=stream.cached_info().state.last_sequence {
                if let Ok(message) = stream.get_raw_message(sequence).await {
                    let subject = message.subject.to_string();
                    found.push((name.clone(), subject, message.payload.to_vec()));
                }
            }
        }
        found
    }

    async fn is_nowhere(&self, word: &str) {
        assert_eq!(self.places(word).await, Vec::<String>::new(), "{word}");
        let files = files_with(self.place.path(), word);
        assert!(files.is_empty(), "{word} is in {files:#?}");
    }

    async fn idle(&self) {
        self.ingest(&[]).await;
    }
}

fn holds(payload: &[u8], word: &str) -> bool {
    let mut windows = payload.windows(word.len());
    windows.any(|window| window == word.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_nowhere_and_nothing_brings_it_back() {
    let rig = Rig::start().await;
    let all = [lines(TENANT, &USERS), lines(OTHER, &OTHER_USERS)].concat();
    rig.ingest(&all).await;
    // The model quotes its peers, so each word is in what was made of others too.
    let told = rig.places(&word("mara", "kettle")).await;
    assert!(
        told.iter()
            .any(|place| place == "foil_records of Some(\"ben\")"),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|p| p == "KV_FOIL_PROFILES $KV.FOIL_PROFILES.demo.ben"),
        "{told:#?}"
    );
    let snapshot = rig.messages().await;

    opts_out(&rig, "dan").await;
    loses_a_record(&rig, "cleo", "lamp").await;
    is_erased(&rig, "mara").await;

    // A restore of the log: what is gone stays gone, in the log too.
    for (name, subject, payload) in snapshot {
        if name == stream::UPDATES {
            let sent = rig.look.jetstream.publish(subject, payload.into()).await;
            sent.unwrap().await.unwrap();
        }
    }
    rig.idle().await;
    for word in [
        word("mara", "kettle"),
        word("mara", "lamp"),
        word("cleo", "lamp"),
    ] {
        assert_eq!(rig.places(&word).await, Vec::<String>::new(), "{word}");
    }
    // What was not erased is there and compared, with the others that are left.
    for (user, item) in [("ben", "kettle"), ("ben", "lamp"), ("cleo", "kettle")] {
        let key = RecordKey::new(TENANT, user, item);
        let record = rig.look.store.record(&key).await.unwrap().unwrap();
        assert!(record.text.contains(&word(user, item)));
    }
    assert!(
        rig.look
            .store
            .profile(TENANT, "ben")
            .await
            .unwrap()
            .is_some()
    );
    a_tenant_goes(&rig).await;
}

async fn opts_out(rig: &Rig, user: &str) {
    let line =
        format!(r#"{{"type":"peer_opt_out","user":"{user}","opted_out":true,"revision":1}}"#);
    rig.ingest(&[line]).await;
    let own = [
        format!("foil_records of Some(\"{user}\")"),
        format!("KV_FOIL_PROFILES $KV.FOIL_PROFILES.demo.{user}"),
        format!("FOIL_UPDATES foil.v1.update.demo.{user}"),
    ];
    for item in ITEMS {
        let places = rig.places(&word(user, item)).await;
        assert!(
            places.contains(&own[0]),
            "their text stays theirs: {places:#?}"
        );
        let of_others: Vec<_> = places.iter().filter(|p| !own.contains(p)).collect();
        assert!(of_others.is_empty(), "{of_others:#?}");
    }
}

async fn loses_a_record(rig: &Rig, user: &str, item: &str) {
    let gone = word(user, item);
    assert!(!files_with(&rig.place.data_dir(), &gone).is_empty());
    let receipt = rig.erase(&[user, "--record", item]).await;
    assert_eq!(
        (receipt["records"].as_u64(), receipt["item"].as_str()),
        (Some(1), Some(item))
    );
    assert_eq!(receipt["messages"]["log"], 1, "{receipt}");
    assert!(receipt["profiles"].as_u64() >= Some(1), "{receipt}");
    assert!(
        receipt["differences_of_others"].as_u64() >= Some(1),
        "{receipt}"
    );
    assert!(
        receipt["profiles_of_others"].as_u64() >= Some(1),
        "{receipt}"
    );
    rig.is_nowhere(&gone).await;
    rig.idle().await;
    rig.is_nowhere(&gone).await;
    let kept = rig.places(&word(user, "kettle")).await;
    assert!(
        kept.contains(&format!("foil_records of Some(\"{user}\")")),
        "{kept:#?}"
    );
}

async fn is_erased(rig: &Rig, user: &str) {
    let receipt = rig.erase(&[user]).await;
    assert_eq!(
        (receipt["user"].as_str(), receipt["records"].as_u64()),
        (Some(user), Some(2))
    );
    assert_eq!(receipt["messages"]["log"], 2, "{receipt}");
    assert!(
        receipt["messages"]["events"].as_u64() >= Some(3),
        "{receipt}"
    );
    assert!(
        receipt["differences_of_others"].as_u64() >= Some(1),
        "{receipt}"
    );
    let compacted = receipt["files"]["compacted"].as_array().unwrap();
    assert_eq!(compacted.len(), 3, "{receipt}");
    let all = format!("{PREFIX}{user}");
    rig.is_nowhere(&all).await;
    rig.idle().await;
    rig.is_nowhere(&all).await;
    let events = stream::EVENTS.to_owned();
    for (name, subject, _) in rig.messages().await {
        let of_user = name == events && subject.ends_with(&format!(".{user}"));
        assert!(!of_user || subject.contains(".user.erased."), "{subject}");
    }
}

async fn a_tenant_goes(rig: &Rig) {
    let all = ["--tenant", OTHER, "--all-of-tenant"];
    let wrong = [&["erase"], &all[..], &["othre"]].concat();
    let refused = rig.place.run(wrong).await;
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("--all-of-tenant: repeats"),
        "{refused:#?}"
    );
    assert!(!rig.places(&word("eva", "kettle")).await.is_empty());

    let receipt = rig.erase(&[&all[..], &[OTHER]].concat()).await;
    assert_eq!(receipt["records"], 4, "{receipt}");
    for user in OTHER_USERS {
        rig.is_nowhere(&format!("{PREFIX}{user}")).await;
    }
    assert!(
        rig.look
            .store
            .profile(TENANT, "ben")
            .await
            .unwrap()
            .is_some()
    );
    let ben = rig.places(&word("ben", "kettle")).await;
    assert!(
        ben.contains(&"foil_records of Some(\"ben\")".to_owned()),
        "{ben:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_not_done_in_time_or_not_at_all_fails_and_says_so() {
    let place = Place::new();
    let up = place.up(&SHORT_DEBOUNCE).await;
    let nothing = ["erase", "mara", "--record", "kettle"];
    let refused = place.run(nothing).await;
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("no such record is stored"),
        "{refused:#?}"
    );

    // A record that has been edited since is not the one that was meant.
    let line = r#"{"type":"record","user":"mara","item":"kettle","revision":7,"text":"It boils."}"#;
    let file = place.file("line.ndjson", line);
    place.ingest(&[file], LIMIT).await.succeeded();
    let old = place
        .run([&nothing[..], &["--revision", "3"]].concat())
        .await;
    assert_eq!(old.code(), Some(1));
    assert!(
        old.stderr.contains("still stored, in the newer revision 7"),
        "{old:#?}"
    );

    // Nobody works on it.
    stop_embedder(&place.look().await).await;
    let late = place.run(["erase", "mara", "--timeout", "2s"]).await;
    assert_eq!(late.code(), Some(1));
    assert!(
        late.stderr.contains("it waits for the embedder"),
        "{late:#?}"
    );
    assert!(up.terminate().await.success());
}

/// Pauses the embedder's consumer.
async fn stop_embedder(look: &Look) {
    let until = std::time::SystemTime::now() + Duration::from_secs(600);
    let stream = look.jetstream.get_stream(stream::UPDATES).await.unwrap();
    let paused = stream.pause_consumer("embedder", until.into()).await;
    assert!(paused.unwrap().paused);
}
