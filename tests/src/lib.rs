//! What the end-to-end tests share: the sample corpus, the real `foil` as a child process with real
//! servers and models, and a fleet of its stages as processes of their own with stub models, for
//! faults. Everything panics with what to do: only tests use it.

pub mod chaos;
pub mod corpus;
pub mod fleet;
mod http;
mod look;
mod place;
pub mod scale;
mod small_disk;
mod up;

pub use look::Look;
pub use place::{Output, Place, asset};
pub use small_disk::SmallDisk;
pub use up::Up;
