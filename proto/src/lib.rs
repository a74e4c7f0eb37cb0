//! foil-proto
