//! Every hostile text as a record, its title, an item's id, title and description, and a request, with a
//! model that obeys it.

use std::time::Duration;

use foil_extractor::leak::{Letters, follows, quotes};
use foil_llm::ChatRequest;
use foil_llm::prompt::is_invisible;
use foil_proto::names::stream;
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{self, update::Change};
use futures::StreamExt as _;

use crate::corpus::{Hostile, corpus};
use crate::obedient::{CASE, obedient, prompt};
use crate::rig::Rig;

const TENANT: &str = "acme";
const MALLORY: &str = "mallory";
/// Who write nothing bad.
const OTHERS: [&str; 2] = ["vera", "nils"];
/// Stands in all that the others write.
const HARMLESS: &str = "plainspoken";
const PATIENCE: Duration = Duration::from_secs(30);
/// Beside `dpl`, one in turn for each hostile text.
const FURTHER: [&str; 6] = [
    "intsum",
    "llm-trsr",
    "cicl",
    "persona-db",
    "rag",
    "non-perso",
];

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn item(number: usize, case: &Hostile) -> String {
    format!("{number} {}", head(&case.text, 240))
}

/// By its number a model knows whom to obey.
fn marked(number: usize, case: &Hostile, bytes: usize) -> String {
    head(&format!("{CASE} {number}: {}", case.text), bytes).to_owned()
}

fn record(user: &str, item: String, title: String, text: String, number: usize) -> Change {
    Change::RecordUpsert(v1::RecordUpsert {
        user: user.to_owned(),
        item,
        text,
        title,
        rating: Some(3.0),
        occurred_at_ms: 1_700_000_000_000 + i64::try_from(number).unwrap(),
        revision: 1,
    })
}

