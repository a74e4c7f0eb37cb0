//! One trace from the producer's header to the event that tells of the new profile.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use foil_proto::names::{event, header, stream, subject};
use foil_proto::v1::{self, event::Kind};
use foil_tests::{Look, Place};
use futures::StreamExt as _;
use prost::Message as _;

use crate::{ONE_CRITERION, SHORT_DEBOUNCE};

const TENANT: &str = "demo";
const USER: &str = "noor";
const ITEM: &str = "kettle";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const PEERS: [(&str, &str); 3] = [
    (
        "ana",
        "It boils water. It is red. I have nothing else to say about a kettle.",
    ),
    (
        "ben",
        "Oh, what a joy! My mornings sing since it came, truly, and the tea is hot!",
    ),
    (
        "cleo",
        "The lid jams; the handle burns; the switch broke in March, as I had feared.",
    ),
];

async fn publish(look: &Look, user: &str, text: &str, headers: HeaderMap) {
    look.publish([TENANT, user, ITEM], text, headers).await;
}

/// The trace and the span of a message.
fn parent(headers: Option<&HeaderMap>) -> Option<(String, String)> {
    let value = headers?.get(header::TRACEPARENT)?.as_str();
    let mut parts = value.split('-').skip(1).map(str::to_owned);
    Some((parts.next()?, parts.next()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_from_the_update_to_the_profile() {
    let place = Place::new();
    let config = place.file("foil.toml", ONE_CRITERION);
    let config = format!("--config={}", config.display());
    let _up = place
        .up(&[&[config.as_str()], &SHORT_DEBOUNCE[..]].concat())
        .await;
    let look = place.look().await;
    // The peers are there, and the user is asked for: so one update alone is behind the profile.
    for (peer, text) in PEERS {
        publish(&look, peer, text, HeaderMap::new()).await;
    }
    look.all_embedded(Duration::from_secs(20)).await;
    look.until(
        "the item is looked at",
        Duration::from_secs(20),
        async || look.messages(stream::SELECT).await == 0,
    )
    .await;
    let asked = ["context", USER, "--item", ITEM, "--json"];
    let context = place.run(asked).await.succeeded().json();
    assert_eq!(context["context"]["degraded"], "no_history");

    let mut seen = look.nats.subscribe("foil.v1.>").await.unwrap();
    look.nats.flush().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::TRACEPARENT, format!("00-{TRACE}-{SPAN}-01"));
    publish(
        &look,
        USER,
        "I measured it: 1.7 litres in 240 seconds, 61 decibels.",
        headers,
    )
    .await;

    let wanted = subject::event(event::PROFILE_UPDATED, TENANT, USER);
    let mut spans = BTreeMap::new();
    let mut path = Vec::new();
    let update = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(message) = seen.next().await {
            let (trace, span) = parent(message.headers.as_ref())
                .unwrap_or_else(|| panic!("{} has no trace", message.subject));
            assert_eq!(trace, TRACE, "{}", message.subject);
            path.push(message.subject.to_string());
            spans.insert(span, message.subject.to_string());
            if message.subject.as_str() != wanted {
                continue;
            }
            let event = v1::Event::decode(message.payload).unwrap();
            let Some(Kind::ProfileUpdated(update)) = event.kind else {
                panic!("another event");
            };
            // One without the difference may come before it.
            if update.differences > 0 {
                return update;
            }
        }
        panic!("the subscription ended");
    })
    .await
    .expect("the profile is told of");
    assert_eq!((update.strategy.as_str(), update.differences), ("dpl", 1));
    // As stored, not only as sent.
    let events = look.jetstream.get_stream(stream::EVENTS).await.unwrap();
    let stored = events
        .get_last_raw_message_by_subject(&wanted)
        .await
        .unwrap();
    let (trace, span) = parent(Some(&stored.headers)).unwrap();
    assert_eq!(trace, TRACE);
    assert_ne!(span, SPAN, "the profiler has no span of its own");
    for part in [
        subject::update(TENANT, USER),
        subject::select(TENANT, ITEM),
        subject::extract(TENANT, USER, ITEM),
        subject::profile_schedule(TENANT, USER),
        subject::event(event::DIFFERENCE_STORED, TENANT, USER),
    ] {
        assert!(path.contains(&part), "{part} is not in {path:#?}");
    }
    assert!(
        spans.len() >= 4,
        "each stage has a span of its own: {spans:#?}"
    );
    println!("trace id {TRACE}: {}", path.join(" -> "));
}
