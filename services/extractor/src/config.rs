//! The configuration of the extractor.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use foil_llm::EngineConfig;
use foil_llm::config::require_patience;
use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Tenants, Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

use foil_proto::feature::Feature;

/// Most criteria of a comparison.
const CRITERIA_MAX: usize = 8;
/// Longest name of a criterion, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Longest definition, in bytes.
const DEFINITION_BYTES_MAX: usize = 400;

/// The whole configuration of `foil-extractor`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub llm: EngineConfig,
    pub extractor: ExtractorConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("llm", &self.llm);
        faults.section("extractor", &self.extractor);
        require_patience(faults, &self.llm, "extractor", &self.extractor.worker);
    }
}

impl ServiceConfig for Config {
    fn common(&self) -> Common<'_> {
        Common {
            nats: &self.nats,
            admin: &self.admin,
            telemetry: &self.telemetry,
            shutdown: &self.shutdown,
        }
    }
}

/// One dimension of comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Lower-case letters, digits and `_`; a key of the model's answer.
    pub name: String,
    /// What to compare, for the model.
    pub definition: String,
    /// The measured features that bear on it; see [`foil_proto::feature::FEATURES`].
    #[serde(default)]
    pub features: Vec<String>,
}

/// Section `[extractor]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtractorConfig {
    pub worker: WorkerConfig,
    /// What is compared, in this order.
    pub criteria: Vec<Criterion>,
    /// Most measured facts for each criterion that stand in the prompt: those that differ most. 0: none,
    /// and nothing is said of what was measured.
    pub facts: usize,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Of the first try; 0 is greedy. A second one after unusable output is warmer.
    pub temperature: f32,
    /// Most records of the item that its means rest on.
    pub item_records: usize,
    /// How long a user's profile waits for further differences before it is written anew.
    #[serde(with = "humantime_serde")]
    pub profile_debounce: Duration,
    /// How long an input rests after the model failed. Nothing is pulled until a probe succeeds; this
    /// keeps what was pulled before from using up its attempts.
    #[serde(with = "humantime_serde")]
    pub outage_delay: Duration,
    /// What is different for a tenant, by its id.
    pub tenants: Tenants<TenantConfig>,
}

/// `[extractor.tenants.<id>]`: what is set here goes before `[extractor]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// Names of those of `extractor.criteria` that are compared; their order stays.
    pub criteria: Option<Vec<String>>,
    pub facts: Option<usize>,
}

impl ExtractorConfig {
    /// The section as it is for this tenant.
    pub fn of(&self, tenant: &str) -> Cow<'_, Self> {
        self.tenants.over(tenant, self, |section, own| {
            if let Some(names) = &own.criteria {
                section.criteria.retain(|c| names.contains(&c.name));
            }
            section.facts = own.facts.unwrap_or(section.facts);
        })
    }
}

impl Default for ExtractorConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig {
                permits: 4,
                // Two answers of the engine's default time limit, and the store.
                timeout: Duration::from_secs(270),
                ..WorkerConfig::default()
            },
            criteria: default_criteria(),
            facts: 2,
            max_tokens: 320,
            temperature: 0.0,
            item_records: 256,
            profile_debounce: Duration::from_secs(3),
            outage_delay: Duration::from_secs(15),
            tenants: Tenants::default(),
        }
    }
}

impl Validate for ExtractorConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        check_criteria(&self.criteria, faults);
        check_facts(self.facts, faults);
        self.tenants.validate(faults, |own, faults| {
            if let Some(names) = &own.criteria {
                check_names(names, &self.criteria, faults);
            }
            if let Some(facts) = own.facts {
                check_facts(facts, faults);
            }
        });
        faults.require(
            (32..=4096).contains(&self.max_tokens),
            "max_tokens",
            "is not within 32 and 4096",
        );
        faults.require(
            (0.0..=2.0).contains(&self.temperature),
            "temperature",
            "is not within 0 and 2",
        );
        faults.require(
            (1..=4096).contains(&self.item_records),
            "item_records",
            "is not within 1 and 4096",
        );
        faults.require(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.profile_debounce),
            "profile_debounce",
            "is not within 1 s and 1 h",
        );
        faults.require(
            (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.outage_delay),
            "outage_delay",
            "is not within 100 ms and 10 min",
        );
    }
}

