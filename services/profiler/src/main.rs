//! The profiler's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("profiler", foil_profiler::main_run)
}
