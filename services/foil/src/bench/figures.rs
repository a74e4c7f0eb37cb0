//! What is measured: the keys, what they mean, and what they should be.

use clap::builder::{PossibleValue, PossibleValuesParser};

/// One figure.
#[derive(Debug)]
pub struct Figure {
    /// Its name on the command line and its key in the JSON object.
    pub key: &'static str,
    /// What it is, in a line.
    pub meaning: &'static str,
    pub target: Target,
    pub group: Group,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

/// Figures of one group come from one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Overhead,
    Bus,
    Selection,
    Engine,
    Embed,
    Calls,
    Memory,
}

const fn figure(key: &'static str, target: Target, group: Group, meaning: &'static str) -> Figure {
    Figure {
        key,
        meaning,
        target,
        group,
    }
}

/// All of them, in the order in which they are shown.
pub const FIGURES: [Figure; 13] = [
    figure(
        "overhead",
        Target::AtMost(1.15),
        Group::Overhead,
        "2,000 updates end to end, divided by the time that their LLM calls alone take",
    ),
    figure(
        "bus",
        Target::AtLeast(0.5),
        Group::Bus,
        "messages a second of a no-op stage, divided by those of a bare pull-and-double-ack loop",
    ),
    figure(
        "selection_ms",
        Target::AtMost(10.0),
        Group::Selection,
        "milliseconds on one core for the representatives of 256 records of one item",
    ),
    figure(
        "engine_prompt",
        Target::AtLeast(0.95),
        Group::Engine,
        "prompt tokens a second of the llama-cpp adapter, divided by those of a bare loop",
    ),
    figure(
        "engine_decode",
        Target::AtLeast(0.95),
        Group::Engine,
        "generated tokens a second of the llama-cpp adapter, divided by those of a bare loop",
    ),
    figure(
        "engine_parallel",
        Target::AtLeast(1.3),
        Group::Engine,
        "generated tokens a second of four requests at once, divided by those of one",
    ),
    figure(
        "prefix",
        Target::AtMost(0.45),
        Group::Engine,
        "time to read a prompt with two thirds of it cached, divided by that with nothing cached",
    ),
    figure(
        "embed",
        Target::AtLeast(0.95),
        Group::Embed,
        "texts a second of the llama-cpp embedder, divided by those of a bare loop",
    ),
    figure(
        "calls_context",
        Target::Exactly(0.0),
        Group::Calls,
        "LLM calls for a context",
    ),
    figure(
        "calls_generate",
        Target::Exactly(1.0),
        Group::Calls,
        "LLM calls for a generated text",
    ),
    figure(
        "calls_per_difference",
        Target::AtMost(1.0),
        Group::Calls,
        "LLM calls of the extractor, divided by the differences that it stored",
    ),
    figure(
        "profile_calls_burst",
        Target::AtMost(1.0),
        Group::Calls,
        "LLM calls of the profiler for a burst of 50 updates of one user",
    ),
    figure(
        "rss_mb",
        Target::AtMost(1200.0),
        Group::Memory,
        "megabytes resident of `foil up` with both models after the sample corpus",
    ),
];

impl Target {
    /// Whether a value is as it should be.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            // Only counts are meant exactly.
            Self::Exactly(wanted) => (value - wanted).abs() < 1e-9,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
            Self::Exactly(wanted) => write!(f, "{wanted}"),
        }
    }
}

/// Takes the keys, and shows them in the help.
pub fn names() -> PossibleValuesParser {
    let value =
        |f: &Figure| PossibleValue::new(f.key).help(format!("{} ({})", f.meaning, f.target));
    FIGURES.iter().map(value).collect::<Vec<_>>().into()
}

/// The figures with these names; all of them for none.
pub fn wanted(names: &[String]) -> Vec<&'static Figure> {
    let named = |f: &&Figure| names.is_empty() || names.iter().any(|name| name == f.key);
    FIGURES.iter().filter(named).collect()
}

/// The runs that these figures need, each once. Engines go first: what runs later may leave threads
/// behind that a measurement of theirs would meet.
pub fn groups(figures: &[&Figure]) -> Vec<Group> {
    use Group::{Bus, Calls, Embed, Engine, Memory, Overhead, Selection};
    let order = [Engine, Embed, Selection, Bus, Calls, Overhead, Memory];
    let needed = |group: &Group| figures.iter().any(|f| f.group == *group);
    order.into_iter().filter(needed).collect()
}
