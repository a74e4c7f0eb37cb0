//! `foil eval run` is worth what its prompts are worth: for the same records it asks the model what the
//! stages ask it.

use std::collections::HashSet;
use std::time::Duration;

use foil_llm::stub::{StubConfig, StubServer};
use foil_tests::Place;
use foil_tests::corpus::Corpus;
use serde_json::Value;

use crate::SHORT_DEBOUNCE;

/// Not `persona-db`: what it takes from other users are their profiles, which in `foil eval` rest on their
/// texts alone, while the stages have those of users who were asked for.
const STRATEGIES: [&str; 6] = ["dpl", "intsum", "llm-trsr", "cicl", "rag", "non-perso"];
/// As `foil eval` calls its data: record ids rest on it, and so does what is drawn.
const TENANT: &str = "eval";
const LIMIT: Duration = Duration::from_secs(120);

/// Who writes about what, and how the text is asked for.
struct Target {
    user: String,
    item: String,
    title: String,
    rating: String,
    /// Everything but the text that is held out, as `foil ingest` takes it.
    lines: Vec<String>,
}

fn engines(stub: &StubServer) -> Vec<String> {
    let url = stub.base_url();
    let set = |section: &str| {
        let of = [("engine", "openai"), ("model", "stub"), ("base_url", &url)];
        of.map(|(key, value)| format!("--set={section}.{key}={value}"))
    };
    ["llm", "embed"].into_iter().flat_map(set).collect()
}

fn read(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.path().join(name)).unwrap()
}

/// Prepares the sample corpus, and has the strategies write one text.
async fn evaluated(place: &Place, engines: &[String]) -> Target {
    let at = |name: &str| place.path().join(name).display().to_string();
    let corpus = Corpus::files();
    let [items, users @ ..] = &corpus[..] else {
        panic!("{corpus:?}");
    };
    let mut prepare = ["eval", "prepare", "--preset=small"]
        .map(str::to_owned)
        .to_vec();
    prepare.extend([
        format!("--meta={}", items.display()),
        format!("--out={}", at("prepared")),
    ]);
    prepare.extend(
        users
            .iter()
            .map(|file| format!("--reviews={}", file.display())),
    );
    place.run(prepare).await.succeeded();
    let mut run = engines.to_vec();
    run.extend(["eval", "run", "--limit=1", "--later-peers"].map(str::to_owned));
    run.push(format!("--strategies={}", STRATEGIES.join(",")));
    run.extend([
        format!("--data={}", at("prepared")),
        format!("--out={}", at("out")),
    ]);
    place.run(run).await.succeeded();

    let samples = read(place, "out/samples.jsonl");
    let sample: Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    let of = |key: &str| sample[key].as_str().unwrap().to_owned();
    let (user, item) = (of("user"), of("item"));
    let records = read(place, "prepared/records.ndjson");
    let records = records.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let held_out = record["user"] == *user && record["item"] == *item;
        (line, held_out.then_some(record))
    });
    let (held_out, others): (Vec<_>, Vec<_>) =
        records.partition(|(_, held_out)| held_out.is_some());
    let [(_, Some(record))] = &held_out[..] else {
        panic!("{held_out:?}");
    };
    let items = read(place, "prepared/items.ndjson");
    let lines = items.lines().chain(others.iter().map(|(line, _)| *line));
    let lines = lines.map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["tenant"] = TENANT.into();
        line.to_string()
    });
    Target {
        title: record["title"].as_str().unwrap().to_owned(),
        rating: record["rating"].to_string(),
        lines: lines.collect(),
        user,
        item,
    }
}

/// What of a request makes the answer.
fn question(request: &Value) -> String {
    let parts = ["messages", "max_tokens", "response_format", "stop"];
    let parts = parts.map(|part| request[part].clone());
    serde_json::to_string_pretty(&parts).unwrap()
}

/// The one that is most like it, for whoever must find the difference.
fn nearest<'a>(question: &str, among: &'a HashSet<String>) -> Option<&'a String> {
    let equal = |(a, b): &(u8, u8)| a == b;
    let alike = |other: &&String| {
        let begin = question
            .bytes()
            .zip(other.bytes())
            .take_while(equal)
            .count();
        let (own, others) = (question.bytes().rev(), other.bytes().rev());
        begin + own.zip(others).take_while(equal).count()
    };
    among.iter().max_by_key(alike)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluation_asks_the_model_what_the_stages_ask() {
    let stub = StubServer::start(StubConfig {
        kept: 4_096,
        ..StubConfig::default()
    });
    let stub = stub.unwrap();
    let place = Place::new();
    let engines = engines(&stub);
    let target = evaluated(&place, &engines).await;
    let evaluated = stub.take_requests();

    let settings: Vec<&str> = engines
        .iter()
        .map(String::as_str)
        .chain(SHORT_DEBOUNCE)
        .collect();
    let _up = place.up(&settings).await;
    let file = place.file("known.ndjson", target.lines.join("\n"));
    place.ingest(&[file], LIMIT).await.succeeded();
    let asked = |verb: &str, further: &[&str]| {
        let tenant = format!("--tenant={TENANT}");
        let item = format!("--item={}", target.item);
        let fixed = [&tenant, verb, &target.user, &item, "--timeout=100s"];
        let arguments = fixed.iter().chain(further).map(|&part| part.to_owned());
        arguments.collect::<Vec<String>>()
    };
    // Once the user was asked for, all of their records are compared; then their profile is made.
    let waits = asked("context", &["--wait"]);
    place.run_within(LIMIT, waits).await.succeeded();
    let nothing = place.file("nothing.ndjson", "");
    place.ingest(&[nothing], LIMIT).await.succeeded();
    for strategy in STRATEGIES {
        let title = format!("--title={}", target.title);
        let rating = format!("--rating={}", target.rating);
        let strategy = format!("--strategy={strategy}");
        let text = asked("generate", &[&title, &rating, &strategy]);
        place.run_within(LIMIT, text).await.succeeded();
    }
    let by_stages: HashSet<String> = stub.take_requests().iter().map(question).collect();

    let (mut texts, mut answers) = (0, 0);
    for request in &evaluated {
        let question = question(request);
        assert!(
            by_stages.contains(&question),
            "the stages never asked {question}\nthe nearest: {:?}",
            nearest(&question, &by_stages)
        );
        match request["response_format"].is_null() {
            true => texts += 1,
            false => answers += 1,
        }
    }
    // `intsum` and `llm-trsr` differ in how they sum up, and a stub sums up everything alike: one question.
    assert_eq!(texts, STRATEGIES.len() - 1);
    // Comparisons, the profile, and the summaries of those two.
    assert!(answers > 8, "{answers} answers");
}
