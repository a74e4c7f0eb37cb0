//! What the end-to-end tests share: the sample corpus, and the real `foil` as a child process with
//! real servers and models. Everything panics with what to do: only tests use it.

pub mod corpus;
mod look;
mod place;
mod up;

pub use look::Look;
pub use place::{Output, Place, asset};
pub use up::Up;
