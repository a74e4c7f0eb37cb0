use std::process::ExitCode;

fn main() -> ExitCode {
    foil_runtime::main_with("generator", foil_generator::main_run)
}
