//! foil-tests
