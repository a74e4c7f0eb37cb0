//! `foil-embedder`: the stage as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("embedder", foil_embedder::main_run)
}
