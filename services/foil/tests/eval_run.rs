//! `foil eval run` as a user runs it: on the sample corpus, with a stub server for both models.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use foil_llm::stub::{Mode, StubConfig, StubServer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn foil(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foil"));
    command.arg("eval").args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Prepared data, a server, and a folder for results.
struct Place {
    stub: StubServer,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            stub: StubServer::start(StubConfig::default()).expect("a server"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
        let file = |name: &str| corpus.join(name).display().to_string();
        let (items, out) = (file("items.ndjson"), place.path("data"));
        let files = ["users-1", "users-2", "users-3"].map(|name| file(&format!("{name}.ndjson")));
        let mut arguments = vec!["prepare", "--preset", "small", "--meta", &items];
        arguments.extend(["--out", &out]);
        arguments.extend(files.iter().flat_map(|file| ["--reviews", file]));
        let output = foil(&arguments).output().expect("the command runs");
        assert!(output.status.success(), "{}", said(&output));
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out().join(name)).expect("a file that was written")
    }

    /// Always the same.
    fn command(&self) -> Command {
        let url = self.stub.base_url();
        let mut command = foil(&["run", "--strategies", "dpl,rag", "--limit", "2", "--json"]);
        command.args(["--engine", "openai", "--parallel", "2"]);
        command.args(["--data", &self.path("data"), "--out", &self.path("out")]);
        for set in [
            format!("llm.base_url={url}"),
            "llm.model=stub".to_owned(),
            "embed.engine=openai".to_owned(),
            format!("embed.base_url={url}"),
            "embed.model=stub".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        command
    }

    /// What it says of the whole run, as `run.json`.
    fn ran(&self) -> Value {
        let output = self.command().output().expect("the command runs");
        assert!(output.status.success(), "{}", said(&output));
        let about: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let kept: Value = serde_json::from_str(&self.read("run.json")).expect("JSON");
        assert_eq!(about, kept);
        about
    }

    fn asked(&self) -> (usize, usize) {
        (self.stub.calls(), self.stub.embedding_calls())
    }

    fn wait_for_calls(&self, calls: usize) {
        let started = Instant::now();
        while self.stub.calls() < calls {
            assert!(started.elapsed() < PATIENCE, "{:?}", self.asked());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_leaves_its_files_and_the_same_command_asks_nothing_again() {
    let place = Place::new();
    let about = place.ran();
    assert_eq!((&about["targets"], &about["texts"]), (&2.into(), &4.into()));
    assert_eq!(about["engine"], "openai");
    assert_eq!(about["model"], "openai/stub");
    assert_eq!(about["data"]["name"], "data");
    assert_eq!(about["data"]["records"], 251);
    assert_eq!(about["data"]["targets"], 17);
    assert_eq!(about["calls"], place.stub.calls());
    assert_eq!(about["foil"], env!("CARGO_PKG_VERSION"));
    let command = about["command"].as_str().expect("a text");
    let url = place.stub.base_url();
    for words in [
        format!("--data {}", place.path("data")),
        "--engine openai".to_owned(),
        format!("--set llm.base_url={url}"),
        "--parallel 2".to_owned(),
    ] {
        assert!(command.contains(&words), "{words}: {command}");
    }
    let report = place.read("report.md");
    for words in [
        command,
        "| data | data: 251 records of 25 users on 14 items; 2 of 17 targets |",
        about["data"]["sha256"].as_str().expect("a text"),
        "| set | llm.model=stub |",
        "| dpl |",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    for name in ["strategies.svg", "cost.svg"] {
        assert!(place.read(name).starts_with("<svg"), "{name}");
    }
    let figures = place.read("report.csv");
    assert!(figures.contains("\ndpl,rouge_1,2,"), "{figures}");
    assert!(place.read("paired.csv").contains("rouge_1,"));
    assert_eq!(place.read("samples.jsonl").lines().count(), 4);
    assert_eq!(
        place.read("answers.jsonl").lines().count(),
        place.stub.calls()
    );

    let asked = place.asked();
    let again = place.ran();
    assert_eq!(place.asked(), asked);
    assert_eq!(again["calls"], 0);
    assert_eq!(place.read("report.csv"), figures);
}

#[test]
fn an_interrupted_run_goes_on_and_a_second_one_beside_it_is_refused() {
    let place = Place::new();
    // Each word takes its time, so that the run is long enough.
    place.stub.set_mode(Mode::Slow(Duration::from_millis(30)));
    let mut command = place.command();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().expect("the command runs"));
    place.wait_for_calls(1);
    let second = place.command().output().expect("the command runs");
    assert_eq!(second.status.code(), Some(1));
    let words = said(&second);
    assert!(words.contains("another foil eval is at work"), "{words}");

    place.wait_for_calls(4);
    kill_process(Pid::from_child(&running.0), Signal::INT).expect("it runs");
    let status = running.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    let mut errors = String::new();
    let stderr = running.0.stderr.as_mut().expect("a pipe");
    std::io::Read::read_to_string(stderr, &mut errors).expect("UTF-8");
    assert!(errors.contains("interrupted; the same command"), "{errors}");
    let kept = place.read("answers.jsonl").lines().count();
    assert!(kept > 0);

    place.stub.set_mode(Mode::Ok);
    let about = place.ran();
    let lines = place.read("answers.jsonl").lines().count();
    assert_eq!(about["calls"], lines - kept);
    let asked = place.asked();
    assert_eq!(place.ran()["calls"], 0);
    assert_eq!(place.asked(), asked);
}
