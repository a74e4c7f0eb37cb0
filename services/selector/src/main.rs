//! `foil-selector`: the stage as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("selector", foil_selector::main_run)
}
