//! A `foil up` that tells a collector, and what is asked of it.

use std::time::Duration;

use async_nats::HeaderMap;
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{event, header, stream, subject};
use foil_proto::v1::{self, event::Kind, generate_reply::Part};
use foil_tests::{Look, Place, Up};
use futures::StreamExt as _;
use prost::Message as _;

use crate::collector::Collector;

pub const TENANT: &str = "acme";
pub const USER: &str = "noor.el-sayed@example.org";
pub const ITEM: &str = "kettle";
/// A span that is none of Foil's: a producer's, or a caller's.
pub const SPAN: &str = "00f067aa0ba902b7";
const LIMIT: Duration = Duration::from_secs(60);
const PEERS: [(&str, &str); 3] = [
    (
        "ana",
        "It boils water. It is red. I have nothing else to say.",
    ),
    (
        "ben",
        "Oh, what a joy! My mornings sing since it came, truly!",
    ),
    (
        "cleo",
        "The lid jams; the handle burns; the switch broke in March.",
    ),
];

pub struct Rig {
    pub place: Place,
    pub look: Look,
    pub collector: Collector,
    up: Up,
    _llm: Option<StubServer>,
}

impl Rig {
    /// With the LLM's stub behind the HTTP engine, and everything compared as it comes.
    pub async fn start(further: &[&str]) -> Self {
        let llm = StubServer::start(StubConfig::default()).unwrap();
        let url = format!("--set=llm.base_url={}", llm.base_url());
        let stub = [
            url.as_str(),
            "--set=llm.engine=openai",
            "--set=llm.model=stub",
            "--set=llm.context_tokens=8192",
            "--set=selector.compare=eager",
        ];
        Self::run(Some(llm), &[&stub, further].concat()).await
    }

    /// With both models in the process, as `foil up` has them by itself.
    pub async fn start_embedded() -> Self {
        Self::run(None, &[]).await
    }

    /// Records what a producer asks to be recorded, and nothing else: sampling is 0.
    async fn run(llm: Option<StubServer>, further: &[&str]) -> Self {
        let collector = Collector::start().await;
        let place = Place::new();
        let endpoint = format!("--set=telemetry.otlp_endpoint={}", collector.endpoint());
        let fixed = [
            endpoint.as_str(),
            "--set=telemetry.sampling=0",
            "--set=telemetry.log=json",
            "--set=embedder.profile_debounce=2s",
            "--set=selector.profile_debounce=2s",
            "--set=extractor.profile_debounce=2s",
            "--set=mover.lag_every=1s",
        ];
        let up = place.up(&[&fixed, further].concat()).await;
        let look = place.look().await;
        Self {
            place,
            look,
            collector,
            up,
            _llm: llm,
        }
    }

    /// Others wrote about the item, and that is worked through.
    pub async fn peers(&self, item: &str) {
        for (peer, text) in PEERS {
            self.publish(peer, item, text, None).await;
        }
        self.look.all_embedded(LIMIT).await;
        self.quiet().await;
    }

    /// Waits until no stage has anything to do.
    pub async fn quiet(&self) {
        for name in [stream::SELECT, stream::EXTRACT, stream::PROFILE] {
            let empty = async || self.look.messages(name).await == 0;
            self.look.until(name, LIMIT, empty).await;
        }
    }

    pub async fn publish(&self, user: &str, item: &str, text: &str, trace: Option<&str>) {
        let key = [TENANT, user, item];
        self.look.publish(key, text, headers(trace)).await;
    }

    /// The message that tells of the user's profile with so many differences; what `act` does comes
    /// after the subscription.
    pub async fn profile_after(
        &self,
        differences: u32,
        act: impl AsyncFnOnce(),
    ) -> async_nats::Message {
        let wanted = subject::event(event::PROFILE_UPDATED, TENANT, USER);
        let mut events = self.look.nats.subscribe(wanted).await.unwrap();
        self.look.nats.flush().await.unwrap();
        act().await;
        let told = async {
            loop {
                let message = events.next().await.unwrap();
                let event = v1::Event::decode(message.payload.clone()).unwrap();
                match event.kind {
                    Some(Kind::ProfileUpdated(told)) if told.differences == differences => {
                        return message;
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, told).await.unwrap()
    }

    /// Asks for a text for the user; gives the end of the reply.
    pub async fn generate(&self, trace: &str) -> v1::Done {
        let inbox = self.look.nats.new_inbox();
        let mut replies = self.look.nats.subscribe(inbox.clone()).await.unwrap();
        self.look.nats.flush().await.unwrap();
        let deadline = jiff::Timestamp::now().as_millisecond() + 60_000;
        let request = v1::GenerateRequest {
            tenant: TENANT.to_owned(),
            user: USER.to_owned(),
            item: ITEM.to_owned(),
            deadline_ms: deadline,
            ..v1::GenerateRequest::default()
        };
        let mut headers = headers(Some(trace));
        headers.insert(header::REPLY_TO, inbox.as_str());
        headers.insert(header::TTL, "60");
        let to = subject::generate(TENANT, subject::CLASS_INTERACTIVE);
        let bytes = request.encode_to_vec().into();
        let sent = self.look.jetstream.publish_with_headers(to, headers, bytes);
        sent.await.unwrap().await.unwrap();
        let done = async {
            loop {
                let message = replies.next().await.unwrap();
                let reply = v1::GenerateReply::decode(message.payload).unwrap();
                match reply.part.unwrap() {
                    Part::Done(done) => return done,
                    Part::Failure(failure) => panic!("{failure:?}"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, done).await.unwrap()
    }

    /// `/metrics`, as Prometheus would read it.
    pub fn scrape(&self) -> String {
        self.place.metrics()
    }

    /// Ends Foil, which sends all that it has; gives the rest.
    pub async fn stop(self) -> (Place, Collector) {
        assert!(self.up.terminate().await.success());
        (self.place, self.collector)
    }
}

pub fn headers(trace: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(trace) = trace {
        headers.insert(header::TRACEPARENT, format!("00-{trace}-{SPAN}-01"));
    }
    headers
}

/// The trace and the span of a message.
pub fn context(message: &async_nats::Message) -> (String, String) {
    let headers = message.headers.as_ref().unwrap();
    let value = headers.get(header::TRACEPARENT).unwrap().as_str();
    let mut parts = value.split('-').skip(1).map(str::to_owned);
    (parts.next().unwrap(), parts.next().unwrap())
}

/// An id of a trace, for the `n`th of a test.
pub fn trace_id(n: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{n:08x}")
}
