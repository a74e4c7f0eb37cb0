//! foil-store
