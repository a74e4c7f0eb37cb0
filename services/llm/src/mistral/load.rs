//! From a path to a running mistralrs engine, without the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use either::Either;
use mistralrs::model_builder_trait::build_model_from_pipeline;
use mistralrs::{
    AnyModelBuilder, GgufModelBuilder, MemoryGpuConfig, Model, PagedAttentionMetaBuilder,
    TextMessageRole, TextMessages, TextModelBuilder, TokenSource,
};

use crate::chat::EngineError;
use crate::llama_cpp;

/// Where a model is and how it is to run.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// A GGUF file, or a folder with `config.json`, `tokenizer.json` and safetensors files.
    pub(super) path: PathBuf,
    pub(super) parallel: usize,
}

/// Counts the tokens of a text; `None` where the tokenizer fails.
type Count = Box<dyn Fn(&str) -> Option<usize> + Send + Sync>;

/// A running engine.
pub(super) struct Engine {
    pub(super) model: Model,
    pub(super) template: Template,
    /// What ends an answer that its schema has completed. Of a GGUF file's several end tokens
    /// mistralrs stops at one and its grammar writes another: unless stopped there too, a complete
    /// answer would be followed by end tokens up to `max_tokens`.
    pub(super) end: Option<u32>,
    count: Count,
    dead: AtomicBool,
}

/// What the chat template adds, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) per_request: usize,
    pub(super) per_message: usize,
}

impl Engine {
    pub(super) fn count(&self, text: &str) -> Result<usize, EngineError> {
        (self.count)(text)
            .ok_or_else(|| EngineError::Invalid("the tokenizer refuses the text".into()))
    }

    /// Whether its thread ended during some request; it must be loaded again.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    pub(super) fn set_dead(&self) {
        self.dead.store(true, Ordering::Release);
    }
}

impl Source {
    /// Loads the model. Its work blocks, so it runs on a thread for that; dropping the future does
    /// not stop it.
    ///
    /// # Errors
    /// [`EngineError::Load`] with the file and the cause.
    pub(super) async fn load(&self) -> Result<Arc<Engine>, EngineError> {
        let source = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || runtime.block_on(source.build()));
        let built = task.await.unwrap_or_else(|panic| {
            // It does on files whose metadata it does not expect.
            Err(self.error(format!("mistralrs gave up on it ({panic})")))
        });
        built.map(Arc::new)
    }

    fn error(&self, cause: impl ToString) -> EngineError {
        EngineError::Load {
            file: self.path.display().to_string(),
            cause: cause.to_string(),
        }
    }

    async fn build(self) -> Result<Engine, EngineError> {
        let builder = self.builder()?;
        let parts = builder.build_pipeline().await;
        let (pipeline, scheduler, config) = parts.map_err(|error| self.error(error))?;
        let (tokenizer, vocabulary) = {
            let pipeline = pipeline.lock().await;
            (pipeline.tokenizer(), pipeline.get_metadata().tok_env())
        };
        let end = vocabulary.map(|vocabulary| vocabulary.tok_trie().eos_token());
        let tokenizer = tokenizer.ok_or_else(|| self.error("has no tokenizer"))?;
        let count: Count = Box::new(move |text| {
            let encoded = tokenizer.encode_fast(text, false);
            encoded.ok().map(|encoded| encoded.len())
        });
        let model = build_model_from_pipeline(pipeline, scheduler, config).await;
        let template = measure(&model, &count)
            .await
            .map_err(|cause| self.error(format!("chat template: {cause}")))?;
        Ok(Engine {
            model,
            template,
            end,
            count,
            dead: AtomicBool::new(false),
        })
    }

    /// mistralrs takes a path that does not exist for a name on a public hub and calls there, so
    /// every file is looked at first.
    fn builder(&self) -> Result<AnyModelBuilder, EngineError> {
        let path = std::fs::canonicalize(&self.path).map_err(|error| self.error(error))?;
        if path.is_dir() {
            return self.folder(&path);
        }
        let kind = llama_cpp::inspect(&path)?;
        if kind.encoder {
            return Err(self.error("is an encoder, not a chat model"));
        }
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(self.error("is no file"));
        };
        let builder = GgufModelBuilder::new(folder.display(), vec![file.to_string_lossy()])
            .with_token_source(TokenSource::None)
            .with_max_num_seqs(self.parallel);
        Ok(AnyModelBuilder::Gguf(match on_cpu() {
            true => builder.with_force_cpu().with_prefix_cache_n(None),
            false => builder.with_paged_attn(self.paged()?),
        }))
    }

    fn folder(&self, folder: &Path) -> Result<AnyModelBuilder, EngineError> {
        for name in ["config.json", "tokenizer.json"] {
            if !folder.join(name).is_file() {
                return Err(self.error(format!("has no {name}")));
            }
        }
        let files = std::fs::read_dir(folder).map_err(|error| self.error(error))?;
        let is_weights = |name: &Path| name.extension().is_some_and(|end| end == "safetensors");
        if !files.flatten().any(|file| is_weights(&file.path())) {
            return Err(self.error("has no safetensors file"));
        }
        let builder = TextModelBuilder::new(folder.display())
            .with_token_source(TokenSource::None)
            .with_max_num_seqs(self.parallel);
        Ok(AnyModelBuilder::Text(match on_cpu() {
            true => builder.with_force_cpu().with_prefix_cache_n(None),
            false => builder.with_paged_attn(self.paged()?),
        }))
    }

    /// The default pool would be 4096 tokens for all requests together.
    fn paged(&self) -> Result<mistralrs::PagedAttentionConfig, EngineError> {
        PagedAttentionMetaBuilder::default()
            .with_gpu_memory(MemoryGpuConfig::Utilization(0.85))
            .build()
            .map_err(|error| self.error(error))
    }
}

