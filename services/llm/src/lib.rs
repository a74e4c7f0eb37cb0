//! Language models behind one port.
//!
//! [`LanguageModel`] is the port; each adapter is a module: `llama_cpp` (GGUF files, the default on
//! a CPU), `mistral` (cargo feature `mistralrs`, CPU or CUDA) and `openai` (any server that speaks
//! OpenAI's chat completions). One contract suite in `tests/` runs against all of them.
//!
//! [`prompt`] builds what goes in: versioned prompt files, neutralised user text, and trimming to
//! the model's context that counts tokens. [`ask`] asks until an answer holds, [`statement`] checks a
//! sentence about an author, [`leak`] whether a text repeats another one, [`health`] knows whether the
//! model answers.

pub mod ask;
pub mod bench;
pub mod chat;
pub mod config;
pub mod health;
pub mod leak;
pub mod llama_cpp;
pub mod metrics;
#[cfg(feature = "mistralrs")]
pub mod mistral;
pub mod openai;
pub mod prompt;
mod relay;
pub mod statement;
#[cfg(feature = "stub")]
pub mod stub;
mod trace;

pub use ask::{Answer, AskError, Asker, BuildError};
pub use chat::{
    ChatEvent, ChatRequest, ChatStream, Completion, EngineError, Finish, LanguageModel, Message,
    ModelInfo, Role, Usage, collect,
};
pub use config::{EngineConfig, EngineKind, load};
pub use health::ModelHealth;
