//! The process and its data directory.

use std::net::SocketAddr;
use std::process::Stdio;

use foil_edge::{EdgeConfig, EdgeError};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{C, client, create, empty, open, point, put, server, stored};

pub fn foil_edge(dir: &std::path::Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foil-edge"));
    command
        .arg("--data-dir")
        .arg(dir)
        .arg("--listen")
        .arg(listen);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The process and the address that it says it listens on.
pub async fn spawn(dir: &std::path::Path) -> (Child, SocketAddr) {
    let mut child = foil_edge(dir, "127.0.0.1:0")
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .next_line()
        .await
        .unwrap()
        .expect("it says where it listens");
    let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    (child, address)
}

#[tokio::test]
async fn sigterm_ends_the_process_clean_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, address) = spawn(dir.path()).await;
    let client = client(address);
    create(&client, C, 4).await;
    put(&client, vec![point(1, json!({"a": 1}))]).await;
    let pid = child.id().unwrap().to_string();
    Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .await
        .unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let (_edge, client) = open(dir.path()).await;
    assert_eq!(stored(&client, 1).await, json!({"a": 1}));
}

#[tokio::test]
async fn a_held_data_directory_is_refused_until_it_is_free() {
    let server = server().await;
    let held = EdgeConfig {
        data_dir: server.dir.path().to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let refusal = foil_edge::start(held.clone()).await.err().unwrap();
    assert!(matches!(refusal, EdgeError::Held(_)));
    let text = format!(
        "data directory {} is held by another process",
        server.dir.path().display()
    );
    assert_eq!(refusal.to_string(), text);

    let output = foil_edge(server.dir.path(), "127.0.0.1:0")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&text), "{stderr}");

    server.edge.shutdown().await;
    foil_edge::start(held).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = empty().await;
    let dir = tempfile::tempdir().unwrap();
    let listen = server.edge.address();
    let taken = EdgeConfig {
        data_dir: dir.path().to_owned(),
        listen,
    };
    let refusal = foil_edge::start(taken).await.err().unwrap();
    let text = refusal.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {listen}: ")),
        "{text}"
    );
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_or_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let start = |data_dir| foil_edge::start(EdgeConfig { data_dir, listen });
    let text = start(file.clone()).await.err().unwrap().to_string();
    assert!(text.contains(&*file.to_string_lossy()), "{text}");

    let broken = dir.path().join("data");
    std::fs::create_dir_all(broken.join("collections/lost")).unwrap();
    let text = start(broken).await.err().unwrap().to_string();
    assert!(
        text.contains("`lost`") && text.contains("collection.json"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_crash_left_half_made_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("collections/.scratch-1/shard");
    std::fs::create_dir_all(&half).unwrap();
    let (_edge, client) = open(dir.path()).await;
    assert!(!half.exists());
    assert!(
        client
            .list_collections()
            .await
            .unwrap()
            .collections
            .is_empty()
    );
}
