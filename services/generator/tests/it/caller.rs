//! The caller's library, with no generator at the other side.

use std::time::Duration;

use foil_generator::{CallError, Caller};
use foil_proto::v1::GenerateReply;
use foil_proto::v1::generate_reply::Part;
use foil_runtime::testing::NatsServer;
use foil_store::{Limits, ProvisionConfig};
use futures::StreamExt as _;
use prost::Message as _;

use foil_rig::eventually;

use crate::support::*;

#[tokio::test]
async fn a_full_queue_is_busy() {
    let one = Limits {
        max_messages: Some(1),
        ..Limits::default()
    };
    let rig = Rig::bare(ProvisionConfig {
        generate: one,
        ..ProvisionConfig::default()
    })
    .await;
    let taken = rig.caller.generate(request(), PATIENCE).await;
    assert!(taken.is_ok());
    let refused = rig.caller.generate(request(), PATIENCE).await;
    assert!(
        matches!(refused, Err(CallError::Busy)),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn without_a_stream_it_says_what_to_do() {
    let nats = NatsServer::start(None);
    let caller = Caller::new(nats.client().await);
    let Err(error) = caller.generate(request(), PATIENCE).await else {
        panic!("it was taken");
    };
    assert!(error.to_string().contains("foil provision"), "{error}");
}

#[tokio::test]
async fn without_a_generator_the_deadline_ends_it() {
    let rig = Rig::bare(ProvisionConfig::default()).await;
    let short = Duration::from_millis(500);
    let mut parts = rig.caller.generate(request(), short).await.unwrap();
    let end = parts.next().await;
    assert!(matches!(end, Some(Err(CallError::Deadline))), "{end:?}");
    assert!(parts.next().await.is_none());
    // Its message goes with its time to live.
    eventually("the expiry", || async {
        rig.count("FOIL_GENERATE", "foil.v1.generate.>").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_lost_part_is_noticed() {
    let rig = Rig::bare(ProvisionConfig::default()).await;
    let mut parts = rig.caller.generate(request(), PATIENCE).await.unwrap();
    let client = rig.nats.client().await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let requests = jetstream.get_stream("FOIL_GENERATE").await.unwrap();
    let headers = requests.get_raw_message(1).await.unwrap().headers;
    assert_eq!(headers.get("Nats-TTL").unwrap().as_str(), "20");
    let inbox = headers.get("Foil-Reply-To").unwrap().as_str().to_owned();
    for sequence in [0, 2] {
        let reply = GenerateReply {
            sequence,
            part: Some(Part::Delta("x".into())),
        };
        let payload = reply.encode_to_vec().into();
        client.publish(inbox.clone(), payload).await.unwrap();
    }
    assert!(matches!(parts.next().await, Some(Ok(Part::Delta(_)))));
    let lost = parts.next().await;
    assert!(
        matches!(
            lost,
            Some(Err(CallError::Lost {
                expected: 1,
                got: 2
            }))
        ),
        "{lost:?}"
    );
    assert!(parts.next().await.is_none());
}
