//! Prompts from random texts. `PROPTEST_CASES` makes it longer.

use crate::random::{fuzz, pieces};
use foil_llm::stub::{Scripted, count};
use foil_store::RecordKey;
use proptest::prelude::*;

use super::*;

fn record(user: &str, title: &str, text: &str) -> Record {
    Record {
        title: title.to_owned(),
        rating: Some(3.5),
        ..Record::new(RecordKey::new("acme", user, "kettle"), text)
    }
}

/// The two messages for these texts: title and description of the item, then title and text of each
/// record, the target's last.
fn messages(texts: &[String]) -> Vec<String> {
    let item = Item {
        id: "kettle".to_owned(),
        title: texts[0].clone(),
        description: texts[1].clone(),
        revision: 1,
    };
    let records = texts[2..].chunks_exact(2).enumerate();
    let records: Vec<Record> = records
        .map(|(number, pair)| record(&format!("user-{number}"), &pair[0], &pair[1]))
        .collect();
    let (target, representatives) = records.split_last().expect("a target");
    let comparison = Comparison {
        item: Some(&item),
        representatives,
        target,
        evidence: &[],
    };
    let prompt =
        PromptFile::parse(include_str!("../../prompts/difference.v1.md")).expect("a prompt");
    let model = Scripted::always(String::new());
    let request = comparison.request(&prompt, &ExtractorConfig::default(), &*model, 1.0);
    let request = request.expect("it fits");
    request
        .messages
        .into_iter()
        .map(|message| message.content)
        .collect()
}

/// What must hold whatever the texts are; `others`: how many representatives there are.
fn check(messages: &[String], others: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(messages.len(), 2);
    let user = &messages[1];
    for (tag, times) in [
        ("<other ", others),
        ("</other>", others),
        ("<target ", 1),
        ("</target>", 1),
    ] {
        prop_assert_eq!(user.matches(tag).count(), times, "{}", tag);
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
    prop_assert!(words <= 2048 - 320, "{words} words");
    // Of each token of the budget only so many bytes are looked at.
    prop_assert!(
        user.len() <= 16 * 2048 * (others + 3),
        "{} bytes",
        user.len()
    );
    Ok(())
}

#[test]
fn fuzz_comparison() {
    let text = (pieces(), 1..60_usize).prop_map(|(text, times)| text.repeat(times));
    let texts = prop::collection::vec(text, 12);
    fuzz("comparison", &texts, |texts| check(&messages(&texts), 4));
}

#[test]
fn hostile_texts_stay_between_their_tags_wherever_they_stand() {
    let cases = crate::corpus::corpus();
    for case in &cases {
        let texts = vec![case.text.clone(); 12];
        check(&messages(&texts), 4).unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
    }
    println!("{} hostile texts", cases.len());
}
