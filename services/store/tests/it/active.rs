//! Who was asked for lately.

use std::time::{Duration, Instant};

use crate::support::{Rig, TENANT};

#[tokio::test]
async fn a_user_is_active_for_the_window() {
    let rig = Rig::start().await;
    let store = rig
        .with(|config| config.active_window = Duration::from_secs(2))
        .await;
    assert!(store.touch_active(TENANT, "mara").await.unwrap());
    assert!(!store.touch_active(TENANT, "mara").await.unwrap());
    let active = store.are_active(TENANT, &["mara", "ben"]).await.unwrap();
    assert_eq!(active, ["mara".to_owned()].into());

    // Renewed halfway, so it outlives the first window.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(!store.touch_active(TENANT, "mara").await.unwrap());
    let renewed = Instant::now();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert_eq!(store.are_active(TENANT, &["mara"]).await.unwrap().len(), 1);

    while !store
        .are_active(TENANT, &["mara"])
        .await
        .unwrap()
        .is_empty()
    {
        assert!(renewed.elapsed() < Duration::from_secs(10), "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(renewed.elapsed() >= Duration::from_millis(1_900));
    assert!(store.touch_active(TENANT, "mara").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_learns_that_a_user_was_inactive() {
    let rig = Rig::start().await;
    for round in 0..10 {
        let user = format!("u{round}");
        let calls = (0..12).map(|_| {
            let (store, user) = (rig.store.clone(), user.clone());
            tokio::spawn(async move { store.touch_active(TENANT, &user).await.unwrap() })
        });
        let mut first = 0;
        for call in calls.collect::<Vec<_>>() {
            first += u32::from(call.await.unwrap());
        }
        assert_eq!(first, 1);
    }
}

#[tokio::test]
async fn many_users_are_looked_up_at_once() {
    let rig = Rig::start().await;
    let users: Vec<String> = (0..256).map(|n| format!("u{n}")).collect();
    for user in users.iter().step_by(3) {
        rig.store.touch_active(TENANT, user).await.unwrap();
    }
    let asked: Vec<&str> = users.iter().map(String::as_str).collect();
    let active = rig.store.are_active(TENANT, &asked).await.unwrap();
    let expected = users.iter().step_by(3).cloned().collect();
    assert_eq!(active, expected);
}
