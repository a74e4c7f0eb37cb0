//! Everything in one: the sections of all stages beside those of the command.

mod files;

use std::net::SocketAddr;
use std::path::PathBuf;

use foil_llm::config::require_patience;
use foil_runtime::config::{self, Fault, Faults, Sources, Validate};
use foil_runtime::{
    AdminConfig, Common, ConfigError, NatsConfig, ServiceConfig, ShutdownConfig, TelemetryConfig,
};
use foil_store::StoreConfig;
use foil_store::provision::ProvisionConfig;
use serde::{Deserialize, Serialize};

use crate::cli::Global;

pub use files::file_faults;

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FoilConfig {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub provision: ProvisionConfig,
    pub llm: foil_llm::config::EngineConfig,
    pub embed: foil_embedder::EmbedConfig,
    pub up: UpConfig,
    pub embedder: foil_embedder::EmbedderConfig,
    pub selector: foil_selector::SelectorConfig,
    pub extractor: foil_extractor::ExtractorConfig,
    pub profiler: foil_profiler::ProfilerConfig,
    pub generator: foil_generator::GeneratorConfig,
    pub mover: foil_mover::MoverConfig,
}

/// `[up]`: what `foil up` starts beside the stages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpConfig {
    /// Where nats-server and the embedded Qdrant keep their data.
    pub data_dir: PathBuf,
    /// Program of the nats-server to start as a child, listening where `nats.url` says; none: one is
    /// running there already.
    pub nats_server: Option<PathBuf>,
    /// Serve an embedded Qdrant where `store.qdrant_url` says.
    pub embedded_qdrant: bool,
}

impl Default for UpConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".foil"),
            nats_server: None,
            embedded_qdrant: true,
        }
    }
}

impl UpConfig {
    /// Where the embedded Qdrant listens: the address in `store.qdrant_url`.
    pub fn qdrant_address(url: &str) -> Option<SocketAddr> {
        let address = url.strip_prefix("http://")?.trim_end_matches('/');
        let address = address.replacen("localhost", "127.0.0.1", 1);
        address.parse().ok()
    }
}

impl Validate for UpConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "is empty",
        );
    }
}

impl Validate for FoilConfig {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("provision", &self.provision);
        faults.section("up", &self.up);
        faults.section("embedder", &self.embedder);
        faults.section("selector", &self.selector);
        faults.section("extractor", &self.extractor);
        faults.section("profiler", &self.profiler);
        faults.section("generator", &self.generator);
        faults.section("mover", &self.mover);
        require_patience(faults, &self.llm, "extractor", &self.extractor.worker);
        require_patience(faults, &self.llm, "profiler", &self.profiler.worker);
        let allowed = u64::from(self.provision.max_deliver);
        for (section, worker) in [
            ("embedder", &self.embedder.worker),
            ("selector", &self.selector.worker),
            ("extractor", &self.extractor.worker),
            ("profiler", &self.profiler.worker),
            ("generator", &self.generator.worker),
        ] {
            let below = worker.max_deliveries < allowed;
            let problem = "is not below provision.max_deliver: nats would give up before the stage";
            faults.section(section, &Require(below, "worker.max_deliveries", problem));
        }
    }
}

impl ServiceConfig for FoilConfig {
    fn common(&self) -> Common<'_> {
        Common {
            nats: &self.nats,
            admin: &self.admin,
            telemetry: &self.telemetry,
            shutdown: &self.shutdown,
        }
    }
}

/// Only `foil up` loads models: the other verbs work without naming any.
pub fn model_faults(config: &FoilConfig) -> Vec<Fault> {
    let mut faults = Faults::default();
    faults.section("llm", &config.llm);
    faults.section("embed", &config.embed);
    if config.up.embedded_qdrant {
        let known = UpConfig::qdrant_address(&config.store.qdrant_url).is_some();
        let problem =
            "is no http:// address with an IP and a port, where the embedded Qdrant could listen";
        faults.section("store", &Require(known, "qdrant_url", problem));
    }
    faults.into_list()
}

struct Require<'a>(bool, &'a str, &'a str);

impl Validate for Require<'_> {
    fn validate(&self, faults: &mut Faults) {
        faults.require(self.0, self.1, self.2);
    }
}

/// Loads the configuration, and says which variables look like a part of it and are none.
///
/// # Errors
/// Every fault, at once.
pub fn load(global: &Global) -> Result<FoilConfig, ConfigError> {
    let sources = Sources::of_process(global.config.clone(), global.set.clone());
    for name in sources.strays() {
        note!(
            "foil: {name} sets nothing: a key's variable is FOIL_SECTION__KEY, with two underscores"
        );
    }
    config::load(&sources)
}

/// As TOML, secrets hidden, with the defaults that depend on nothing but Foil written out.
///
/// # Errors
/// When it cannot be written as TOML.
pub fn dump(mut config: FoilConfig) -> anyhow::Result<String> {
    config.provision = config.provision.effective();
    Ok(config::dump(&config)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_engine_that_outlasts_its_stages_is_a_fault_of_each() {
        let mut config = FoilConfig::default();
        assert!(Faults::of(&config).is_empty());
        config.llm.timeout = Duration::from_secs(600);
        let keys: Vec<String> = Faults::of(&config).into_iter().map(|f| f.key).collect();
        let both = ["extractor.worker.timeout", "profiler.worker.timeout"];
        assert_eq!(keys, both);
    }
}
