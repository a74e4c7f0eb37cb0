//! `foil-mover`: the stage as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("mover", foil_mover::main_run)
}
