//! What goes into a model: versioned prompt files, users' text made harmless, and trimming to a
//! budget of tokens.

mod file;
mod fit;
mod neutral;

pub use file::{PromptError, PromptFile};
pub use fit::{Fitted, Keep, Part, fit};
pub use neutral::{is_invisible, neutralise, visible};