/// Without CUDA there is only the CPU. Its prefix cache never evicts, so it stays off there.
fn on_cpu() -> bool {
    !cfg!(feature = "cuda")
}

/// Measures the template on short conversations: one message, two, and four.
async fn measure(model: &Model, count: &Count) -> Result<Template, String> {
    use TextMessageRole::{Assistant, System, User};
    let text = "a";
    let own = count(text).ok_or("the tokenizer fails on \"a\"")?;
    let overhead = async |roles: &[TextMessageRole]| {
        let messages = roles.iter().fold(TextMessages::new(), |messages, role| {
            messages.add_message(role.clone(), text)
        });
        let tokens = model.tokenize(Either::Left(messages), None, true, true, None);
        let tokens = tokens.await.map_err(|error| error.to_string())?;
        Ok::<_, String>(tokens.len().saturating_sub(own * roles.len()))
    };
    let one = overhead(&[User]).await?;
    // Some templates take no system message; then the two of a turn are measured alone.
    let two = overhead(&[System, User]).await.unwrap_or(one);
    let three = overhead(&[User, Assistant, User]).await?;
    Ok(Template::from_overheads(one, two, three))
}

impl Template {
    /// Bounds from what one message, a system message and one, and three messages cost.
    fn from_overheads(one: usize, two: usize, three: usize) -> Self {
        let per_message = three.saturating_sub(one).div_ceil(2).max(1) + 1;
        let rest =
            |overhead: usize, messages: usize| overhead.saturating_sub(per_message * messages);
        Self {
            per_request: rest(one, 1).max(rest(two, 2)).max(rest(three, 3)) + 1,
            per_message,
        }
    }

    pub(super) fn tokens(self, messages: usize) -> usize {
        self.per_request
            .saturating_add(self.per_message.saturating_mul(messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_bounds_what_it_was_measured_on() {
        // ChatML with a default system prompt of 20 tokens where the request brings none.
        for (one, two, three) in [(28, 13, 38), (5, 9, 13), (1, 1, 1), (30, 12, 30)] {
            let template = Template::from_overheads(one, two, three);
            assert!(template.tokens(1) >= one, "{template:?}");
            assert!(template.tokens(2) >= two, "{template:?}");
            assert!(template.tokens(3) >= three, "{template:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_model_is_named_and_nothing_is_fetched() {
        let folder = std::env::temp_dir().join(format!("foil-mistral-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let garbage = folder.join("garbage.gguf");
        std::fs::write(&garbage, b"this is not a model").unwrap();
        let cases = [
            (
                PathBuf::from("HuggingFaceTB/SmolLM2-135M-Instruct"),
                "No such file",
            ),
            (folder.join("missing.gguf"), "No such file"),
            (garbage, "GGUF"),
            (folder.clone(), "config.json"),
        ];
        for (path, expected) in cases {
            let source = Source {
                path: path.clone(),
                parallel: 1,
            };
            match source.load().await {
                Err(EngineError::Load { file, cause }) => {
                    assert_eq!(file, path.display().to_string());
                    assert!(cause.contains(expected), "{file}: {cause}");
                }
                Err(other) => panic!("{path:?}: {other}"),
                Ok(_) => panic!("{path:?} was loaded"),
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
