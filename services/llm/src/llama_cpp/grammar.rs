//! From a JSON schema to what a decoder may write.

use std::sync::{Arc, OnceLock};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::chat::EngineError;

/// Compiles schemas for one model. The vocabulary's tables are built at the first schema.
pub(super) struct Grammars {
    model: Arc<LlamaModel>,
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Grammars {
    pub(super) fn new(model: Arc<LlamaModel>) -> Self {
        Self {
            model,
            factory: OnceLock::new(),
        }
    }

    /// # Errors
    /// [`EngineError::Invalid`] when the schema is none, or uses what cannot be enforced.
    pub(super) fn compile(&self, schema: &Value) -> Result<Matcher, EngineError> {
        let invalid = |cause: String| EngineError::Invalid(format!("schema: {cause}"));
        if !schema.is_object() {
            return Err(invalid("is not a JSON object".into()));
        }
        let factory = self
            .factory
            .get_or_init(|| factory(&self.model))
            .as_ref()
            .map_err(|cause| EngineError::Unavailable(format!("schema support: {cause}")))?;
        let grammar = TopLevelGrammar::from_json_schema(spaced(schema.clone()));
        let parser = factory
            .create_parser(grammar)
            .map_err(|error| invalid(error.to_string()))?;
        let mut matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            Some(cause) => Err(invalid(cause)),
            None if matcher.is_accepting().unwrap_or(true) => Err(invalid("allows no text".into())),
            None => Ok(matcher),
        }
    }
}

/// One fixed spacing: with free spacing a small model may write spaces until its tokens run out.
pub(crate) fn spaced(mut schema: Value) -> Value {
    let spacing = json!({
        "whitespace_flexible": false,
        "item_separator": ", ",
        "key_separator": ": ",
    });
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("x-guidance".into(), spacing);
    }
    schema
}

fn factory(model: &Arc<LlamaModel>) -> Result<ParserFactory, String> {
    let approximate = LlamaSampler::llguidance_tok_env(model);
    let byte_level = model
        .meta_val_str("tokenizer.ggml.model")
        .is_ok_and(|kind| kind == "gpt2");
    let vocabulary: TokEnv = if byte_level {
        Arc::new(Vocabulary {
            trie: approximate.tok_trie().clone(),
            model: Arc::clone(model),
        })
    } else {
        approximate
    };
    let capabilities = InferenceCapabilities {
        ff_tokens: byte_level,
        ..InferenceCapabilities::default()
    };
    let slices = SlicedBiasComputer::json_slices();
    let mut factory = ParserFactory::new(&vocabulary, capabilities, &slices)
        .map_err(|error| error.to_string())?;
    // It writes to stderr otherwise.
    factory.quiet();
    Ok(factory)
}

/// The model's own tokenizer, so that text which the schema forces (keys, punctuation) is fed in
/// at once, cut as the model was trained on. Byte-level tokenizers only: others put a space before
/// each text.
struct Vocabulary {
    trie: TokTrie,
    model: Arc<LlamaModel>,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let tokens = self.model.vocab().tokenize(text.as_bytes(), false, false);
            tokens
                .into_iter()
                .map(|token| token.0.cast_unsigned())
                .collect()
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        true
    }
}
