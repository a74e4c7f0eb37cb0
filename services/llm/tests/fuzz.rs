//! Prompt assembly and trimming under random input. `PROPTEST_CASES` makes it longer.

#![allow(clippy::unwrap_used)]

#[path = "../../../tests/hostile/fuzz.rs"]
mod random;

use foil_llm::prompt::{Fitted, Keep, Part, fit, is_invisible, neutralise, visible};
use foil_llm::statement::{self, CHARS_MAX};
use foil_llm::stub::Scripted;
use foil_llm::{EngineError, LanguageModel};
use proptest::prelude::*;
use random::{fuzz, pieces};

#[test]
fn fuzz_neutralise() {
    fuzz("neutralise", &pieces(), |text| {
        let safe = neutralise(&text);
        prop_assert!(safe.len() <= 3 * text.len() + 3);
        prop_assert!(!safe.chars().any(is_invisible));
        for token in [
            "<|", "</", "<<", "<s", "<i", "[INST]", "[|", "```", "\"\"\"", "---",
        ] {
            prop_assert!(!safe.contains(token), "{token:?} in {safe:?}");
        }
        prop_assert_eq!(neutralise(&safe), safe.as_str());
        prop_assert_eq!(visible(&safe), safe);
        Ok(())
    });
}

#[test]
fn fuzz_statement() {
    let said = (any::<bool>(), pieces()).prop_map(|(about, text)| match about {
        true => format!("{}{text}", statement::SUBJECT),
        false => text,
    });
    fuzz("statement", &said, |said| {
        if let Ok(statement) = statement::check(&said) {
            prop_assert!(statement.starts_with(statement::SUBJECT));
            prop_assert!(statement.chars().count() <= CHARS_MAX);
            let markup = ['<', '>', '{', '}', '\\', '\n'];
            prop_assert!(!statement.contains(markup));
            prop_assert!(!statement.chars().any(is_invisible));
        }
        Ok(())
    });
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = (pieces(), 1..30_usize, any::<bool>()).prop_map(|(text, times, whole)| {
        let text = text.repeat(times);
        match whole {
            true => Part::whole(text),
            false => Part::shorten(text),
        }
    });
    prop::collection::vec(part, 0..12)
}

fn cost(text: &str, model: &dyn LanguageModel) -> u32 {
    match text.is_empty() {
        true => 0,
        false => model.count_tokens(text).unwrap() + 1,
    }
}

fn check_fitted(parts: &[Part], budget: u32, fitted: &Fitted) -> Result<(), TestCaseError> {
    prop_assert!(fitted.tokens <= budget);
    prop_assert_eq!(fitted.texts.len(), parts.len());
    for (part, text) in parts.iter().zip(&fitted.texts) {
        if part.keep == Keep::Whole {
            prop_assert_eq!(&part.text, text);
        }
        let kept = text.strip_suffix(" \u{2026}").unwrap_or(text);
        prop_assert!(part.text.starts_with(kept));
        prop_assert!(text.len() <= part.text.len() + 4);
    }
    Ok(())
}

#[test]
fn fuzz_fit() {
    let model = Scripted::always(String::new());
    fuzz("fit", &(parts(), 0..600_u32), |(parts, budget)| {
        let whole: u32 = parts
            .iter()
            .filter(|part| part.keep == Keep::Whole)
            .map(|part| cost(&part.text, &*model))
            .sum();
        match fit(parts.clone(), budget, &*model) {
            Ok(fitted) => check_fitted(&parts, budget, &fitted)?,
            Err(EngineError::Invalid(why)) => {
                prop_assert!(whole > budget, "{why}");
                prop_assert!(why.starts_with("prompt: "), "{why}");
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
        Ok(())
    });
}
