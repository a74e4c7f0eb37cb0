//! foil-profiler
