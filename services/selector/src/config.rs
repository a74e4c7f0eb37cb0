//! The configuration of the selector. `[selector]` is the stage's own section.

use std::borrow::Cow;
use std::time::Duration;

use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
    Tenants, Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

use crate::choose::Strategy;

/// All of the process's sections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub selector: SelectorConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("selector", &self.selector);
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

/// Whose records are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Those of users who were asked for lately.
    #[default]
    Active,
    /// Everybody's.
    Eager,
    /// Nobody's: profiles rest on texts alone, but for what was compared before.
    None,
}

/// The stage itself. Section `[selector]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    pub worker: WorkerConfig,
    pub strategy: Strategy,
    /// Representatives of a record, at most.
    pub k: usize,
    /// Records of an item that are looked at: a uniform sample of more.
    pub max_candidates: usize,
    /// A record is compared again when its item has grown by this factor.
    pub growth: f64,
    pub compare: Compare,
    /// How long a profile waits for further updates of its user.
    #[serde(with = "humantime_serde")]
    pub profile_debounce: Duration,
    /// What is different for a tenant, by its id.
    pub tenants: Tenants<TenantConfig>,
}

/// `[selector.tenants.<id>]`: what is set here goes before `[selector]`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    pub strategy: Option<Strategy>,
    pub k: Option<usize>,
    pub compare: Option<Compare>,
}

impl SelectorConfig {
    /// The section as it is for this tenant.
    pub fn of(&self, tenant: &str) -> Cow<'_, Self> {
        self.tenants.over(tenant, self, |section, own| {
            section.strategy = own.strategy.unwrap_or(section.strategy);
            section.k = own.k.unwrap_or(section.k);
            section.compare = own.compare.unwrap_or(section.compare);
        })
    }
}

impl Default for SelectorConfig {
    fn default() -> Self {
        Self {
            worker: WorkerConfig::default(),
            strategy: Strategy::default(),
            k: 4,
            max_candidates: 256,
            growth: 2.0,
            compare: Compare::default(),
            profile_debounce: Duration::from_secs(3),
            tenants: Tenants::default(),
        }
    }
}

impl Validate for SelectorConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        check_k(self.k, faults);
        self.tenants.validate(faults, |own, faults| {
            if let Some(k) = own.k {
                check_k(k, faults);
            }
        });
        faults.require(
            (2..=4096).contains(&self.max_candidates),
            "max_candidates",
            "must be between 2 and 4096",
        );
        faults.require(
            (1.0..=1000.0).contains(&self.growth),
            "growth",
            "must be between 1 and 1000",
        );
        faults.require(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.profile_debounce),
            "profile_debounce",
            "must be between 1s and 1h",
        );
    }
}

fn check_k(k: usize, faults: &mut Faults) {
    faults.require((1..=16).contains(&k), "k", "must be between 1 and 16");
}

#[cfg(test)]
mod tests {
    use foil_runtime::{ConfigError, Sources, config::load};

    use super::*;

    fn config(settings: &[(&str, &str)]) -> Result<SelectorConfig, ConfigError> {
        let flag = |(key, value): &(&str, &str)| (format!("selector.{key}"), (*value).to_owned());
        let sources = Sources {
            flags: settings.iter().map(flag).collect(),
            ..Sources::default()
        };
        load::<Config>(&sources).map(|config| config.selector)
    }

    #[test]
    fn a_tenant_goes_before_the_rest() {
        let config = config(&[
            ("k", "3"),
            ("tenants.acme.strategy", "random"),
            ("tenants.acme.k", "2"),
            ("tenants.globex.compare", "none"),
        ]);
        let config = config.expect("a configuration");
        let of = |tenant: &str| {
            let section = config.of(tenant);
            (section.strategy, section.k, section.compare)
        };
        assert_eq!(of("acme"), (Strategy::Random, 2, Compare::Active));
        assert_eq!(of("globex"), (Strategy::Kmeans, 3, Compare::None));
        assert_eq!(of("other"), (Strategy::Kmeans, 3, Compare::Active));
    }

    #[test]
    fn a_fault_names_the_tenant() {
        let settings = [("tenants.acme.k", "17"), ("tenants.globex.k", "16")];
        let error = config(&settings).expect_err("a fault");
        let faults: Vec<String> = error.faults.iter().map(ToString::to_string).collect();
        let origin = "--set selector.tenants.acme.k";
        let expected = format!("selector.tenants.acme.k: must be between 1 and 16 (from {origin})");
        assert_eq!(faults, [expected]);
    }
}
