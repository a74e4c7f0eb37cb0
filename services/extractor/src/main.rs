//! The extractor's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("extractor", foil_extractor::main_run)
}
