//! The first request for a user starts the comparison of what they wrote.

use foil_rig::eventually;

use crate::support::*;

#[tokio::test]
async fn the_first_request_for_an_inactive_user_starts_the_work() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    assert_eq!(rig.context(context_request()).await.degraded, "no_peers");
    let select = "foil.v1.select.acme.*";
    eventually("the work", || async {
        rig.count("FOIL_SELECT", select).await == 2
            && rig
                .count("FOIL_PROFILE", "foil.v1.schedule.profile.acme.mara")
                .await
                == 1
    })
    .await;
    assert!(
        rig.store
            .are_active(TENANT, &[USER])
            .await
            .unwrap()
            .contains(USER)
    );

    let jetstream = async_nats::jetstream::new(rig.nats.client().await);
    let stream = jetstream.get_stream("FOIL_SELECT").await.unwrap();
    let before = stream.cached_info().state.last_sequence;
    rig.context(context_request()).await;
    rig.context(context_request()).await;
    let stream = jetstream.get_stream("FOIL_SELECT").await.unwrap();
    assert_eq!(
        stream.cached_info().state.last_sequence,
        before,
        "published again"
    );
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_failed_text_starts_the_work_too() {
    let (rig, stub) = Rig::start().await;
    put_history(&rig.store).await;
    stub.set_mode(foil_llm::stub::Mode::Status(500));
    assert_eq!(
        failure(&rig.ask(request()).await).code,
        "engine_unavailable"
    );
    eventually("the work", || async {
        rig.count("FOIL_SELECT", "foil.v1.select.acme.*").await == 2
    })
    .await;
}

#[tokio::test]
async fn a_user_without_history_starts_nothing() {
    let (rig, _stub) = Rig::start().await;
    rig.context(context_request()).await;
    rig.context(context_request()).await;
    assert_eq!(rig.count("FOIL_SELECT", "foil.v1.select.>").await, 0);
    assert_eq!(rig.count("FOIL_PROFILE", "foil.v1.schedule.>").await, 0);
}
