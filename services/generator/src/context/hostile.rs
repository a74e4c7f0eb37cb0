//! Hostile and random texts in a context block and in the prompt made of it. `PROPTEST_CASES` makes the
//! random part longer.

#[path = "../../../../tests/hostile/corpus.rs"]
mod corpus;
#[path = "../../../../tests/hostile/fuzz.rs"]
mod random;

use foil_llm::prompt::is_invisible;
use foil_llm::stub::{Scripted, count};
use foil_llm::{ChatRequest, Role};
use foil_store::{Record, RecordKey};
use proptest::prelude::{Strategy as _, TestCaseError, prop_assert, prop_assert_eq};
use random::{fuzz, pieces};

use super::*;
use crate::config::GeneratorConfig;
use crate::history::Topic;
use crate::prompt::{Task, compose, file};

const SAMPLES: usize = 3;

/// A user whose texts, titles, items, statements, criteria and summary are all this.
fn known(text: &str) -> Known {
    let short = &text[..text.floor_char_boundary(1024)];
    let difference = v1::Difference {
        findings: vec![v1::Finding {
            criterion: short.to_owned(),
            statement: text.to_owned(),
            confidence: 0.5,
        }],
        evidence: Vec::new(),
        provenance: None,
    };
    let sample = |number: usize| {
        let key = RecordKey::new(
            "acme",
            "mara",
            format!("{number}{}", &short[..short.floor_char_boundary(200)]),
        );
        let record = Record {
            title: short.to_owned(),
            rating: Some(3.5),
            difference: Some(difference.clone()),
            ..Record::new(key, text)
        };
        // One of an item that is not known: its id stands for its title.
        let item_title = if number == 0 {
            String::new()
        } else {
            short.to_owned()
        };
        Sample { record, item_title }
    };
    let profile = v1::Profile {
        tenant: "acme".to_owned(),
        user: "mara".to_owned(),
        version: 1,
        summary: text.to_owned(),
        strategy: "dpl".to_owned(),
        evidence: vec![v1::Evidence {
            feature: short.to_owned(),
            value: 2.0,
            peers_mean: 1.0,
            item_mean: 1.0,
            z_score: 2.0,
        }],
        provenance: None,
    };
    Known {
        profile: Some(profile),
        samples: (0..SAMPLES).map(sample).collect(),
        has_history: true,
        ..Known::default()
    }
}

fn no_token(text: &str) -> Result<(), TestCaseError> {
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
        prop_assert!(!text.contains(token), "{token} in {text}");
    }
    prop_assert!(!text.chars().any(is_invisible));
    Ok(())
}

fn times(text: &str, tags: &[(&str, usize)]) -> Result<(), TestCaseError> {
    for (tag, times) in tags {
        prop_assert_eq!(text.matches(tag).count(), *times, "{} in {}", tag, text);
    }
    Ok(())
}

fn check_block(text: &str) -> Result<Material, TestCaseError> {
    let material = Material::new(Strategy::Dpl, &known(text), &GeneratorConfig::default());
    let block = material
        .render(&file().expect("a prompt"))
        .expect("a block");
    no_token(&block)?;
    times(
        &block,
        &[
            ("<profile>", 1),
            ("</profile>", 1),
            ("<differences ", SAMPLES),
            ("</differences>", SAMPLES),
            ("<past_text ", SAMPLES),
            ("</past_text>", SAMPLES),
        ],
    )?;
    // The limits of its parts, four bytes a character, and the lines between them.
    prop_assert!(
        block.len() <= 4 * (4_000 + SAMPLES * (600 + 600 + 5 * 200)) + 4_000,
        "{}",
        block.len()
    );
    Ok(material)
}

fn check_prompt(text: &str, material: &Material) -> Result<(), TestCaseError> {
    let short = &text[..text.floor_char_boundary(1024)];
    let task = Task {
        topic: Topic {
            item: "kettle".to_owned(),
            item_title: short.to_owned(),
            item_description: text.to_owned(),
            title: short.to_owned(),
        },
        rating: Some(2.0),
        max_tokens: 0,
        temperature: None,
        seed: 1,
    };
    let config = GeneratorConfig::default();
    let model = Scripted::always(String::new());
    let request = compose(
        &file().expect("a prompt"),
        material,
        &task,
        &config,
        &*model,
    );
    let ChatRequest {
        messages,
        max_tokens,
        ..
    } = request.expect("it fits");
    let words: usize = messages.iter().map(|message| count(&message.content)).sum();
    prop_assert!(words <= 2048 - max_tokens as usize, "{words} words");
    for message in &messages {
        no_token(&message.content)?;
        match message.role {
            Role::User => times(&message.content, &[("<item>", 1), ("</item>", 1)])?,
            Role::Assistant => times(&message.content, &[("<item>", 0), ("</", 0)])?,
            Role::System => times(&message.content, &[("</profile>", 1), ("</item>", 0)])?,
        }
    }
    Ok(())
}

#[test]
fn hostile_texts_stay_between_their_tags_wherever_they_stand() {
    let cases = corpus::corpus();
    for case in &cases {
        let checked =
            check_block(&case.text).and_then(|material| check_prompt(&case.text, &material));
        checked.unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
    }
    println!("{} hostile texts", cases.len());
}

#[test]
fn fuzz_context() {
    let text = (pieces(), 1..60_usize).prop_map(|(text, times)| text.repeat(times));
    fuzz("context", &text, |text| {
        let material = check_block(&text)?;
        check_prompt(&text, &material)
    });
}
