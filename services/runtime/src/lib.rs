//! foil-runtime
