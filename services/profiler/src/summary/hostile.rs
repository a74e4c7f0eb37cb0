//! Hostile and random texts in a summary's prompt, and models that obey them. `PROPTEST_CASES` makes
//! the random part longer.

#[path = "../../../../tests/hostile/corpus.rs"]
mod corpus;
#[path = "../../../../tests/hostile/fuzz.rs"]
mod random;

use foil_llm::Usage;
use foil_llm::prompt::is_invisible;
use foil_llm::stub::{Scripted, count};
use foil_store::RecordKey;
use proptest::prelude::*;
use random::{fuzz, mutated, pieces};

use super::*;

fn record(item: &str, text: &str, statement: &str) -> Record {
    let key = RecordKey::new("acme", "mara", item);
    let finding = |criterion: &str| v1::Finding {
        criterion: criterion.to_owned(),
        statement: statement.to_owned(),
        confidence: 0.5,
    };
    Record {
        title: text.chars().take(64).collect(),
        rating: Some(3.5),
        difference: Some(v1::Difference {
            findings: vec![finding("writing"), finding("emotion")],
            evidence: Vec::new(),
            provenance: None,
        }),
        ..Record::new(key, text)
    }
}

/// The two messages over these texts, each of them a record's text and its statement too.
fn messages(texts: &[String]) -> Vec<String> {
    let records = texts.iter().enumerate();
    let records: Vec<Record> = records
        .map(|(number, text)| record(&format!("item-{number}"), text, text))
        .collect();
    let history = History {
        records: &records,
        evidence: &[],
    };
    let prompt = PromptFile::parse(include_str!("../../prompts/profile.v1.md")).expect("a prompt");
    let model = Scripted::always(String::new());
    let request = history.request(&prompt, &ProfilerConfig::default(), &*model, 1.0);
    let request = request.expect("it fits");
    request
        .messages
        .into_iter()
        .map(|message| message.content)
        .collect()
}

fn is_contained(messages: &[String]) -> Result<(), TestCaseError> {
    prop_assert_eq!(messages.len(), 2);
    let user = &messages[1];
    for tag in ["<texts>", "</texts>", "<differences>", "</differences>"] {
        prop_assert_eq!(user.matches(tag).count(), 1, "{}", tag);
    }
    for token in [
        "<|",
        "<s>",
        "</s>",
        "<<",
        "[INST]",
        "[/INST]",
        "<start_of_turn>",
        "```",
    ] {
        prop_assert!(!user.contains(token), "{token} in {user}");
    }
    let words: usize = messages.iter().map(|message| count(message)).sum();
    prop_assert!(words <= 2048 - 160, "{words} words");
    prop_assert!(user.len() <= 16 * 2048 * 6, "{} bytes", user.len());
    Ok(())
}

#[test]
fn hostile_texts_and_statements_stay_between_their_tags() {
    let cases = corpus::corpus();
    for case in &cases {
        let texts = vec![case.text.clone(); 4];
        is_contained(&messages(&texts)).unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
    }
    println!("{} hostile texts", cases.len());
}

#[test]
fn fuzz_history() {
    let text = (pieces(), 1..60_usize).prop_map(|(text, times)| text.repeat(times));
    // A blank statement has no line.
    let text = text.prop_map(|text| format!("kettle {text}"));
    let texts = prop::collection::vec(text, 1..9);
    fuzz("history", &texts, |texts| is_contained(&messages(&texts)));
}

fn completion(text: String) -> Completion {
    Completion {
        text,
        finish: Finish::Stop,
        usage: Usage::default(),
    }
}

fn criteria() -> Vec<String> {
    ["writing", "tone"].map(str::to_owned).into()
}

fn is_clean(summary: &str) -> bool {
    summary.starts_with(statement::SUBJECT)
        && summary.chars().count() <= 2 * statement::CHARS_MAX + 1
        && !summary.contains(['<', '>', '{', '}', '\\', '\n'])
        && !summary.chars().any(is_invisible)
}

#[test]
fn an_obedient_models_summary_is_clean_or_refused() {
    let mut refused = 0;
    for case in corpus::corpus() {
        let wish = case.wish.unwrap_or_else(|| case.text.clone());
        for said in [
            wish.clone(),
            format!("The author {}", case.text),
            format!("The author says {wish}"),
        ] {
            let answer = json!({ "writing": said, "tone": said, "extra": case.text });
            match check(&completion(answer.to_string()), &criteria()) {
                Ok(summary) => assert!(is_clean(&summary), "{}: {summary}", case.name),
                Err(fault) => {
                    refused += 1;
                    assert!(fault.to_string().starts_with("summary: "), "{fault}");
                    assert!(fault.to_string().len() < 120, "{fault}");
                }
            }
        }
    }
    assert!(refused > 60, "{refused}");
}

#[test]
fn fuzz_summary() {
    let good =
        json!({ "writing": "The author is terse here.", "tone": "The author is dry at times." });
    let almost = mutated(vec![good.to_string().into_bytes()]);
    let almost = almost.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let whole = (pieces(), pieces()).prop_map(|(writing, tone)| {
        json!({ "writing": format!("The author {writing}"), "tone": format!("The author {tone}") }).to_string()
    });
    fuzz("summary", &prop_oneof![almost, whole, pieces()], |text| {
        match check(&completion(text), &criteria()) {
            Ok(summary) => prop_assert!(is_clean(&summary), "{summary}"),
            Err(fault) => {
                let fault = fault.to_string();
                prop_assert!(
                    fault.starts_with("summary: ") && fault.len() < 120,
                    "{fault}"
                );
            }
        }
        Ok(())
    });
}
