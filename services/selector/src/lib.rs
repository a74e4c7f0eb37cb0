//! foil-selector
