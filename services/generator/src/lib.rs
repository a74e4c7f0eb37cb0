//! The generator: builds the context of a request and streams personal text.

pub mod bm25;
