//! `examples/echo.rs` as a child process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{World, until};

fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("this test's own path");
    let profile = here
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let path = profile.join("examples").join("echo");
    assert!(
        path.is_file(),
        "build the examples as well: {} is missing",
        path.display()
    );
    path
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn output(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(variables)
        .args(arguments)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (status.code(), text(stdout), text(stderr))
}

pub struct Echo {
    child: Child,
    admin: String,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    pub fn start(world: &World, deadline: &str) -> Self {
        Self::start_with(world, deadline, &[])
    }

    pub fn start_with(world: &World, deadline: &str, further: &[(&str, &str)]) -> Self {
        let url = world.server.url();
        let mut child = command(&[
            ("FOIL_NATS__URL", &url),
            ("FOIL_ADMIN__LISTEN", "127.0.0.1:0"),
            ("FOIL_SHUTDOWN__DEADLINE", deadline),
            ("FOIL_TELEMETRY__LOG", "json"),
        ])
        .envs(further.iter().copied())
        .spawn()
        .expect("it runs");
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let admin = lines
            .find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON log line");
                line["address"].as_str().map(str::to_owned)
            })
            .expect("the admin port is logged");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let written = log.clone();
        std::thread::spawn(move || {
            lines.for_each(|line| written.lock().expect("not poisoned").push(line));
        });
        Self { child, admin, log }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).expect("the admin port is open");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status"), body.to_owned())
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid])
            .status();
        assert!(sent.expect("`kill` runs").success());
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        let status = self.child.try_wait().expect("its state can be read");
        status.is_some()
    }

    pub async fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        until("the process ends", async || {
            status = self.child.try_wait().expect("its state can be read");
            status.is_some()
        })
        .await;
        status.and_then(|status| status.code())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
