//! The configuration of the embedder: `[embed]` names the model, `[embedder]` is the stage's own.

use std::path::PathBuf;
use std::time::Duration;

use foil_runtime::{
    AdminConfig, Common, Faults, NatsConfig, Secret, ServiceConfig, ShutdownConfig,
    TelemetryConfig, Validate, WorkerConfig,
};
use foil_store::StoreConfig;
use serde::{Deserialize, Serialize};

/// All of the process's sections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub nats: NatsConfig,
    pub admin: AdminConfig,
    pub telemetry: TelemetryConfig,
    pub shutdown: ShutdownConfig,
    pub store: StoreConfig,
    pub embed: EmbedConfig,
    pub embedder: EmbedderConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("store", &self.store);
        faults.section("embed", &self.embed);
        faults.section("embedder", &self.embedder);
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

/// The stage itself. Section `[embedder]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedderConfig {
    pub worker: WorkerConfig,
    /// Bring every user's profile up to date, not only those of users asked for lately.
    pub eager: bool,
    /// How long a profile waits for further updates of its user.
    #[serde(with = "humantime_serde")]
    pub profile_debounce: Duration,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        let worker = WorkerConfig {
            // Enough to fill micro-batches; each input waits for the model, not for a core.
            permits: 32,
            ..WorkerConfig::default()
        };
        Self {
            worker,
            eager: false,
            profile_debounce: Duration::from_secs(3),
        }
    }
}

impl Validate for EmbedderConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        faults.require(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.profile_debounce),
            "profile_debounce",
            "must be between 1s and 1h",
        );
    }
}

/// Which adapter embeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbedEngine {
    /// A GGUF encoder in this process, by llama.cpp.
    #[default]
    LlamaCpp,
    /// A server that speaks OpenAI's embeddings.
    Openai,
}

/// The embedding model. Section `[embed]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedConfig {
    pub engine: EmbedEngine,
    /// `llama-cpp`: the path of a GGUF file. `openai`: the name the server knows it by.
    pub model: String,
    /// `openai`: length of the vectors the server gives, checked on every answer.
    pub dimension: u32,
    /// `openai`: the address before `/embeddings`, such as `http://127.0.0.1:8000/v1`.
    pub base_url: Option<String>,
    /// `openai`: the key itself. Rather use `api_key_file`.
    pub api_key: Option<Secret>,
    /// `openai`: a file with the key and nothing else.
    pub api_key_file: Option<PathBuf>,
    /// `llama-cpp`: most tokens of one micro-batch.
    pub batch_tokens: u32,
    /// Tokens a text is cut to; never more than the model was made for. `openai` cuts at 4 bytes
    /// for each of them, because the server's vocabulary is not here.
    pub max_tokens: u32,
    /// Texts that may wait, or (`openai`) requests; one more is refused as busy.
    pub queue: usize,
    /// `llama-cpp`: all cores by default.
    pub threads: Option<u32>,
    /// Longest wait for an answer, queueing included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self {
            engine: EmbedEngine::LlamaCpp,
            model: String::new(),
            dimension: 384,
            base_url: None,
            api_key: None,
            api_key_file: None,
            batch_tokens: 512,
            max_tokens: 256,
            queue: 1024,
            threads: None,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Validate for EmbedConfig {
    fn validate(&self, faults: &mut Faults) {
        let openai = self.engine == EmbedEngine::Openai;
        let mut within = |key: &str, value: u64, (low, high): (u64, u64)| {
            let holds = (low..=high).contains(&value);
            faults.require(holds, key, format_args!("must be between {low} and {high}"));
        };
        within("dimension", self.dimension.into(), (1, 65_536));
        within("max_tokens", self.max_tokens.into(), (8, 32_768));
        within("batch_tokens", self.batch_tokens.into(), (8, 65_536));
        within("queue", self.queue as u64, (1, 65_536));
        within("threads", self.threads.unwrap_or(1).into(), (1, 512));
        faults.require(!self.model.trim().is_empty(), "model", "is empty");
        faults.require(
            self.batch_tokens >= self.max_tokens,
            "batch_tokens",
            "must not be below max_tokens: one text has to fit",
        );
        faults.require(
            (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.timeout),
            "timeout",
            "must be between 100ms and 1h",
        );
        faults.require(
            !openai || self.base_url.is_some(),
            "base_url",
            "is missing, and engine \"openai\" needs it",
        );
        faults.require_no_user("base_url", self.base_url.as_deref().unwrap_or_default());
        faults.require(
            self.api_key.is_none() || self.api_key_file.is_none(),
            "api_key",
            "give one of api_key and api_key_file",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let config = EmbedConfig {
            engine: EmbedEngine::Openai,
            dimension: 0,
            max_tokens: 600,
            queue: 0,
            threads: Some(0),
            timeout: Duration::ZERO,
            api_key: Some(Secret::new("x")),
            api_key_file: Some("x".into()),
            ..EmbedConfig::default()
        };
        let keys: Vec<String> = Faults::of(&config).into_iter().map(|f| f.key).collect();
        let expected = [
            "dimension",
            "queue",
            "threads",
            "model",
            "batch_tokens",
            "timeout",
            "base_url",
            "api_key",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn the_defaults_lack_a_model_and_nothing_else() {
        let faults = Faults::of(&Config::default());
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["embed.model"]);
    }
}
