//! The whole way with every process under its own role, and certificates on both sides of every
//! connection: what the roles may do is enough.

use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, Subscriber};
use foil_generator::Caller;
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{stage, stream, subject, user_key};
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{self, GenerateRequest, SelectWork};
use foil_runtime::nats;
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::Value;

use crate::place::Secured;

const TENANT: &str = "acme";
const ITEM: &str = "kettle 2.0";
const USERS: usize = 6;
const WAIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(60);
/// Above every stage's own count.
const MAX_DELIVER: usize = 6;

/// A stage's process; killed when dropped.
struct Running(&'static str, Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.kill().ok();
        self.1.wait().ok();
    }
}

struct Rig {
    place: Secured,
    model: StubServer,
}

impl Rig {
    fn start(&self, stage: &'static str) -> Running {
        let mut command = self.place.program(&format!("foil-{stage}"), stage);
        let section = match stage {
            stage::EMBEDDER => Some("EMBED"),
            stage::EXTRACTOR | stage::PROFILER | stage::GENERATOR => Some("LLM"),
            _ => None,
        };
        if let Some(section) = section {
            command
                .env(format!("FOIL_{section}__ENGINE"), "openai")
                .env(format!("FOIL_{section}__MODEL"), "stub")
                .env(format!("FOIL_{section}__BASE_URL"), self.model.base_url());
        }
        if [stage::EMBEDDER, stage::SELECTOR, stage::EXTRACTOR].contains(&stage) {
            let key = format!("FOIL_{}__PROFILE_DEBOUNCE", stage.to_uppercase());
            command.env(key, "1s");
        }
        if stage == stage::GENERATOR {
            command.env("FOIL_GENERATOR__REPLY_PREFIX", "_INBOX_caller");
        }
        let log = std::fs::File::create(self.log(stage)).unwrap();
        Running(stage, command.stderr(log).spawn().unwrap())
    }

    fn log(&self, stage: &str) -> std::path::PathBuf {
        self.place.path(&format!("{stage}.log"))
    }

    /// `foil` under a role.
    fn foil(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = self.place.program("foil", user);
        let prefix = crate::place::inbox_prefix(user);
        command.env("FOIL_NATS__INBOX_PREFIX", prefix);
        command.env("FOIL_PROVISION__MAX_DELIVER", MAX_DELIVER.to_string());
        command.args(["--tenant", TENANT, "--json"]).args(arguments);
        command.output().unwrap()
    }

    fn succeeds(&self, user: &str, arguments: &[&str]) -> Value {
        let output = self.foil(user, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn client(&self, user: &str) -> Client {
        let config = self.place.nats(user);
        nats::connect_within(&config, user, WAIT).await.unwrap()
    }

    /// What the servers and the stages complained of.
    fn complaints(&self) -> Vec<String> {
        let logs = stage::ALL.map(|stage| self.log(stage));
        let logs = logs.iter().map(|path| path.as_path());
        let mut found = Vec::new();
        for path in logs.chain([self.place.path("nats.log").as_path()]) {
            found.extend(lines_with(path, "iolation"));
        }
        found
    }
}

fn lines_with(path: &Path, word: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(word));
    lines.map(str::to_owned).collect()
}

async fn publish(client: &Client, subject: String, payload: Vec<u8>) {
    let jetstream = jetstream::new(client.clone());
    let sent = jetstream.publish(subject, payload.into()).await.unwrap();
    sent.await.unwrap();
}

fn record(user: usize) -> v1::Update {
    let record = v1::RecordUpsert {
        user: format!("u{user}"),
        item: ITEM.to_owned(),
        text: format!("The {user}. kettle boils fast, and it howls {user} times."),
        occurred_at_ms: 1_750_000_000_000,
        ..v1::RecordUpsert::default()
    };
    v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(v1::update::Change::RecordUpsert(record)),
    }
}

/// The next event that is `wanted`.
async fn event(events: &mut Subscriber, wanted: &str) {
    let look = async {
        while let Some(message) = events.next().await {
            if message.subject.as_str() == wanted {
                return;
            }
        }
        panic!("no more events");
    };
    let came = tokio::time::timeout(LIMIT, look).await;
    assert!(came.is_ok(), "not within {LIMIT:?}: {wanted}");
}

async fn ask(caller: &Caller, context_only: bool) -> Vec<Part> {
    let request = GenerateRequest {
        tenant: TENANT.to_owned(),
        user: "u0".to_owned(),
        item: ITEM.to_owned(),
        max_tokens: 20,
        wait: context_only,
        context_only,
        ..GenerateRequest::default()
    };
    let parts = caller.generate(request, LIMIT).await.unwrap();
    parts.map(|part| part.unwrap()).collect().await
}