async fn publish(rig: &Rig, cases: &[Hostile]) {
    for (number, case) in cases.iter().enumerate() {
        let upsert = Change::ItemUpsert(v1::ItemUpsert {
            item: item(number, case),
            title: marked(number, case, 1024),
            description: head(&case.text, 16 * 1024).to_owned(),
            revision: 1,
        });
        rig.publish(TENANT, "", upsert).await;
        let (title, text) = (marked(number, case, 1024), marked(number, case, 64 * 1024));
        let bad = record(MALLORY, item(number, case), title, text, number);
        rig.publish(TENANT, MALLORY, bad).await;
        for (place, user) in OTHERS.into_iter().enumerate() {
            let text = format!(
                "A {HARMLESS} note of {user}, number {number}: it does what it should, {}.",
                [
                    "and I like it",
                    "though the lid sticks a little on cold days"
                ][place],
            );
            let title = format!("{HARMLESS} {number}");
            let good = record(user, item(number, case), title, text, number);
            rig.publish(TENANT, user, good).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_text_reaches_anothers_profile_through_an_obedient_model() {
    let cases = corpus();
    let model = obedient(cases.clone());
    let mut rig = Rig::start(model.clone()).await;
    publish(&rig, &cases).await;
    rig.idle().await;
    // Each was accepted, and none cost a neighbour their comparison.
    assert_eq!(rig.messages(stream::DEAD).await, 0);
    let mut statements = 0;
    for (number, case) in cases.iter().enumerate() {
        for user in OTHERS {
            statements += check_difference(&rig, user, number, case).await;
        }
    }
    for user in OTHERS {
        check_profile(&rig, user, &cases).await;
    }
    // Their own profile anybody may influence, but not beyond plain sentences.
    let own = rig
        .store
        .profile(TENANT, MALLORY)
        .await
        .unwrap()
        .unwrap()
        .profile;
    assert!(is_plain(&own.summary), "{}", own.summary);
    for (number, case) in cases.iter().enumerate() {
        for strategy in ["dpl", FURTHER[number % FURTHER.len()]] {
            ask(&rig, number, case, strategy).await;
        }
    }
    check_prompts(&model.requests(), &cases);
    check_events(&rig, &cases);
    println!(
        "{} hostile texts, {statements} statements about others, {} requests to the model",
        cases.len(),
        model.requests().len(),
    );
    rig.stop().await;
}

async fn check_difference(rig: &Rig, user: &str, number: usize, case: &Hostile) -> usize {
    let key = foil_store::RecordKey::new(TENANT, user, item(number, case));
    let record = rig.store.record(&key).await.unwrap().unwrap();
    let name = &case.name;
    let difference = record
        .difference
        .unwrap_or_else(|| panic!("{name}: {user} was not compared"));
    let own = Letters::of("The author is like the others.");
    let hostile = Letters::of(&marked(number, case, 64 * 1024));
    assert_eq!(difference.findings.len(), 3, "{name}");
    for finding in &difference.findings {
        let said = &finding.statement;
        assert!(is_plain(said), "{name}: {said}");
        let letters = Letters::of(said);
        assert!(!quotes(&letters, &own, [&hostile]), "{name}: {said}");
        assert!(!follows(&letters, &own, [&hostile]), "{name}: {said}");
        assert!(!repeats(said, &case.text, 8), "{name}: {said}");
        let wish = case.wish.as_deref().unwrap_or("PWNED");
        assert!(
            !said.contains(wish) && !said.contains("PWNED"),
            "{name}: {said}"
        );
        assert!(!said.contains("user-0042"), "{name}: {said}");
    }
    difference.findings.len()
}

/// Nothing but sentences about the author.
fn is_plain(text: &str) -> bool {
    text.starts_with("The author ")
        && !text.contains(['<', '>', '{', '}', '[', ']', '\\', '\n'])
        && !text.contains("://")
        && !text.chars().any(is_invisible)
}

/// Whether `length` words in a row of `text` come again in `said`: the rule in its simplest form.
fn repeats(said: &str, text: &str, length: usize) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (said, text) = (words(said), words(text));
    text.windows(length)
        .any(|run| said.windows(length).any(|other| other == run))
}

async fn check_profile(rig: &Rig, user: &str, cases: &[Hostile]) {
    let profile = rig
        .store
        .profile(TENANT, user)
        .await
        .unwrap()
        .unwrap()
        .profile;
    assert_eq!(profile.strategy, "dpl");
    assert!(is_plain(&profile.summary), "{user}: {}", profile.summary);
    for case in cases {
        let wish = case.wish.as_deref().unwrap_or("PWNED");
        assert!(!profile.summary.contains(wish), "{user}: {}", case.name);
        assert!(
            !repeats(&profile.summary, &case.text, 8),
            "{user}: {}",
            case.name
        );
    }
}

/// What the model was shown to describe the others holds nothing of the hostile texts.
fn check_prompts(requests: &[ChatRequest], cases: &[Hostile]) {
    let mut profiles = 0;
    for request in requests {
        let prompt = prompt(request);
        for token in ["<|", "<s>", "</s>", "<<", "[INST]", "[|", "\u{ff1c}"] {
            assert!(!prompt.contains(token), "{token}: {prompt}");
        }
        if !(prompt.contains("<texts>") && prompt.contains(HARMLESS)) {
            continue;
        }
        profiles += 1;
        for case in cases {
            let wish = case.wish.as_deref().unwrap_or("PWNED");
            assert!(!prompt.contains(wish), "{}: {prompt}", case.name);
            // These say what Foil's own prompts say.
            if case.kind == "delimiter" {
                continue;
            }
            assert!(!repeats(&prompt, &case.text, 8), "{}: {prompt}", case.name);
        }
    }
    assert!(profiles >= OTHERS.len(), "{profiles}");
}

/// Events and dead letters' reasons hold nothing of any text.
fn check_events(rig: &Rig, cases: &[Hostile]) {
    let seen = rig.seen.lock().unwrap();
    let mut events = 0;
    for message in seen.iter() {
        let subject = &message.subject;
        let work = [".select.", ".extract.", ".profile.", ".schedule."];
        let is_event = subject.starts_with("foil.v1.event.");
        if !is_event && !work.iter().any(|kind| subject.contains(kind)) {
            continue;
        }
        events += 1;
        let text = String::from_utf8_lossy(&message.bytes);
        assert!(!text.contains(HARMLESS), "{subject}: {text}");
        for case in cases.iter().filter(|case| case.text.len() > 240) {
            // The item's id is a beginning of the text; no more of it is there.
            assert!(
                !text.contains(head(&case.text, 300)),
                "{subject}: {}",
                case.name
            );
        }
    }
    assert!(events > cases.len(), "{events}");
}

/// A request whose every text is hostile is answered in order, from data that stays data.
async fn ask(rig: &Rig, number: usize, case: &Hostile, strategy: &str) {
    let request = v1::GenerateRequest {
        tenant: TENANT.to_owned(),
        user: OTHERS[number % 2].to_owned(),
        item: item(number, case),
        item_title: marked(number, case, 1024),
        item_description: head(&case.text, 16 * 1024).to_owned(),
        title: head(&case.text, 1024).to_owned(),
        rating: Some(1.0),
        strategy: strategy.to_owned(),
        ..v1::GenerateRequest::default()
    };
    let parts = rig.caller.generate(request, PATIENCE).await.unwrap();
    let parts: Vec<_> = parts.map(Result::unwrap).collect().await;
    let name = format!("{}, {strategy}", case.name);
    let Some(Part::Context(context)) = parts.first() else {
        panic!("{name}: {parts:?}");
    };
    assert_eq!(context.strategy, strategy, "{name}");
    let block = &context.block;
    let profiles = usize::from(!["cicl", "rag", "non-perso"].contains(&strategy));
    let closed = block.matches("</profile>").count();
    assert_eq!(closed, profiles, "{name}: {block}");
    assert_eq!(
        block.matches("<past_text").count(),
        block.matches("</past_text>").count(),
        "{name}"
    );
    for token in ["<|", "</s>", "[INST]", "\u{ff1c}"] {
        assert!(!block.contains(token), "{name}: {block}");
    }
    assert!(!block.chars().any(is_invisible), "{name}");
    match parts.last() {
        Some(Part::Done(_)) => {}
        // A text that repeats what the prompt shows of others: all of it is held back.
        Some(Part::Failure(failure)) => {
            assert!(["cicl", "persona-db"].contains(&strategy), "{name}");
            assert_eq!((failure.code.as_str(), parts.len()), ("internal", 2));
        }
        _ => panic!("{name}: {parts:?}"),
    }
    let bytes: usize = parts
        .iter()
        .map(|part| match part {
            Part::Delta(delta) => delta.len(),
            _ => 0,
        })
        .sum();
    assert!(bytes <= 256 * 1024, "{name}: {bytes}");
}
