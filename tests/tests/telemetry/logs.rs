//! The log: JSON lines with the trace, and no line of INFO for each message.

use std::time::Duration;

use foil_proto::names::{stream, subject};
use serde_json::Value;

use crate::rig::{ITEM, Rig, TENANT, USER, headers, trace_id};

const UPDATES: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_the_trace_and_messages_make_no_noise() {
    let rig = Rig::start(&[]).await;
    let log = rig.place.path().join("up.log");
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(line).collect()
    };
    let before = lines().len();
    for n in 0..UPDATES {
        rig.publish(USER, &format!("{ITEM}-{n}"), "Nothing to say.", None)
            .await;
    }
    rig.look.all_embedded(Duration::from_secs(60)).await;
    rig.quiet().await;
    let noise = &lines()[before..];
    assert!(noise.len() <= UPDATES, "{noise:#?}");

    let id = trace_id(7);
    let to = subject::update(TENANT, USER);
    let payload = "this is no update".into();
    let sent = rig
        .look
        .jetstream
        .publish_with_headers(to, headers(Some(&id)), payload);
    sent.await.unwrap().await.unwrap();
    let buried = async || rig.look.messages(stream::DEAD).await == 1;
    rig.look
        .until("it is buried", Duration::from_secs(20), buried)
        .await;
    let (place, _) = rig.stop().await;

    let text = std::fs::read_to_string(place.path().join("up.log")).unwrap();
    assert!(
        !text.contains("noor") && !text.contains("this is no update"),
        "{text}"
    );
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    for line in &lines {
        let has = |key: &str| line[key].is_string();
        assert!(
            ["timestamp", "level", "target", "message"]
                .iter()
                .all(|k| has(k)),
            "{line}"
        );
    }
    let of_trace: Vec<&Value> = lines
        .iter()
        .filter(|line| line["trace_id"] == *id)
        .collect();
    assert_eq!(of_trace.len(), 1, "{lines:#?}");
    let line = of_trace[0];
    assert_eq!(
        (&line["level"], &line["stage"]),
        (&"ERROR".into(), &"embedder".into())
    );
    assert_eq!(line["message"], "dead-lettered");
    assert_eq!(line["reason"], "undecodable");
}
