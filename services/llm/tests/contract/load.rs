//! Checks of several requests, and of an engine that dies.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};

use super::*;

pub async fn a_dropped_stream_frees_the_engine(make: Make) {
    let subject = make(Limits {
        parallel: 1,
        queue: 1,
        slow: true,
        ..Limits::default()
    })
    .await;
    let mut dropped = start(&subject.model, ask_long()).await;
    first_delta(&mut dropped).await;
    let since = Instant::now();
    for _ in 0..8 {
        first_delta(&mut dropped).await;
    }
    let eight = since.elapsed();
    let waiting = start(&subject.model, ask("Name a bird.", 8)).await;
    let since = Instant::now();
    drop(dropped);
    within("the request behind it", collect(waiting))
        .await
        .unwrap();
    // The rest of the long answer takes 180 times as long as eight of its deltas did.
    let most = eight * 60 + Duration::from_secs(2);
    assert!(
        since.elapsed() < most,
        "{:?}, eight deltas {eight:?}",
        since.elapsed()
    );
}

pub async fn eight_requests_at_once_get_their_own_answers(make: Make) {
    let subject = make(Limits::default()).await;
    let answers = join_all((0..8).map(|number| {
        let model = Arc::clone(&subject.model);
        async move {
            let mut request = ask(&format!("You are number {number}. Answer in JSON."), 40);
            request.schema = Some(json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["number", "word"],
                "properties": {
                    "number": {"const": number},
                    "word": {"type": "string", "maxLength": 8}
                }
            }));
            answer(&model, request).await
        }
    }))
    .await;
    for (number, completion) in answers.iter().enumerate() {
        let value: Value = serde_json::from_str(&completion.text).unwrap();
        assert_eq!(value["number"], json!(number), "answers were mixed up");
    }
}

pub async fn a_full_queue_is_busy(make: Make) {
    let subject = make(Limits {
        parallel: 1,
        queue: 1,
        slow: true,
        ..Limits::default()
    })
    .await;
    let model = &subject.model;
    let mut running = start(model, ask_long()).await;
    first_delta(&mut running).await;
    let waiting = start(model, ask("Name a tree.", 4)).await;
    let error = refusal(model, ask("Name a stone.", 4)).await;
    assert!(matches!(error, EngineError::Busy { limit: 1 }), "{error}");
    assert!(error.is_transient());
    drop(running);
    within("the waiting request", collect(waiting))
        .await
        .unwrap();
    answer(model, ask("Name a stone.", 4)).await;
}

pub async fn a_crashed_engine_fails_the_request_and_recovers(make: Make) {
    let subject = make(Limits {
        slow: true,
        ..Limits::default()
    })
    .await;
    let mut stream = start(&subject.model, ask_long()).await;
    first_delta(&mut stream).await;
    (subject.crash)();
    let error = within("the failure", collect(stream)).await.unwrap_err();
    assert!(
        matches!(error, EngineError::Died(_) | EngineError::Unavailable(_)),
        "{error}"
    );
    assert!(error.is_transient());
    (subject.recover)().await;
    let since = Instant::now();
    loop {
        let tried = match subject.model.chat(ask("Name a fish.", 4)).await {
            Ok(stream) => within("the answer", collect(stream)).await,
            Err(error) => Err(error),
        };
        match tried {
            Ok(_) => return,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                assert!(since.elapsed() < Duration::from_secs(20), "still {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