fn check_criteria(criteria: &[Criterion], faults: &mut Faults) {
    faults.require(
        (1..=CRITERIA_MAX).contains(&criteria.len()),
        "criteria",
        "must be 1 to 8",
    );
    let mut names = HashSet::new();
    for criterion in criteria {
        let name = &criterion.name;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            let problem = format_args!("{name:?} is not 1 to 32 of a-z, 0-9 and _");
            faults.add("criteria.name", problem);
        }
        if !names.insert(name) {
            faults.add("criteria.name", format_args!("{name:?} is there twice"));
        }
        let definition = criterion.definition.trim();
        if definition.is_empty() || definition.len() > DEFINITION_BYTES_MAX {
            let problem = format_args!("of {name:?} is not 1 to 400 bytes");
            faults.add("criteria.definition", problem);
        }
        for feature in &criterion.features {
            if Feature::named(feature).is_none() {
                let problem = format_args!("{feature:?} of {name:?} is unknown");
                faults.add("criteria.features", problem);
            }
        }
    }
}

fn check_facts(facts: usize, faults: &mut Faults) {
    faults.require(facts <= 8, "facts", "is above 8");
}

/// A tenant's choice of the section's criteria.
fn check_names(names: &[String], criteria: &[Criterion], faults: &mut Faults) {
    faults.require(!names.is_empty(), "criteria", "names none");
    let mut known = HashSet::new();
    for name in names {
        if !criteria.iter().any(|criterion| criterion.name == *name) {
            let problem = format_args!("{name:?} is none of extractor.criteria");
            faults.add("criteria", problem);
        }
        if !known.insert(name) {
            faults.add("criteria", format_args!("{name:?} is there twice"));
        }
    }
}

/// The three of the paper.
fn default_criteria() -> Vec<Criterion> {
    let criterion = |name: &str, definition: &str, features: &[&str]| Criterion {
        name: name.to_owned(),
        definition: definition.to_owned(),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
    };
    vec![
        criterion(
            "writing",
            "the choice of words and how sentences are built",
            &[
                "words_per_sentence",
                "letters_per_word",
                "punctuation",
                "capitals",
                "reading_ease",
            ],
        ),
        criterion(
            "emotion",
            "whether the tone is positive, negative or neutral, and how strong",
            &["sentiment", "exclamations", "first_person", "rating"],
        ),
        criterion(
            "semantics",
            "how much is said in few words, and how well it hangs together",
            &["words", "lexical_diversity"],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_but_for_the_model() {
        let faults = Faults::of(&Config::default());
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["llm.model"]);
    }

    #[test]
    fn every_fault_of_the_criteria_is_named() {
        let bad = |name: &str, definition: &str, feature: &str| Criterion {
            name: name.to_owned(),
            definition: definition.to_owned(),
            features: vec![feature.to_owned()],
        };
        let config = ExtractorConfig {
            criteria: vec![
                bad("Two Words", " ", "luck"),
                bad("tone", "x", "words"),
                bad("tone", "x", "words"),
            ],
            ..ExtractorConfig::default()
        };
        let faults = Faults::of(&config);
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        let expected = [
            "criteria.name",
            "criteria.definition",
            "criteria.features",
            "criteria.name",
        ];
        assert_eq!(keys, expected, "{faults:?}");
        let none = ExtractorConfig {
            criteria: Vec::new(),
            ..ExtractorConfig::default()
        };
        assert_eq!(Faults::of(&none)[0].key, "criteria");
    }

    fn with_tenants(tenants: serde_json::Value) -> ExtractorConfig {
        let config = serde_json::json!({ "tenants": tenants });
        serde_json::from_value(config).expect("a configuration")
    }

    #[test]
    fn a_tenant_goes_before_the_rest() {
        let config = with_tenants(serde_json::json!({
            "acme": { "criteria": ["semantics", "writing"] },
            "globex": { "facts": 0 },
        }));
        assert!(Faults::of(&config).is_empty());
        let of = |tenant: &str| {
            let section = config.of(tenant);
            let names = section.criteria.iter().map(|c| c.name.as_str());
            (names.collect::<Vec<_>>().join(" "), section.facts)
        };
        assert_eq!(of("acme"), ("writing semantics".to_owned(), 2));
        assert_eq!(of("globex"), ("writing emotion semantics".to_owned(), 0));
        assert_eq!(of("other"), ("writing emotion semantics".to_owned(), 2));
    }

    #[test]
    fn a_fault_names_the_tenant() {
        let config = with_tenants(serde_json::json!({
            "acme": { "criteria": ["luck", "writing", "writing"], "facts": 9 },
            "globex": { "criteria": [] },
        }));
        let faults = Faults::of(&config);
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let expected = [
            "tenants.acme.criteria: \"luck\" is none of extractor.criteria",
            "tenants.acme.criteria: \"writing\" is there twice",
            "tenants.acme.facts: is above 8",
            "tenants.globex.criteria: names none",
        ];
        assert_eq!(faults, expected);
    }
}
