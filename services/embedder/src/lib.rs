//! foil-embedder
