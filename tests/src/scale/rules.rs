//! The rule of each stage as the chart renders it, so that the two cannot disagree.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::rule::Rule;
use crate::place::asset;

/// Of each stage, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(BTreeMap<String, StageRules>);

/// Of one stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageRules {
    /// Without a rule.
    replicas: Option<u32>,
    scaled: Option<Rule>,
    /// `<stage>.worker.permits`, where it is not Foil's default.
    permits: Option<usize>,
    /// `llm.parallel`, the same.
    parallel: Option<usize>,
}

impl Rules {
    /// Those of a value file: rendered by real Helm.
    ///
    /// # Panics
    /// When it cannot be rendered.
    pub fn of(values: &str) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(asset("FOIL_TEST_PYTHON"))
            .args(["-m", "chart.rules", values])
            .current_dir(tests)
            .stdin(Stdio::null())
            .output()
            .expect("Python runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "chart.rules {values}: {said}");
        serde_json::from_slice(&output.stdout).expect("the rules are JSON")
    }

    /// The rule of a stage that is scaled.
    pub fn scaled(&self, stage: &str) -> Option<&Rule> {
        self.0.get(stage)?.scaled.as_ref()
    }

    /// How many replicas a stage has to begin with.
    pub fn start(&self, stage: &str) -> u32 {
        let stage = self.0.get(stage);
        stage.map_or(1, |stage| {
            let least = stage.scaled.as_ref().map(|rule| rule.min);
            least.or(stage.replicas).unwrap_or(1)
        })
    }

    pub(super) fn permits(&self) -> BTreeMap<String, usize> {
        let stages = self.0.iter();
        let set = stages.filter_map(|(name, stage)| Some((name.clone(), stage.permits?)));
        set.collect()
    }

    pub(super) fn parallel(&self, stage: &str) -> Option<usize> {
        self.0.get(stage)?.parallel
    }
}
