//! The configuration of the profiler.

use std::borrow::Cow;
use std::time::Duration;

use foil_llm::EngineConfig;
use foil_llm::config::require_patience;
use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Tenants, Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

/// The whole configuration of `foil-profiler`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub llm: EngineConfig,
    pub profiler: ProfilerConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("llm", &self.llm);
        faults.section("profiler", &self.profiler);
        require_patience(faults, &self.llm, "profiler", &self.profiler.worker);
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

/// Section `[profiler]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfilerConfig {
    pub worker: WorkerConfig,
    /// Most records of a user, newest first, that a profile rests on.
    pub records: usize,
    /// Most differences in the prompt, newest first.
    pub differences: usize,
    /// Most past texts in the prompt, newest first.
    pub texts: usize,
    /// Most measured facts in the prompt: those that stand out most.
    pub facts: usize,
    /// Most tokens of a summary.
    pub max_tokens: u32,
    /// Of the first try; 0 is greedy. A second one after unusable output is warmer.
    pub temperature: f32,
    /// How long a profile waits each time while comparisons of the user's records are under way.
    #[serde(with = "humantime_serde")]
    pub debounce: Duration,
    /// How long it waits for them at most, from the oldest or from the last profile. While comparisons
    /// follow each other a user gets one profile in this time.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// How long an input rests after the model failed. Nothing is pulled until a probe succeeds; this
    /// keeps what was pulled before from using up its attempts.
    #[serde(with = "humantime_serde")]
    pub outage_delay: Duration,
    /// What is different for a tenant, by its id.
    pub tenants: Tenants<TenantConfig>,
}

/// `[profiler.tenants.<id>]`: what is set here goes before `[profiler]`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    pub facts: Option<usize>,
}

impl ProfilerConfig {
    /// The section as it is for this tenant.
    pub fn of(&self, tenant: &str) -> Cow<'_, Self> {
        self.tenants.over(tenant, self, |section, own| {
            section.facts = own.facts.unwrap_or(section.facts);
        })
    }
}

impl Default for ProfilerConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig {
                permits: 4,
                // Two answers of the engine's default time limit, and the store.
                timeout: Duration::from_secs(270),
                ..WorkerConfig::default()
            },
            records: 64,
            differences: 8,
            texts: 3,
            facts: 5,
            max_tokens: 160,
            temperature: 0.0,
            debounce: Duration::from_secs(3),
            max_wait: Duration::from_secs(60),
            outage_delay: Duration::from_secs(15),
            tenants: Tenants::default(),
        }
    }
}

impl Validate for ProfilerConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        for (key, value, most) in [
            ("records", self.records, 512),
            ("differences", self.differences, 64),
        ] {
            faults.require(
                (1..=most).contains(&value),
                key,
                format_args!("is not within 1 and {most}"),
            );
        }
        faults.require(self.texts <= 64, "texts", "is above 64");
        check_facts(self.facts, faults);
        self.tenants.validate(faults, |own, faults| {
            if let Some(facts) = own.facts {
                check_facts(facts, faults);
            }
        });
        faults.require(
            (32..=1024).contains(&self.max_tokens),
            "max_tokens",
            "is not within 32 and 1024",
        );
        faults.require(
            (0.0..=2.0).contains(&self.temperature),
            "temperature",
            "is not within 0 and 2",
        );
        faults.require(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.debounce),
            "debounce",
            "is not within 1 s and 1 h",
        );
        faults.require(
            self.max_wait <= Duration::from_secs(24 * 3600),
            "max_wait",
            "is above 24 h",
        );
        faults.require(
            (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.outage_delay),
            "outage_delay",
            "is not within 100 ms and 10 min",
        );
    }
}

fn check_facts(facts: usize, faults: &mut Faults) {
    faults.require(facts <= 16, "facts", "is above 16");
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
    fn a_worker_must_outlast_the_model() {
        let mut config = Config::default();
        config.llm.model = "m.gguf".to_owned();
        config.profiler.worker.timeout = Duration::from_secs(60);
        let faults = Faults::of(&config);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].key, "profiler.worker.timeout");
    }

    #[test]
    fn a_tenant_goes_before_the_rest_and_its_faults_name_it() {
        let config = serde_json::json!({
            "facts": 3,
            "tenants": { "acme": { "facts": 0 }, "globex": { "facts": 17 } },
        });
        let config: ProfilerConfig = serde_json::from_value(config).expect("a configuration");
        let of = |tenant: &str| config.of(tenant).facts;
        assert_eq!((of("acme"), of("globex"), of("other")), (0, 17, 3));
        let faults = Faults::of(&config);
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["tenants.globex.facts"]);
    }
}
