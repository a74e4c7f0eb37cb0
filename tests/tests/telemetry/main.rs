//! What a running `foil up` tells an OpenTelemetry collector, Prometheus and its log. The embedding
//! model is real, the language model a stub: what it says is of no matter here.

#![allow(clippy::unwrap_used)]

mod collector;
mod fold;
mod logs;
mod metrics;
mod rig;
mod traces;
