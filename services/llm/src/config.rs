//! The section `[llm]`, and from it to a running engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use foil_runtime::WorkerConfig;
use foil_runtime::config::{Faults, Secret, Validate};
use serde::{Deserialize, Serialize};

use crate::chat::{EngineError, LanguageModel};
use crate::llama_cpp::{LlamaCpp, LlamaCppConfig};
use crate::trace::Traced;

/// Which adapter serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// A GGUF file in this process, by llama.cpp.
    #[default]
    LlamaCpp,
    /// A GGUF file or a model folder in this process, by mistralrs; a build with that feature.
    Mistralrs,
    /// A server that speaks OpenAI's chat completions.
    Openai,
}

/// The language model. Section `[llm]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    pub engine: EngineKind,
    /// In-process engines: the path of the model. `openai`: the name the server knows it by.
    pub model: String,
    /// Tokens one request may use, prompt and answer; never more than the model was made for.
    pub context_tokens: u32,
    /// Requests that run at once.
    pub parallel: usize,
    /// Requests that may wait; one more is refused as busy.
    pub queue: usize,
    /// Threads of an in-process engine; all cores by default.
    pub threads: Option<usize>,
    /// Layers of the model on the GPU, for `llama-cpp` built with one.
    pub gpu_layers: u32,
    /// `openai`: the address before `/chat/completions`, such as `http://127.0.0.1:8000/v1`.
    pub base_url: Option<String>,
    /// `openai`: the key itself. Rather use `api_key_file`.
    pub api_key: Option<Secret>,
    /// `openai`: a file with the key and nothing else.
    pub api_key_file: Option<PathBuf>,
    /// Longest wait for a whole answer, queueing included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            model: String::new(),
            context_tokens: 2048,
            parallel: 4,
            queue: 64,
            threads: None,
            gpu_layers: 0,
            base_url: None,
            api_key: None,
            api_key_file: None,
            timeout: Duration::from_secs(120),
        }
    }
}

impl Validate for EngineConfig {
    fn validate(&self, faults: &mut Faults) {
        let openai = self.engine == EngineKind::Openai;
        faults.require(!self.model.trim().is_empty(), "model", "is empty");
        faults.require(
            (256..=1_048_576).contains(&self.context_tokens),
            "context_tokens",
            "is not within 256 and 1048576",
        );
        faults.require(
            (1..=64).contains(&self.parallel),
            "parallel",
            "is not within 1 and 64",
        );
        faults.require(self.queue <= 4096, "queue", "is above 4096");
        faults.require(
            self.threads
                .is_none_or(|threads| (1..=512).contains(&threads)),
            "threads",
            "is not within 1 and 512",
        );
        faults.require(
            (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.timeout),
            "timeout",
            "is not within 100 ms and 1 h",
        );
        let scheme = ["http://", "https://"];
        match &self.base_url {
            Some(url) => faults.require(
                scheme.iter().any(|scheme| url.starts_with(scheme)),
                "base_url",
                "is no http:// or https:// address",
            ),
            None => faults.require(
                !openai,
                "base_url",
                "is missing, and engine \"openai\" needs it",
            ),
        }
        faults.require_no_user("base_url", self.base_url.as_deref().unwrap_or_default());
        faults.require(
            self.api_key.is_none() || self.api_key_file.is_none(),
            "api_key",
            "is given, and llm.api_key_file too",
        );
        faults.require(
            cfg!(feature = "mistralrs") || self.engine != EngineKind::Mistralrs,
            "engine",
            "\"mistralrs\" is not in this build (cargo feature mistralrs)",
        );
    }
}

/// Requires that the worker of the section `stage` waits longer for an answer than the engine does.
pub fn require_patience(
    faults: &mut Faults,
    llm: &EngineConfig,
    stage: &str,
    worker: &WorkerConfig,
) {
    faults.require(
        worker.timeout > llm.timeout,
        &format!("{stage}.worker.timeout"),
        "must be longer than llm.timeout, or no slow answer is ever seen",
    );
}

/// All that is wrong, each naming its key.
fn faults(config: &EngineConfig) -> Vec<String> {
    let mut faults = Faults::default();
    faults.section("llm", config);
    faults.into_list().iter().map(ToString::to_string).collect()
}

