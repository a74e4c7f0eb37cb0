//! What is compared: a strategy, or one with something changed.

use anyhow::{Result, anyhow, bail};
use foil_extractor::ExtractorConfig;
use foil_generator::{GeneratorConfig, Strategy, Summary};
use foil_profiler::ProfilerConfig;
use foil_runtime::Faults;
use foil_runtime::config::Validate;
use foil_selector::{SelectorConfig, choose};

/// The configuration of the stages whose code runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub selector: SelectorConfig,
    pub extractor: ExtractorConfig,
    pub profiler: ProfilerConfig,
    pub generator: GeneratorConfig,
}

/// One row of the table. Written `STRATEGY[:KEY=VALUE]...`, such as `dpl:selection=random:k=3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// As it was written.
    pub name: String,
    pub strategy: Strategy,
    /// Whether what comparing found is used; without it the evidence alone is.
    pub differences: bool,
    /// Whether what was measured is used.
    pub evidence: bool,
    changes: Vec<(String, String)>,
}

/// Every ablation of the paper, and two of Foil's own (evidence, summary).
const ABLATIONS: [&str; 18] = [
    "dpl:differences=off",
    "dpl:selection=random",
    "dpl:selection=dissimilar",
    "dpl:samples=1",
    "dpl:samples=2",
    "dpl:samples=4",
    "dpl:samples=8",
    "dpl:k=2",
    "dpl:k=3",
    "dpl:k=4",
    "dpl:k=5",
    "dpl:without=writing",
    "dpl:without=emotion",
    "dpl:without=semantics",
    "dpl:evidence=off",
    "dpl:summary=task",
    "dpl:differences=off:evidence=off",
    "dpl:summary=task:samples=4",
];

impl Variant {
    /// Reads a list separated by commas; `table` stands for all seven strategies, `ablations` for
    /// [`ABLATIONS`].
    ///
    /// # Errors
    /// Naming what is unknown, or there twice.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        let mut variants: Vec<Self> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let names: Vec<&str> = match part {
                "table" => Strategy::ALL.map(Strategy::as_str).into(),
                "ablations" => ABLATIONS.into(),
                name => vec![name],
            };
            for name in names {
                let variant = Self::parse(name)?;
                if variants.iter().any(|known| known.name == variant.name) {
                    bail!("strategies: {name} is there twice");
                }
                variants.push(variant);
            }
        }
        if variants.is_empty() {
            bail!("strategies: none is named");
        }
        Ok(variants)
    }

    fn parse(name: &str) -> Result<Self> {
        let mut parts = name.split(':');
        let strategy = parts.next().and_then(Strategy::parse);
        let strategy = strategy.ok_or_else(|| {
            let known = Strategy::ALL.map(Strategy::as_str).join(", ");
            anyhow!("strategies: {name} is unknown; known are table, ablations, {known}")
        })?;
        let mut variant = Self {
            name: name.to_owned(),
            strategy,
            differences: true,
            evidence: true,
            changes: Vec::new(),
        };
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| anyhow!("strategies: {name}: {part} is no KEY=VALUE"))?;
            match (key, value) {
                ("differences", "off") => variant.differences = false,
                ("evidence", "off") => variant.evidence = false,
                _ => variant.changes.push((key.to_owned(), value.to_owned())),
            }
        }
        variant.settings(&Settings::default())?;
        Ok(variant)
    }

    /// `base` with the changes.
    ///
    /// # Errors
    /// Naming the change that cannot be made.
    pub fn settings(&self, base: &Settings) -> Result<Settings> {
        let mut settings = base.clone();
        for (key, value) in &self.changes {
            change(&mut settings, key, value)
                .ok_or_else(|| anyhow!("strategies: {}: {key}={value} is unknown", self.name))?;
        }
        if !self.evidence {
            settings.extractor.facts = 0;
            settings.profiler.facts = 0;
            settings.generator.facts = 0;
        }
        holds(&self.name, "selector", &settings.selector)?;
        holds(&self.name, "extractor", &settings.extractor)?;
        holds(&self.name, "generator", &settings.generator)?;
        Ok(settings)
    }
}

fn change(settings: &mut Settings, key: &str, value: &str) -> Option<()> {
    match key {
        "selection" => {
            settings.selector.strategy = match value {
                "kmeans" => choose::Strategy::Kmeans,
                "dissimilar" => choose::Strategy::Dissimilar,
                "random" => choose::Strategy::Random,
                _ => return None,
            }
        }
        "k" => settings.selector.k = value.parse().ok()?,
        "samples" => settings.generator.key_samples = value.parse().ok()?,
        "summary" => {
            settings.generator.summary = match value {
                "standing" => Summary::Standing,
                "task" => Summary::Task,
                _ => return None,
            }
        }
        "without" => {
            let criteria = &mut settings.extractor.criteria;
            let before = criteria.len();
            criteria.retain(|criterion| criterion.name != value);
            if criteria.len() == before {
                return None;
            }
        }
        _ => return None,
    }
    Some(())
}

fn holds(name: &str, section: &str, config: &impl Validate) -> Result<()> {
    match Faults::of(config).first() {
        Some(fault) => bail!("strategies: {name}: {section}.{fault}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_issue_can_all_be_asked_for() {
        let all = Variant::list("table,ablations").unwrap();
        assert_eq!(all.len(), 7 + ABLATIONS.len());
        assert_eq!(all[0].name, "dpl");
        let without = all
            .iter()
            .find(|v| v.name == "dpl:without=emotion")
            .unwrap();
        let settings = without.settings(&Settings::default()).unwrap();
        let names = settings.extractor.criteria.iter().map(|c| c.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["writing", "semantics"]);
        let blind = all.iter().find(|v| v.name == "dpl:evidence=off").unwrap();
        let settings = blind.settings(&Settings::default()).unwrap();
        let facts = (
            settings.extractor.facts,
            settings.profiler.facts,
            settings.generator.facts,
        );
        assert_eq!((facts, blind.evidence), ((0, 0, 0), false));
    }

    #[test]
    fn changes_add_up() {
        let variants = Variant::list("dpl:selection=random:k=2:samples=1").unwrap();
        let settings = variants[0].settings(&Settings::default()).unwrap();
        assert_eq!(settings.selector.strategy, choose::Strategy::Random);
        assert_eq!(
            (settings.selector.k, settings.generator.key_samples),
            (2, 1)
        );
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, words) in [
            ("best", "best is unknown; known are table, ablations, dpl, "),
            ("dpl:k", "k is no KEY=VALUE"),
            ("dpl:k=many", "k=many is unknown"),
            ("dpl:k=99", "selector.k"),
            ("dpl:luck=1", "luck=1 is unknown"),
            ("dpl:without=luck", "without=luck is unknown"),
            ("dpl,rag,dpl", "dpl is there twice"),
            (" , ", "none is named"),
        ] {
            let error = Variant::list(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
