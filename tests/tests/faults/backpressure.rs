//! A stage that is away slows nobody who does not need it.

use std::time::{Duration, Instant};

use foil_proto::names::{stage, stream};
use foil_tests::fleet::{Fleet, Tuning};

use crate::support::{TENANT, all_embedded, messages, publish_all, records, stop};

const UPDATES: usize = 600;
const DONE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn with_the_profiler_stopped_publishing_and_embedding_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(directory.path(), 1, &Tuning::default()).await;
    let look = fleet.look().await;
    stop(&fleet, stage::PROFILER).await;
    let started = Instant::now();
    publish_all(&look, 0..UPDATES).await;
    println!("{UPDATES} updates published in {:.1?}", started.elapsed());
    all_embedded(&look, DONE).await;
    println!("and embedded after {:.1?}", started.elapsed());
    assert_eq!(records(&look, UPDATES).await, UPDATES as u64);
    look.until("all are compared", DONE, async || {
        messages(&look, stream::SELECT).await + messages(&look, stream::EXTRACT).await == 0
    })
    .await;
    println!("and compared after {:.1?}", started.elapsed());
    assert!(
        look.store
            .profile(TENANT, "user-0")
            .await
            .unwrap()
            .is_none()
    );
    // One for each of 200 users, once their schedules have fired, however often they were asked for.
    look.until("one waits for each user", DONE, async || {
        messages(&look, stream::PROFILE).await == 200
    })
    .await;

    fleet
        .replica(stage::PROFILER, 0)
        .process
        .lock()
        .await
        .start();
    look.until("all profiles are written", DONE, async || {
        messages(&look, stream::PROFILE).await == 0
    })
    .await;
    for user in 0..200 {
        let user = format!("user-{user}");
        let profile = look.store.profile(TENANT, &user).await.unwrap();
        assert!(profile.is_some(), "{user}");
    }
    assert_eq!(messages(&look, stream::DEAD).await, 0);
}
