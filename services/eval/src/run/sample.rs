//! What a run leaves: a line for each text, and all of them together.

use serde::{Deserialize, Serialize};

use super::score::{Attribution, Scores};
use super::world::Tally;
use super::writer::{Costs, Ended};

/// One text, a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub user: String,
    pub item: String,
    /// What was asked for, as it was written on the command line.
    pub strategy: String,
    /// What could be had, and why it is less.
    pub used: String,
    pub degraded: String,
    /// Records of the user before the target.
    pub history: usize,
    /// The context block, as a caller gets it.
    pub context: String,
    /// Who speaks and what, as the model got it.
    pub prompt: Vec<(String, String)>,
    pub output: String,
    /// What the user wrote.
    pub reference: String,
    pub ended: Ended,
    /// Why the engine refused the question, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    #[serde(default)]
    pub tally: Tally,
    pub scores: Scores,
    /// Whose the user's own text looks like: what there is to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Attribution>,
    pub cost: Costs,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub targets: usize,
    /// Engine and model.
    pub model: String,
    pub judge: Option<String>,
    /// The embedding model.
    pub embedder: String,
    /// Answers that were read back.
    pub hits: usize,
    /// Answers that were asked for.
    pub calls: usize,
    /// By target in the order of the draw, then by strategy.
    pub samples: Vec<Sample>,
}
