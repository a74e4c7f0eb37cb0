//! A GGUF file on its way to a chat model: checks, vocabulary, chat template.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use llama_cpp_2::gguf::GgufContext;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::token::LlamaToken;

use super::backend::{backend, take_fault};
use crate::chat::{EngineError, Message, Role};

/// What a GGUF file says it is, read from its header alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufKind {
    /// Such as `llama`, `qwen2`, `bert`.
    pub architecture: String,
    /// It makes embeddings, not text.
    pub encoder: bool,
}

/// Looks at a GGUF file without loading it.
///
/// # Errors
/// [`EngineError::Load`] when the file is missing, unreadable, or no GGUF file.
pub fn inspect(path: &Path) -> Result<GgufKind, EngineError> {
    let fail = |cause: String| load_error(path, cause);
    let mut magic = [0; 4];
    if path.is_dir() {
        return Err(fail("is a directory".into()));
    }
    let mut file = File::open(path).map_err(|error| fail(error.to_string()))?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => {}
        Ok(()) => return Err(fail("is not a GGUF file".into())),
        Err(_) => return Err(fail("is too short for a GGUF file".into())),
    }
    // The log callback has to be in place before anything of llama.cpp speaks.
    backend()?;
    let header = GgufContext::from_file(path).ok_or_else(|| {
        let cause = take_fault().unwrap_or_else(|| "its header is damaged".into());
        fail(format!("is truncated or damaged: {cause}"))
    })?;
    let key = header.find_key("general.architecture");
    if key < 0 || header.kv_type(key) != llama_cpp_sys_2::GGUF_TYPE_STRING {
        return Err(fail("names no architecture".into()));
    }
    let architecture = header.val_str(key).unwrap_or_default().to_owned();
    let pooled = header.find_key(&format!("{architecture}.pooling_type")) >= 0;
    let encoder = pooled || architecture.contains("bert") || architecture == "t5encoder";
    Ok(GgufKind {
        architecture,
        encoder,
    })
}

pub(super) fn load_error(path: &Path, cause: String) -> EngineError {
    EngineError::Load {
        file: path.display().to_string(),
        cause,
    }
}

/// A chat model's weights, vocabulary and template. Any thread may use it.
pub(super) struct ChatModel {
    pub(super) weights: Arc<LlamaModel>,
    template: LlamaChatTemplate,
    /// Tokens of the template: for any chat, and for each message.
    cost: (u32, u32),
}

impl ChatModel {
    /// # Errors
    /// [`EngineError::Load`]: missing, truncated, no GGUF file, or no chat model.
    pub(super) fn load(path: &Path, gpu_layers: u32) -> Result<Self, EngineError> {
        let fail = |cause: String| load_error(path, cause);
        let kind = inspect(path)?;
        if kind.encoder {
            return Err(fail(format!(
                "is an encoder for embeddings (architecture {}), not a chat model",
                kind.architecture
            )));
        }
        take_fault();
        let params = LlamaModelParams::default().with_n_gpu_layers(gpu_layers);
        let weights = LlamaModel::load_from_file(backend()?, path, &params)
            .map_err(|error| fail(take_fault().unwrap_or_else(|| error.to_string())))?;
        let template = weights
            .chat_template(None)
            .map_err(|_| fail("has no chat template: it is not a chat model".into()))?;
        let mut model = Self {
            weights: Arc::new(weights),
            template,
            cost: (0, 0),
        };
        model.cost = model
            .measure_template()
            .map_err(|_| fail("has a chat template that llama.cpp does not know".into()))?;
        Ok(model)
    }

    pub(super) fn template_tokens(&self, messages: usize) -> u32 {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.cost
            .0
            .saturating_add(self.cost.1.saturating_mul(messages))
    }

    /// The tokens of a text alone. Control tokens in it are plain text.
    pub(super) fn tokens(&self, text: &str) -> Vec<LlamaToken> {
        let mut tokens = Vec::with_capacity(text.len() / 4 + 8);
        for piece in pieces(text) {
            tokens.extend(
                self.weights
                    .vocab()
                    .tokenize(piece.as_bytes(), false, false),
            );
        }
        tokens
    }

