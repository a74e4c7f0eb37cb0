//! foil-edge
