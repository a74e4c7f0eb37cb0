//! foil-generator
