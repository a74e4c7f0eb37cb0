//! Hostile texts, before they go into a prompt and after they came out of a model.

#![allow(clippy::unwrap_used)]

#[path = "../../../tests/hostile/corpus.rs"]
mod corpus;

use corpus::corpus;
use foil_llm::prompt::{Part, PromptFile, fit, is_invisible, neutralise};
use foil_llm::statement::{self, CHARS_MAX, SUBJECT};
use foil_llm::stub::{Scripted, count};
use serde_json::json;

/// What opens a control token of some chat template, or closes a tag of Foil's own prompts.
const TOKENS: [&str; 24] = [
    "<|",
    "<\u{ff5c}",
    "<s>",
    "</",
    "<<",
    "<start_of",
    "<end_of",
    "<bos",
    "<eos",
    "<unk",
    "<eoh",
    "<0x",
    "<BOS",
    "<sop",
    "<other",
    "<target",
    "<profile",
    "<item",
    "[INST",
    "[/INST",
    "[|",
    "[UNUSED",
    "[CLS",
    "[gMASK",
];
/// What fences text.
const FENCES: [&str; 5] = ["```", "\"\"\"", "---", "===", "~~~"];

#[test]
fn no_hostile_text_leaves_its_place_in_a_prompt() {
    let cases = corpus();
    for case in &cases {
        let safe = neutralise(&case.text);
        for token in TOKENS.into_iter().chain(FENCES) {
            assert!(!safe.contains(token), "{}: {token:?}", case.name);
        }
        // Some tokenizers make plain letters of full-width ones.
        assert!(!safe.contains(['\u{ff1c}', '\u{fe64}']), "{}", case.name);
        assert!(!safe.chars().any(is_invisible), "{}", case.name);
        assert!(safe.len() <= 3 * case.text.len() + 3, "{}", case.name);
        assert_eq!(neutralise(&safe), safe, "{}", case.name);
        for line in safe.lines() {
            let role = line.split([':', '\u{ff1a}']).next().unwrap();
            let role = role.trim_matches(|c: char| !c.is_alphanumeric());
            let speaks = ["system", "assistant", "user", "developer"].iter();
            let mut speaks = speaks.filter(|name| role.eq_ignore_ascii_case(name));
            let colon = line.contains([':', '\u{ff1a}']);
            assert!(!colon || speaks.next().is_none(), "{}: {line}", case.name);
        }
    }
    println!("{} hostile texts", cases.len());
}

#[test]
fn ten_thousand_marks_become_four() {
    for case in corpus().iter().filter(|case| case.kind == "marks") {
        let safe = neutralise(&case.text);
        assert!(safe.chars().count() < 40, "{}: {}", case.name, safe.len());
    }
}

#[test]
fn a_hostile_text_is_a_value_and_never_a_template() {
    let prompt = PromptFile::parse("version: x\n## item\n<item>\n{{ text }}\n</item>").unwrap();
    for case in corpus() {
        let text = neutralise(&case.text);
        let shown = prompt.render("item", json!({ "text": text })).unwrap();
        assert_eq!(shown, format!("<item>\n{text}\n</item>"), "{}", case.name);
        assert_eq!(shown.matches("</item>").count(), 1, "{}", case.name);
    }
}

#[test]
fn hostile_texts_are_cut_to_the_budget_with_the_rest() {
    let model = Scripted::always(String::new());
    for case in corpus() {
        let text = neutralise(&case.text);
        let parts = vec![
            Part::whole("Say what it is."),
            Part::shorten(text.as_str()),
            Part::shorten("A short and harmless text."),
        ];
        let fitted = fit(parts, 60, &*model).unwrap();
        assert!(fitted.tokens <= 60, "{}: {}", case.name, fitted.tokens);
        assert_eq!(fitted.texts[0], "Say what it is.", "{}", case.name);
        let kept = fitted.texts[1].trim_end_matches(" \u{2026}");
        assert!(text.starts_with(kept), "{}", case.name);
        assert!(count(kept) <= 60, "{}", case.name);
    }
}

/// An engine that obeys instead of decoding by the schema.
#[test]
fn what_an_obedient_model_says_is_a_plain_statement_or_none() {
    let mut refused = 0;
    for case in corpus() {
        let wish = case.wish.as_deref().unwrap_or(&case.text);
        for said in [
            wish.to_owned(),
            format!("{SUBJECT}{}", case.text),
            format!("{SUBJECT}writes: {wish}"),
        ] {
            let Ok(statement) = statement::check(&said) else {
                refused += 1;
                continue;
            };
            let name = &case.name;
            assert!(statement.starts_with(SUBJECT), "{name}: {statement}");
            assert!(statement.chars().count() <= CHARS_MAX, "{name}");
            assert!(statement.len() <= 4 * CHARS_MAX, "{name}");
            assert!(
                !statement.contains(['<', '>', '{', '}', '[', ']', '\\']),
                "{name}"
            );
            assert!(
                !statement.contains('\n') && !statement.contains("://"),
                "{name}"
            );
            assert!(!statement.chars().any(is_invisible), "{name}");
            // Whoever puts it into a prompt puts plain words into it.
            assert_eq!(
                statement::check(&statement).as_deref(),
                Ok(statement.as_str()),
                "{name}"
            );
        }
    }
    assert!(refused > 60, "{refused}");
    println!("{refused} statements refused");
}

#[test]
fn a_requests_limits() {
    use foil_llm::{ChatRequest, Message, Role};
    let message = Message {
        role: Role::User,
        content: "Hello".to_owned(),
    };
    let request = |set: &dyn Fn(&mut ChatRequest)| {
        let mut request = ChatRequest::new(vec![message.clone()], 1);
        set(&mut request);
        request.check()
    };
    for stops in [0, 7, 8] {
        let stop = vec!["x".to_owned(); stops];
        request(&|r| r.stop.clone_from(&stop)).unwrap();
    }
    for (field, set) in [
        (
            "stop",
            &(|r: &mut ChatRequest| r.stop = vec!["x".to_owned(); 9]) as &dyn Fn(&mut ChatRequest),
        ),
        ("stop", &|r| r.stop = vec![String::new()]),
        ("messages", &|r| r.messages.clear()),
        ("max_tokens", &|r| r.max_tokens = 0),
        ("temperature", &|r| r.temperature = -0.1),
        ("temperature", &|r| r.temperature = f32::NAN),
        ("top_p", &|r| r.top_p = 0.0),
        ("top_p", &|r| r.top_p = 1.1),
        ("frequency_penalty", &|r| r.frequency_penalty = 2.1),
        ("frequency_penalty", &|r| r.frequency_penalty = -0.1),
        ("schema", &|r| r.schema = Some(json!([]))),
    ] {
        let fault = request(set).expect_err(field).to_string();
        assert!(fault.contains(&format!("{field}: ")), "{field}: {fault}");
    }
    request(&|r| (r.temperature, r.top_p, r.frequency_penalty) = (2.0, 1.0, 2.0)).unwrap();
}
