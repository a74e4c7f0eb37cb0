//! The real `foil` with a real nats-server, the embedded Qdrant and real models, end to end; only `eval`,
//! which is about what a model is asked, has a stub in their place.

#![allow(clippy::unwrap_used)]

mod bad_files;
mod bad_updates;
mod corpus;
mod crash;
mod erase;
mod eval;
mod hostile;
mod pass;
mod start;
mod trace;

/// One criterion instead of three: a third of the model's work for tests that are about something else.
const ONE_CRITERION: &str = r#"
[[extractor.criteria]]
name = "writing"
definition = "the choice of words and how sentences are built"
features = ["words_per_sentence", "punctuation"]
"#;

/// Profiles are written soon, so that tests need not wait for a burst to end.
const SHORT_DEBOUNCE: [&str; 3] = [
    "--set=embedder.profile_debounce=1s",
    "--set=selector.profile_debounce=1s",
    "--set=extractor.profile_debounce=1s",
];
