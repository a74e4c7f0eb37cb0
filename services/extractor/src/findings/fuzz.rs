//! Answers that are almost JSON, and statements of random pieces. `PROPTEST_CASES` makes it longer.

use crate::random::{fuzz, mutated, pieces};
use foil_llm::Usage;
use foil_llm::statement::{CHARS_MAX, SUBJECT};
use proptest::prelude::*;

use super::*;
use crate::config::ExtractorConfig;
use crate::leak::QUOTED_WORDS;

const PEER: &str = "Every morning the old copper kettle sings to nobody, and my neighbour across the narrow \
    yard complains about it with great and tireless devotion.";

fn criteria() -> Vec<Criterion> {
    ExtractorConfig::default().criteria
}

fn completion(text: String) -> Completion {
    Completion {
        text,
        finish: Finish::Stop,
        usage: Usage::default(),
    }
}

fn sources() -> Sources {
    Sources::new(
        [PEER],
        ["A kettle"],
        ["The author is like the others."],
        ["user-7"],
    )
}

/// Within the schema, and no longer than it allows.
fn is_within(findings: &[v1::Finding]) -> bool {
    let sizes = findings.iter().all(|found| {
        found.statement.chars().count() <= CHARS_MAX && (0.0..=1.0).contains(&found.confidence)
    });
    let names = findings.iter().map(|found| found.criterion.as_str());
    sizes && names.eq(["writing", "emotion", "semantics"])
}

fn name_criterion(fault: &BadAnswer) -> bool {
    let fault = fault.to_string();
    let begins = [
        "writing: ",
        "emotion: ",
        "semantics: ",
        "the answer ",
        "the statements ",
    ];
    begins.iter().any(|begin| fault.starts_with(begin)) && fault.len() < 120
}

fn good() -> Vec<u8> {
    let finding = json!({ "statement": "The author is calm and says so.", "confidence": 0.5 });
    let good = json!({ "writing": finding, "emotion": finding, "semantics": finding });
    good.to_string().into_bytes()
}

#[test]
fn fuzz_answers() {
    let almost =
        mutated(vec![good()]).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let any_json = prop_oneof![
        4 => almost,
        1 => pieces(),
        1 => (0..100_000_usize).prop_map(|deep| "[".repeat(deep)),
        1 => (0..9_u32).prop_map(|zeros| format!("{{\"writing\":1e{}}}", "9".repeat(zeros as usize))),
    ];
    let sources = sources();
    fuzz("answers", &any_json, |text| {
        match check(&completion(text), &criteria(), &sources) {
            Ok(findings) => prop_assert!(is_within(&findings), "{findings:?}"),
            Err(fault) => prop_assert!(name_criterion(&fault), "{fault}"),
        }
        Ok(())
    });
}

#[test]
fn fuzz_statements() {
    let confidence = prop_oneof![any::<f64>(), 0.0..=1.0_f64];
    let values = (
        prop::collection::vec((pieces(), confidence), 3),
        any::<bool>(),
    );
    let sources = sources();
    fuzz("statements", &values, |(said, about)| {
        let start = if about { SUBJECT } else { "" };
        let finding = |index: usize| {
            let (text, confidence) = &said[index];
            json!({ "statement": format!("{start}{text}"), "confidence": confidence })
        };
        let answer =
            json!({ "writing": finding(0), "emotion": finding(1), "semantics": finding(2) });
        match check(&completion(answer.to_string()), &criteria(), &sources) {
            Ok(findings) => prop_assert!(is_within(&findings) && about, "{findings:?}"),
            Err(fault) => prop_assert!(name_criterion(&fault), "{fault}"),
        }
        Ok(())
    });
}

/// Runs of a peer's words between random ones, spelt in random ways: from eight on it is refused, and
/// below that it is not taken for a quotation.
#[test]
fn fuzz_quotations() {
    let words: Vec<&str> = PEER.split_whitespace().collect();
    let run = (0..words.len(), 1..=12_usize);
    let spelling = prop::collection::vec(0..6_u8, 12);
    let sources = sources();
    fuzz(
        "quotations",
        &(run, spelling),
        |((first, length), spelling)| {
            let end = (first + length).min(words.len());
            let taken: Vec<String> = words[first..end]
                .iter()
                .zip(&spelling)
                .map(|(word, how)| spelt(word, *how))
                .collect();
            let statement = format!("{SUBJECT}says \u{201c}{}\u{201d} quietly", taken.join(" "));
            let finding = json!({ "statement": statement, "confidence": 0.5 });
            let answer = json!({ "writing": finding, "emotion": finding, "semantics": finding });
            let found = check(&completion(answer.to_string()), &criteria(), &sources);
            let quoted = matches!(found, Err(BadAnswer::Quotes { .. }));
            // Cut to its length, a statement may hold fewer words than were meant.
            if statement.chars().count() <= CHARS_MAX {
                prop_assert_eq!(quoted, end - first >= QUOTED_WORDS, "{:?}", found);
            }
            Ok(())
        },
    );
}

fn spelt(word: &str, how: u8) -> String {
    match how {
        0 => word.to_owned(),
        1 => word.to_uppercase(),
        2 => word.chars().flat_map(|c| [c, '\u{ad}']).collect(),
        3 => word.chars().flat_map(|c| [c, '\u{308}']).collect(),
        4 => word
            .replace('o', "0")
            .replace('a', "\u{430}")
            .replace('y', "\u{443}"),
        _ => word.chars().flat_map(|c| [c, '\u{2009}']).collect(),
    }
}