/// Loads or connects what `config` names.
///
/// # Errors
/// [`EngineError::Invalid`] with every fault of the configuration, and what the adapter
/// says: [`EngineError::Load`] for a model file, [`EngineError::Unavailable`] for a server.
pub async fn load(config: &EngineConfig) -> Result<Arc<dyn LanguageModel>, EngineError> {
    let faults: Vec<String> = faults(config);
    if !faults.is_empty() {
        return Err(EngineError::Invalid(faults.join("; ")));
    }
    match config.engine {
        EngineKind::LlamaCpp => {
            let config = LlamaCppConfig::from(config);
            let loaded = tokio::task::spawn_blocking(move || LlamaCpp::load(config)).await;
            let loaded = loaded.map_err(|error| EngineError::Died(error.to_string()))?;
            let model = loaded.map_err(say_what_is_wanted)?;
            Ok(Arc::new(Traced::new(model)))
        }
        EngineKind::Openai => {
            let model = crate::openai::OpenAi::new(config)?;
            Ok(Arc::new(Traced::counting(Arc::new(model))))
        }
        #[cfg(feature = "mistralrs")]
        EngineKind::Mistralrs => {
            let model = crate::mistral::Mistral::load(config).await?;
            Ok(Arc::new(Traced::counting(Arc::new(model))))
        }
        #[cfg(not(feature = "mistralrs"))]
        EngineKind::Mistralrs => Err(EngineError::Invalid(
            "llm.engine: \"mistralrs\" is not in this build (cargo feature mistralrs)".into(),
        )),
    }
}

fn say_what_is_wanted(error: EngineError) -> EngineError {
    match error {
        EngineError::Load { file, cause } => EngineError::Load {
            file,
            cause: format!("{cause}; name a GGUF file of a chat model"),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(fields: Value) -> EngineConfig {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn the_names_of_engines_are_those_of_the_documentation() {
        for (name, kind) in [
            ("llama-cpp", EngineKind::LlamaCpp),
            ("mistralrs", EngineKind::Mistralrs),
            ("openai", EngineKind::Openai),
        ] {
            assert_eq!(config(json!({"engine": name})).engine, kind);
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = serde_json::from_value::<EngineConfig>(json!({"modle": "x"})).unwrap_err();
        assert!(error.to_string().contains("unknown field `modle`"));
    }

    #[test]
    fn a_key_is_never_shown() {
        let config = config(json!({"api_key": "sk-private"}));
        assert!(!format!("{config:?}").contains("private"));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let faults = super::faults(&config(json!({
            "engine": "openai", "context_tokens": 1, "parallel": 0, "queue": 5000, "threads": 0,
            "timeout": "2h", "api_key": "x", "api_key_file": "/x",
        })));
        let keys = [
            "model",
            "context_tokens",
            "parallel",
            "queue",
            "threads",
            "timeout",
            "base_url",
            "api_key",
        ];
        for key in keys {
            let named = |fault: &&String| fault.starts_with(&format!("llm.{key}: "));
            assert_eq!(faults.iter().filter(named).count(), 1, "{key}: {faults:?}");
        }
        assert_eq!(faults.len(), keys.len(), "{faults:?}");
        assert!(super::faults(&config(json!({"model": "m.gguf"}))).is_empty());
        let openai = json!({"engine": "openai", "model": "m", "base_url": "http://127.0.0.1/v1"});
        assert!(super::faults(&config(openai)).is_empty());
    }

    #[cfg(not(feature = "mistralrs"))]
    #[tokio::test]
    async fn an_engine_that_is_not_built_in_is_a_clear_error() {
        let Err(error) = load(&config(json!({"engine": "mistralrs", "model": "m"}))).await else {
            panic!("it was loaded");
        };
        assert!(matches!(error, EngineError::Invalid(_)));
        assert!(
            error.to_string().contains("cargo feature mistralrs"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_model_is_named() {
        let Err(error) = load(&config(json!({"model": "no/such.gguf"}))).await else {
            panic!("it was loaded");
        };
        let words = error.to_string();
        assert!(
            words.starts_with("llm.model: cannot load model no/such.gguf: "),
            "{words}"
        );
        assert!(
            words.ends_with("; name a GGUF file of a chat model"),
            "{words}"
        );
    }
}
