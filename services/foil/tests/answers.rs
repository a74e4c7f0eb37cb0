//! The command as a shell runs it, where it needs no server.

use std::process::{Command, Output, Stdio};

fn foil() -> Command {
    Command::new(env!("CARGO_BIN_EXE_foil"))
}

fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_reader_that_went_away_is_no_fault() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (code, _, stderr) = ran(foil().args(["up", "--dump-config"]).stdout(writer));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));

    // Nobody to complain to either: what failed still shows.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = foil();
    let child = command.args(["up", "--check-config"]).stdout(Stdio::null());
    let status = child.stderr(writer).status().expect("the command runs");
    assert_eq!(status.code(), Some(64));
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let full = full.expect("a device that is full");
    let (code, _, stderr) = ran(foil().args(["up", "--dump-config"]).stdout(full));
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("foil: cannot write the answer: "),
        "{stderr}"
    );
}

#[test]
fn a_misspelt_variable_and_a_missing_file_are_named() {
    let mut command = foil();
    command.args(["up", "--dump-config"]);
    let (code, _, stderr) = ran(command.env("FOIL_LLM_PARALLEL", "2").env("FOIL_CACHE", "x"));
    assert_eq!((code, stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(
        stderr.starts_with("foil: FOIL_LLM_PARALLEL sets nothing"),
        "{stderr}"
    );

    let (code, _, stderr) = ran(foil().args(["status", "--config", "/nope.toml"]));
    assert_eq!(code, Some(64));
    assert!(stderr.contains("cannot read /nope.toml: "), "{stderr}");

    let set = [
        "--set",
        "llm.model=no.gguf",
        "--set",
        "embed.model=none.gguf",
    ];
    let (code, stdout, stderr) = ran(foil().args(["up", "--check-config"]).args(set));
    assert_eq!((code, stdout.as_str()), (Some(64), ""));
    assert!(
        stderr.contains("llm.model: no such file: no.gguf"),
        "{stderr}"
    );
    assert!(
        stderr.contains("embed.model: no such file: none.gguf"),
        "{stderr}"
    );
}
