//! foil-extractor
