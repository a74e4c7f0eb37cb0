//! `foil ingest` of a file that is wrong in places.

use std::time::Duration;

use foil_tests::Place;

const FILE: &str = r#"{"type":"item","id":"kettle","title":"Kettle"}
{"type":"record","user":"ana","item":"kettle","text":"Boils at once.","revision":1}
{"type":"record","user":"ben","item":"kettle","text":17,"revision":1}
{"type":"record","user":"cleo","item":"kettle","text":"Loud.","revision":"one","rating":"five"}
{"type":"record","user":"dan","text":"No item.","revision":1}
not JSON at all
["an","array"]
{"type":"review","user":"eve","item":"kettle","text":"Of no known type.","revision":1}

{"type":"record","user":"fay","item":"kettle","text":"A misspelt key.","revison":1}
{"type":"record","user":"gus","item":"kettle","text":"  ","revision":1}
{"type":"record","user":"hal","item":"kettle","text":"When?","occurred_at":"yesterday","revision":1}
{"type":"record","user":"ida","item":"kettle","text":"Last, and good.","revision":1}
"#;

const FAULTS: [(u32, &[&str]); 9] = [
    (3, &["text: is a number, expected a string"]),
    (
        4,
        &[
            "rating: is a string, expected a number",
            "revision: is a string, expected a whole number",
        ],
    ),
    (5, &["item: is missing"]),
    (6, &["line: not JSON"]),
    (7, &["line: is an array, expected an object"]),
    (8, &["type: is none of record, item"]),
    (10, &["revison: is no key of a line of type record"]),
    (11, &["text: is blank"]),
    (12, &["occurred_at: is no RFC 3339 time"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lines_are_named_and_the_rest_is_ingested() {
    let place = Place::new();
    let _up = place.up(&[]).await;
    let look = place.look().await;
    let path = place.file("wrong.ndjson", FILE).display().to_string();
    let output = place.run(["ingest", "--wait", &path]).await;
    assert_eq!(output.code(), Some(1), "{output:#?}");
    assert!(
        output
            .stdout
            .contains("published 3, duplicates 0, faults 9")
    );
    let told: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.starts_with(&path))
        .collect();
    assert_eq!(told.len(), FAULTS.len(), "{output:#?}");
    for (line, (number, problems)) in told.iter().zip(FAULTS) {
        assert!(line.starts_with(&format!("{path}:{number}: ")), "{line}");
        for problem in problems {
            assert!(line.contains(problem), "{line}");
        }
    }
    look.all_embedded(Duration::from_secs(20)).await;
    for (user, records) in [("ana", 1), ("ida", 1), ("ben", 0), ("cleo", 0), ("hal", 0)] {
        assert_eq!(look.records("demo", user).await.len(), records, "{user}");
    }
    assert_eq!(look.messages("FOIL_DEAD").await, 0);

    // A file that is not there is known before anything of the others is published.
    let before = look.messages("FOIL_UPDATES").await;
    let good = place.file("good.ndjson", FILE.lines().nth(1).unwrap());
    let good = good.display().to_string();
    let missing = place.path().join("missing.ndjson").display().to_string();
    let output = place.run(["ingest", &good, &missing]).await;
    assert_eq!(output.code(), Some(1), "{output:#?}");
    assert!(output.stderr.contains(&missing), "{output:#?}");
    assert_eq!(look.messages("FOIL_UPDATES").await, before);
}