/// A message that no worker settles, until nats gives it up.
async fn neglect(rig: &Rig) {
    let work = SelectWork {
        tenant: TENANT.to_owned(),
        item: "neglected".to_owned(),
    };
    let to = subject::select(TENANT, "neglected");
    publish(&rig.client("operator").await, to, work.encode_to_vec()).await;
    let selector = jetstream::new(rig.client("selector").await);
    let consumer: jetstream::consumer::PullConsumer = selector
        .get_consumer_from_stream(stage::SELECTOR, stream::SELECT)
        .await
        .unwrap();
    // Once more than it is delivered: nats sees that it is over when it is asked again.
    for _ in 0..=MAX_DELIVER {
        let batch = consumer
            .batch()
            .max_messages(1)
            .expires(Duration::from_secs(1));
        let mut messages = batch.messages().await.unwrap();
        while let Some(Ok(message)) = messages.next().await {
            message.ack_with(AckKind::Nak(None)).await.unwrap();
        }
    }
}

/// `foil dead list`, once it has as many.
async fn dead(rig: &Rig, count: usize) -> Vec<Value> {
    let until = Instant::now() + LIMIT;
    loop {
        let listed = rig.succeeds("operator", &["dead", "list"]);
        let letters = listed["letters"].as_array().or(listed.as_array());
        let letters = letters.unwrap().clone();
        if letters.len() == count {
            return letters;
        }
        assert!(Instant::now() < until, "{letters:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_works_under_its_own_role_over_mutual_tls() {
    let rig = Rig {
        place: Secured::start(),
        model: StubServer::start(StubConfig::default()).unwrap(),
    };
    rig.succeeds("operator", &["provision"]);
    let observer = rig.client("observer").await;
    let mut events = observer.subscribe(subject::EVENT_ALL).await.unwrap();
    observer.flush().await.unwrap();

    let mover = rig.start(stage::MOVER);
    neglect(&rig).await;
    let letters = dead(&rig, 1).await;
    assert_eq!(letters[0]["stage"], stage::SELECTOR, "{letters:?}");
    event(&mut events, &subject::event("dead", TENANT, "")).await;
    rig.succeeds("operator", &["dead", "purge", "--stage", "selector"]);
    dead(&rig, 0).await;

    let flow = stage::INPUTS.map(|(stage, _)| rig.start(stage));
    let item = format!(r#"{{"type":"item","id":"{ITEM}","title":"A kettle"}}"#);
    let file = rig.place.path("item.ndjson");
    std::fs::write(&file, item).unwrap();
    rig.succeeds("operator", &["ingest", &file.to_string_lossy()]);
    let producer = rig.client("producer-acme").await;
    for user in 0..USERS {
        let to = subject::update(TENANT, &format!("u{user}"));
        publish(&producer, to, record(user).encode_to_vec()).await;
    }
    let bad = subject::update(TENANT, "bad");
    publish(&producer, bad, b"no update".to_vec()).await;

    served(&rig, &mut events).await;
    let letters = dead(&rig, 1).await;
    assert_eq!(letters[0]["stage"], stage::EMBEDDER, "{letters:?}");
    erased(&rig, &mut events).await;

    for mut running in flow.into_iter().chain([mover]) {
        let pid = running.1.id().to_string();
        let sent = std::process::Command::new("kill").arg(pid).status();
        assert!(sent.unwrap().success());
        let status = running.1.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", running.0);
    }
    let complaints = rig.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

async fn served(rig: &Rig, events: &mut Subscriber) {
    let client = rig.client("caller-acme").await;
    let caller = Caller::new(client.clone());
    let parts = ask(&caller, true).await;
    let Some(Part::Context(context)) = parts.first() else {
        panic!("{parts:?}");
    };
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("dpl", "")
    );
    assert!(context.profile_version >= 1, "{context:?}");
    event(events, &subject::event("difference.stored", TENANT, "u0")).await;
    event(events, &subject::event("profile.updated", TENANT, "u0")).await;
    let parts = ask(&caller, false).await;
    assert!(
        parts.iter().any(|part| matches!(part, Part::Delta(_))),
        "{parts:?}"
    );
    assert!(matches!(parts.last(), Some(Part::Done(_))), "{parts:?}");

    let profile = rig.succeeds("observer", &["profile", "u0", "--history"]);
    assert_eq!(profile[0]["user"], "u0", "{profile}");
    only_its_own_profiles(rig, &client).await;
    no_way_round_by_a_reply(rig, &client).await;
}

/// A server sends its answer to the subject that a request names as its reply, whether or not the client
/// may publish there. Nobody who is apart from Foil reaches another's streams by it.
async fn no_way_round_by_a_reply(rig: &Rig, caller: &Client) {
    let update = subject::update("globex", "v");
    let profile = format!("$KV.FOIL_PROFILES.{}", user_key("globex", "v"));
    let own = format!("$KV.FOIL_PROFILES.{}", user_key(TENANT, "u0"));
    let read = format!("$JS.API.DIRECT.GET.KV_FOIL_PROFILES.{own}");
    let send = async |client: &Client, to: String, payload: Vec<u8>| {
        for reply in [&update, &profile] {
            let sent = client.publish_with_reply(to.clone(), reply.clone(), payload.clone().into());
            sent.await.unwrap();
        }
        client.flush().await.unwrap();
    };
    let operator = jetstream::new(rig.client("operator").await);
    let updates = operator.get_stream(stream::UPDATES).await.unwrap();
    let profiles = operator.get_stream("KV_FOIL_PROFILES").await.unwrap();
    let before = (
        updates.cached_info().state.last_sequence,
        profiles.cached_info().state.last_sequence,
    );
    send(caller, read.clone(), Vec::new()).await;
    send(&rig.client("observer").await, read, Vec::new()).await;
    let producer = rig.client("producer-acme").await;
    let accepted = subject::update(TENANT, "u0");
    send(&producer, accepted, record(0).encode_to_vec()).await;
    // Behind the two that it published itself.
    publish(
        &producer,
        subject::update(TENANT, "u0"),
        record(0).encode_to_vec(),
    )
    .await;
    let after = (
        operator.get_stream(stream::UPDATES).await.unwrap(),
        operator.get_stream("KV_FOIL_PROFILES").await.unwrap(),
    );
    assert_eq!(after.0.cached_info().state.last_sequence, before.0 + 3);
    assert_eq!(after.1.cached_info().state.last_sequence, before.1);
}

/// A caller bound to one tenant cannot turn the request that it may make into another.
async fn only_its_own_profiles(rig: &Rig, client: &Client) {
    let theirs = format!("$KV.FOIL_PROFILES.{}", user_key("globex", "v"));
    let profiler = rig.client("profiler").await;
    publish(&profiler, theirs.clone(), b"of globex".to_vec()).await;
    let own = format!("$KV.FOIL_PROFILES.{}", user_key(TENANT, "u0"));
    let api = format!("$JS.API.DIRECT.GET.KV_FOIL_PROFILES.{own}");
    let answer = client.request(api.clone(), "".into()).await.unwrap();
    assert_eq!(v1::Profile::decode(answer.payload).unwrap().user, "u0");
    for body in [
        format!(r#"{{"last_by_subj":"{theirs}"}}"#),
        format!(r#"{{"next_by_subj":"{theirs}"}}"#),
        format!(r#"{{"multi_last":["{theirs}"]}}"#),
        r#"{"seq":1}"#.to_owned(),
    ] {
        let answer = client.request(api.clone(), body.clone().into()).await;
        let payload = answer.map(|answer| answer.payload).unwrap_or_default();
        let leaked = payload.as_ref() == b"of globex";
        assert!(!leaked, "{body}");
    }
}

async fn erased(rig: &Rig, events: &mut Subscriber) {
    rig.succeeds("operator", &["erase", "u1", "--record", ITEM]);
    event(events, &subject::event("record.erased", TENANT, "u1")).await;
    rig.succeeds("operator", &["erase", "u0"]);
    event(events, &subject::event("user.erased", TENANT, "u0")).await;
    rig.succeeds("operator", &["erase", "--all-of-tenant", TENANT]);
    event(events, &subject::event("tenant.erased", TENANT, "")).await;
    let gone = rig.foil("observer", &["profile", "u0"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let status = rig.succeeds_or_not("operator", &["status"]);
    for part in status["streams"].as_array().unwrap() {
        assert!(part["state"]["messages"].is_u64(), "{part}");
    }
    for part in status["consumers"].as_array().unwrap() {
        assert!(part["lag"]["waiting"].is_u64(), "{part}");
    }
}

impl Rig {
    /// What a verb prints, whatever it makes of it: nobody answers on its admin port.
    fn succeeds_or_not(&self, user: &str, arguments: &[&str]) -> Value {
        let output = self.foil(user, arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }
}
