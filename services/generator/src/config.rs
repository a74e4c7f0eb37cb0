//! The configuration of `foil-generator`.

use std::borrow::Cow;
use std::time::Duration;

use foil_llm::EngineConfig;
use foil_proto::check::GENERATE_TOKENS_MAX;
use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Tenants, Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

use crate::strategy::{Strategy, Summary};

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub llm: EngineConfig,
    pub generator: GeneratorConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("llm", &self.llm);
        faults.section("generator", &self.generator);
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

/// `[generator]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratorConfig {
    /// Its `timeout` bounds every request, whatever deadline the caller names.
    pub worker: WorkerConfig,
    /// First tokens of the inboxes that replies may go to. A request that names another subject is
    /// refused: it would have this service publish where its sender may not.
    pub reply_prefix: String,
    /// How a context is built where the request names no strategy.
    pub strategy: Strategy,
    /// Where the summary in a context comes from.
    pub summary: Summary,
    /// What is different for a tenant, by its id.
    pub tenants: Tenants<TenantConfig>,
    /// Newest records of a user that are searched for key samples.
    pub history_max: usize,
    /// Most key samples in a context.
    pub key_samples: usize,
    /// Characters of a key sample's text in the context block; longer ones are shortened.
    pub sample_chars: usize,
    /// Words that a key sample keeps at least where a text is written; rather than cut it further,
    /// comparisons are left out of the prompt, and then key samples, the least first.
    pub sample_words_min: usize,
    /// Characters of the item's description in the prompt; longer ones are shortened.
    pub description_chars: usize,
    /// Most measured facts in a context: those that stand out most.
    pub facts: usize,
    /// Most tokens of each summary that is made for a request.
    pub summary_tokens: u32,
    /// `llm-trsr`: most blocks of five texts that are summed up, the newest ones; each is one call.
    pub history_blocks: usize,
    /// `persona-db`: most similar users whose profiles are used.
    pub similar_users: usize,
    /// Tokens to write where the request names no limit. Never more than half the model's context.
    pub max_tokens: u32,
    /// 0 to 2, where the request names none.
    pub temperature: f32,
    /// Above 0, at most 1.
    pub top_p: f32,
    /// 0 to 2: what keeps a small model from going in circles.
    pub frequency_penalty: f32,
    /// How often a waiting request looks for its profile.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// How long before its deadline a request stops waiting for a profile, so that a text can
    /// still be written; at most half of what was left when it came.
    #[serde(with = "humantime_serde")]
    pub wait_reserve: Duration,
    /// Most items whose comparison the first request for an inactive user starts.
    pub activation_items: usize,
    /// How long after that the user's profile is looked at.
    #[serde(with = "humantime_serde")]
    pub activation_delay: Duration,
}

/// `[generator.tenants.<id>]`: what is set here goes before `[generator]`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    pub strategy: Option<Strategy>,
    pub summary: Option<Summary>,
    pub key_samples: Option<usize>,
    pub facts: Option<usize>,
}

impl GeneratorConfig {
    /// The section as it is for this tenant.
    pub fn of(&self, tenant: &str) -> Cow<'_, Self> {
        self.tenants.over(tenant, self, |section, own| {
            section.strategy = own.strategy.unwrap_or(section.strategy);
            section.summary = own.summary.unwrap_or(section.summary);
            section.key_samples = own.key_samples.unwrap_or(section.key_samples);
            section.facts = own.facts.unwrap_or(section.facts);
        })
    }

    /// How a context is built for a request that names this strategy, or none.
    pub fn how(&self, asked: &str) -> (Strategy, Summary) {
        let strategy = Strategy::parse(asked).unwrap_or(self.strategy);
        (strategy, self.summary)
    }
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig {
                timeout: Duration::from_secs(120),
                ..WorkerConfig::default()
            },
            reply_prefix: "_INBOX".to_owned(),
            strategy: Strategy::default(),
            summary: Summary::default(),
            tenants: Tenants::default(),
            history_max: 512,
            key_samples: 8,
            sample_chars: 600,
            sample_words_min: 40,
            description_chars: 1_200,
            facts: 6,
            summary_tokens: 150,
            history_blocks: 4,
            similar_users: 2,
            max_tokens: 384,
            temperature: 0.5,
            top_p: 0.95,
            frequency_penalty: 0.8,
            poll: Duration::from_millis(250),
            wait_reserve: Duration::from_secs(10),
            activation_items: 256,
            activation_delay: Duration::from_secs(10),
        }
    }
}