    /// The whole prompt. Control tokens come from the template only: each message's content is
    /// tokenised apart, as plain text, so that it cannot end its turn or begin another's.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the template refuses these messages.
    pub(super) fn prompt(&self, messages: &[Message]) -> Result<Vec<LlamaToken>, EngineError> {
        let frame = self.frame(messages)?;
        let vocab = self.weights.vocab();
        let mut tokens = Vec::new();
        if vocab.should_add_bos() {
            tokens.push(vocab.bos());
        }
        let mut rest = frame.as_str();
        while let Some((before, after)) = rest.split_once(MARK) {
            tokens.extend(vocab.tokenize(before.as_bytes(), false, true));
            let (index, after) = after.split_once(MARK).unwrap_or((after, ""));
            let message = index
                .parse()
                .ok()
                .and_then(|index: usize| messages.get(index));
            if let Some(message) = message {
                tokens.extend(self.tokens(&message.content));
            }
            rest = after;
        }
        tokens.extend(vocab.tokenize(rest.as_bytes(), false, true));
        // Some templates write the beginning-of-text token themselves.
        if tokens.len() > 1 && tokens[0] == vocab.bos() && tokens[1] == tokens[0] {
            tokens.remove(0);
        }
        Ok(tokens)
    }

    /// The template around marks that stand for the messages' contents.
    fn frame(&self, messages: &[Message]) -> Result<String, EngineError> {
        let invalid = |error: &dyn std::fmt::Display| {
            EngineError::Invalid(format!(
                "messages: the model's template refuses them: {error}"
            ))
        };
        let mut chat = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let role = match message.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            let content = format!("{MARK}{index}{MARK}");
            chat.push(
                LlamaChatMessage::new(role.into(), content).map_err(|error| invalid(&error))?,
            );
        }
        self.weights
            .apply_chat_template(&self.template, &chat, true)
            .map_err(|error| invalid(&error))
    }

    fn measure_template(&self) -> Result<(u32, u32), EngineError> {
        let roles = [Role::System, Role::User, Role::Assistant, Role::User];
        let messages = roles.map(|role| Message {
            role,
            content: String::new(),
        });
        let mut lengths = [0; 4];
        for (count, length) in (1..).zip(&mut lengths) {
            *length = u32::try_from(self.prompt(&messages[..count])?.len()).unwrap_or(u32::MAX);
        }
        let each = lengths
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .max()
            .unwrap_or(0);
        let base = (1..)
            .zip(lengths)
            .map(|(count, length)| length.saturating_sub(each * count))
            .max();
        Ok((base.unwrap_or(0), each))
    }
}

/// Stands for a content in a rendered template: a character of no template and no vocabulary.
const MARK: char = '\u{10fffd}';

/// Cuts long text before white space: some tokenizers take more than linear time for one text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const PIECE: usize = 16 * 1024;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.floor_char_boundary(PIECE);
        if end < rest.len() {
            end = rest[..end]
                .rfind(char::is_whitespace)
                .filter(|&end| end > 0)
                .unwrap_or(end);
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_text_cut_before_white_space() {
        for text in [
            "",
            "short",
            &"word ".repeat(20_000),
            &"\u{1f30a}".repeat(20_000),
        ] {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).all(|piece| !piece.is_empty() && piece.len() <= 16 * 1024));
        }
        let text = "word ".repeat(20_000);
        assert!(pieces(&text).skip(1).all(|piece| piece.starts_with(' ')));
    }

    #[test]
    fn files_that_are_no_models_are_named() {
        let dir = std::env::temp_dir().join(format!("foil-llm-inspect-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let cause = |path: &Path| inspect(path).unwrap_err().to_string();
        assert!(cause(&dir).ends_with("is a directory"));
        assert!(cause(&dir.join("none.gguf")).contains("No such file"));
        let file = dir.join("x.gguf");
        for (bytes, words) in [
            (&b"GG"[..], "too short"),
            (b"PK\x03\x04 a zip file", "not a GGUF file"),
            (b"GGUF", "truncated or damaged"),
            (
                b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f",
                "truncated or damaged",
            ),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let cause = cause(&file);
            assert!(cause.contains(words) && cause.contains("x.gguf"), "{cause}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
