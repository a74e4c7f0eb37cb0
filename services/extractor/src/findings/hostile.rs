//! Hostile texts of peers and items, and a model that obeys them.

use crate::corpus::{Hostile, corpus};
use foil_llm::Usage;
use foil_llm::prompt::is_invisible;
use foil_llm::statement::{CHARS_MAX, SUBJECT};

use super::*;
use crate::config::ExtractorConfig;

const FACT: &str = "The author writes far shorter sentences than others.";

fn criteria() -> Vec<Criterion> {
    ExtractorConfig::default().criteria
}

fn said(text: String) -> Completion {
    Completion {
        text,
        finish: Finish::Stop,
        usage: Usage::default(),
    }
}

/// An answer in the schema with this statement for each criterion.
fn everywhere(statement: &str) -> Completion {
    let finding = json!({ "statement": statement, "confidence": 1.0 });
    said(json!({ "writing": finding, "emotion": finding, "semantics": finding }).to_string())
}

fn from_a_peer(case: &Hostile) -> Sources {
    Sources::new([case.text.as_str()], ["A kettle"], [FACT], ["user-0042"])
}

fn from_the_item(case: &Hostile) -> Sources {
    Sources::new([], [case.text.as_str()], [FACT], ["user-0042"])
}

/// What may be stored, whatever was asked for.
fn is_clean(findings: &[v1::Finding]) -> bool {
    let criteria = criteria();
    findings.len() == criteria.len()
        && findings.iter().zip(&criteria).all(|(found, criterion)| {
            let statement = &found.statement;
            found.criterion == criterion.name
                && (0.0..=1.0).contains(&found.confidence)
                && statement.starts_with(SUBJECT)
                && statement.chars().count() <= CHARS_MAX
                && !statement.contains(['<', '>', '{', '}', '\n', '\\'])
                && !statement.chars().any(is_invisible)
        })
}

#[test]
fn a_wish_of_a_peer_or_an_item_is_not_stored_as_a_statement() {
    let cases = corpus();
    let mut wishes = 0;
    for case in &cases {
        let Some(wish) = &case.wish else { continue };
        wishes += 1;
        for sources in [from_a_peer(case), from_the_item(case)] {
            for answer in [
                everywhere(wish),
                everywhere(&wish.to_uppercase().replace("THE AUTHOR ", SUBJECT)),
                everywhere(&wish.replace(' ', "\u{a0}")),
                said(wish.clone()),
            ] {
                let found = check(&answer, &criteria(), &sources);
                assert!(found.is_err(), "{}: {found:?}", case.name);
            }
        }
    }
    assert!(wishes >= 35, "{wishes}");
    println!("{wishes} wishes of {} hostile texts refused", cases.len());
}

#[test]
fn whatever_an_obedient_model_says_is_clean_or_refused() {
    let mut checked = 0;
    for case in corpus() {
        let sources = from_a_peer(&case);
        for statement in [
            case.text.clone(),
            format!("{SUBJECT}{}", case.text),
            format!(
                "{SUBJECT}writes: {}.",
                case.text.chars().rev().collect::<String>()
            ),
            format!("{SUBJECT}is one of few words.{}", case.text),
        ] {
            checked += 1;
            if let Ok(findings) = check(&everywhere(&statement), &criteria(), &sources) {
                assert!(is_clean(&findings), "{}: {findings:?}", case.name);
            }
        }
    }
    println!("{checked} answers checked");
}

#[test]
fn a_peers_words_do_not_leave_in_any_disguise() {
    let mut refused = 0;
    for case in corpus() {
        let words: Vec<&str> = case.text.split_whitespace().take(24).collect();
        if words.len() < 12
            || !words
                .iter()
                .all(|word| word.chars().any(char::is_alphanumeric))
        {
            continue;
        }
        let text = words.join(" ");
        let sources = from_a_peer(&case);
        for disguised in [
            text.clone(),
            text.to_uppercase(),
            text.replace(' ', "_"),
            text.replace(' ', ". "),
            text.replace('a', "\u{430}")
                .replace('o', "\u{3bf}")
                .replace('e', "\u{435}"),
            text.chars().flat_map(|c| [c, '\u{200b}']).collect(),
            text.chars().flat_map(|c| [c, '\u{301}']).collect(),
            text.chars().map(wide).collect(),
        ] {
            refused += 1;
            let answer = everywhere(&format!("{SUBJECT}says: {disguised}"));
            let found = check(&answer, &criteria(), &sources);
            assert!(found.is_err(), "{}: {found:?}", case.name);
        }
    }
    assert!(refused >= 100, "{refused}");
    println!("{refused} quotations refused");
}

fn wide(c: char) -> char {
    match u32::from(c) {
        code @ 0x21..=0x7e => char::from_u32(code + 0xfee0).unwrap_or(c),
        _ => c,
    }
}

#[test]
fn keys_beside_the_schema_carry_nothing() {
    let good = json!({ "statement": FACT, "confidence": 0.5 });
    for case in corpus() {
        let text = case.text.as_str();
        let inner = json!({ "statement": FACT, "confidence": 0.5, "note": text, text: text });
        let findings =
            said(json!({ "writing": inner, "emotion": good, "semantics": good }).to_string());
        let findings = check(&findings, &criteria(), &from_a_peer(&case)).unwrap();
        assert!(
            findings.iter().all(|found| found.statement == FACT),
            "{}",
            case.name
        );
        let outer = json!({ "writing": good, "emotion": good, "semantics": good, "x": text });
        let fault = check(&said(outer.to_string()), &criteria(), &from_a_peer(&case));
        assert_eq!(fault, Err(BadAnswer::Malformed), "{}", case.name);
    }
}

/// What stands in the prompt may be said, even where a hostile peer wrote it first; and no text of a
/// peer's, however odd, keeps a plain statement from being stored.
#[test]
fn no_hostile_text_keeps_an_honest_statement_from_being_stored() {
    for case in corpus() {
        for sources in [from_a_peer(&case), from_the_item(&case)] {
            for honest in [FACT, "The author is sparing with words and dry in tone."] {
                let findings = check(&everywhere(honest), &criteria(), &sources);
                assert!(findings.is_ok(), "{}: {findings:?}", case.name);
            }
        }
    }
}

#[test]
fn a_fault_says_nothing_of_what_was_said() {
    for case in corpus() {
        let secret = format!("{SUBJECT}zebrafish {}", case.text);
        for answer in [everywhere(&secret), said(secret.clone())] {
            if let Err(fault) = check(&answer, &criteria(), &from_a_peer(&case)) {
                let fault = fault.to_string();
                assert!(!fault.contains("zebrafish") && fault.len() < 120, "{fault}");
            }
        }
    }
}