impl Validate for GeneratorConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        let token = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
        faults.require(
            !self.reply_prefix.split('.').any(str::is_empty)
                && self.reply_prefix.chars().all(token)
                && !self.reply_prefix.starts_with("foil.")
                && !self.reply_prefix.starts_with('$'),
            "reply_prefix",
            "is no prefix of inboxes, such as _INBOX",
        );
        for (key, value, most) in [
            ("history_max", self.history_max, 8_192),
            ("sample_chars", self.sample_chars, 8_000),
            ("description_chars", self.description_chars, 16_384),
            ("activation_items", self.activation_items, 4_096),
            ("history_blocks", self.history_blocks, 16),
        ] {
            let problem = format!("is not within 1 and {most}");
            faults.require((1..=most).contains(&value), key, &problem);
        }
        for (key, value, most) in [
            ("sample_words_min", self.sample_words_min, 400),
            ("similar_users", self.similar_users, 8),
        ] {
            faults.require(value <= most, key, format_args!("is above {most}"));
        }
        check_own(Some(self.key_samples), Some(self.facts), faults);
        self.tenants.validate(faults, |own, faults| {
            check_own(own.key_samples, own.facts, faults);
        });
        faults.require(
            (64..=1024).contains(&self.summary_tokens),
            "summary_tokens",
            "is not within 64 and 1024",
        );
        faults.require(
            (1..=GENERATE_TOKENS_MAX).contains(&self.max_tokens),
            "max_tokens",
            "is not within 1 and 2048",
        );
        for (key, value) in [
            ("temperature", self.temperature),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            faults.require((0.0..=2.0).contains(&value), key, "is not within 0 and 2");
        }
        faults.require(
            self.top_p > 0.0 && self.top_p <= 1.0,
            "top_p",
            "is not above 0 and at most 1",
        );
        faults.require(
            (Duration::from_millis(10)..=Duration::from_secs(10)).contains(&self.poll),
            "poll",
            "is not within 10 ms and 10 s",
        );
        faults.require(
            self.wait_reserve <= Duration::from_secs(600),
            "wait_reserve",
            "is above 10 min",
        );
        faults.require(
            self.activation_delay <= Duration::from_secs(3_600),
            "activation_delay",
            "is above 1 h",
        );
    }
}

/// The numbers that a tenant may have of its own, where they are set.
fn check_own(key_samples: Option<usize>, facts: Option<usize>, faults: &mut Faults) {
    faults.require(
        key_samples.is_none_or(|count| (1..=32).contains(&count)),
        "key_samples",
        "is not within 1 and 32",
    );
    faults.require(
        facts.is_none_or(|count| count <= 16),
        "facts",
        "is above 16",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        let faults = Faults::of(&GeneratorConfig::default());
        assert!(faults.is_empty(), "{:?}", faults.first());
    }

    #[test]
    fn replies_into_the_system_are_refused_by_the_configuration() {
        for prefix in ["", "foil.v1", "$JS", "a..b", "a.>", "a b"] {
            let config = GeneratorConfig {
                reply_prefix: prefix.to_owned(),
                ..GeneratorConfig::default()
            };
            let faults = Faults::of(&config);
            let fault = faults.first().expect("a fault").to_string();
            assert!(fault.contains("reply_prefix"), "{prefix:?}: {fault}");
        }
    }

    #[test]
    fn a_request_goes_before_its_tenant_and_that_before_the_rest() {
        let config: GeneratorConfig = serde_json::from_value(serde_json::json!({
            "strategy": "rag",
            "tenants": {
                "acme": { "strategy": "persona-db", "key_samples": 2 },
                "globex": { "summary": "task", "facts": 0 },
            },
        }))
        .expect("a configuration");
        assert!(Faults::of(&config).is_empty());
        let standing = Summary::Standing;
        let how = |tenant: &str, asked: &str| config.of(tenant).how(asked);
        assert_eq!(how("acme", ""), (Strategy::PersonaDb, standing));
        assert_eq!(how("acme", "dpl"), (Strategy::Dpl, standing));
        assert_eq!(how("globex", ""), (Strategy::Rag, Summary::Task));
        assert_eq!(how("other", ""), (Strategy::Rag, standing));
        let numbers = |tenant: &str| {
            let section = config.of(tenant);
            (section.key_samples, section.facts)
        };
        assert_eq!(numbers("acme"), (2, 6));
        assert_eq!(numbers("globex"), (8, 0));
        assert_eq!(numbers("other"), (8, 6));
    }

    #[test]
    fn a_fault_names_the_tenant() {
        let config = serde_json::json!({
            "tenants": { "acme": { "key_samples": 0, "facts": 17 }, "globex": { "key_samples": 32 } },
        });
        let config: GeneratorConfig = serde_json::from_value(config).expect("a configuration");
        let faults = Faults::of(&config);
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["tenants.acme.key_samples", "tenants.acme.facts"]);
    }
}
