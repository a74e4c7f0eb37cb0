//! `foil up` that cannot start: it ends soon, and says which setting and what to do.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use foil_tests::{Place, asset};

/// Longest time until it has given up.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `foil up`, which must fail with `code` and say each of `words`.
async fn fails(place: &Place, settings: &[String], code: i32, words: &[&str]) {
    let started = Instant::now();
    let arguments = settings.iter().map(String::as_str).chain(["up"]);
    let output = place.run_within(LIMIT, arguments).await;
    let took = started.elapsed();
    assert_eq!(output.code(), Some(code), "{settings:?}: {output:#?}");
    // The log comes before it.
    let (_, told) = output
        .stderr
        .rsplit_once("foil: ")
        .unwrap_or_else(|| panic!("{settings:?}: {output:#?}"));
    for word in words {
        assert!(told.contains(word), "{settings:?}: {word:?} in {told}");
    }
    println!("{took:.1?}  {}", told.trim_end());
    let free = TcpListener::bind(place.nats_address());
    assert!(free.is_ok(), "{settings:?}: nats-server was left behind");
}

/// The first half of a file.
fn half(place: &Place, name: &str, file: &Path) -> PathBuf {
    let bytes = std::fs::read(file).unwrap();
    place.file(name, &bytes[..bytes.len() / 2])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_file_that_cannot_serve_is_named_with_its_setting() {
    let place = Place::new();
    let chat = asset("FOIL_TEST_LLM_MODEL");
    let encoder = asset("FOIL_TEST_EMBED_MODEL");
    let missing = place.path().join("missing.gguf");
    let text = place.file("text.gguf", "This is a text, and no model at all.\n");
    let empty = place.file("empty.gguf", "");
    let half_chat = half(&place, "half-chat.gguf", &chat);
    let half_encoder = half(&place, "half-encoder.gguf", &encoder);
    let cases = [
        ("llm.model", &missing, "No such file"),
        ("llm.model", &text, "is not a GGUF file"),
        ("llm.model", &empty, "too short"),
        ("llm.model", &half_chat, "corrupted or incomplete"),
        ("llm.model", &encoder, "not a chat model"),
        ("embed.model", &missing, "No such file"),
        ("embed.model", &text, "is not a GGUF file"),
        ("embed.model", &half_encoder, "truncated or damaged"),
        ("embed.model", &chat, "is no embedding model"),
    ];
    for (key, file, problem) in cases {
        let file = file.display().to_string();
        let hint = match key {
            "llm.model" => "name a GGUF file of a chat model",
            _ => "name a GGUF file of an embedding model",
        };
        let setting = [format!("--set={key}={file}")];
        fails(&place, &setting, 1, &[key, &file, problem, hint]).await;
    }
    // With the right files the same place starts.
    place.up(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for (key, scheme, hint) in [
        ("nats.url", "nats://", "leave up.nats_server out"),
        (
            "store.qdrant_url",
            "http://",
            "set up.embedded_qdrant=false",
        ),
        ("admin.listen", "", "name a free port"),
    ] {
        let setting = [format!("--set={key}={scheme}{taken}")];
        fails(&place, &setting, 1, &[key, &taken, "in use", hint]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_another_one_holds_is_left_alone() {
    let place = Place::new();
    let held = place.data_dir().display().to_string();
    let up = place.up(&[]).await;
    let second = Place::new();
    let setting = [format!("--set=up.data_dir={held}")];
    let words = ["up.data_dir", &held, "held by another process", "stop that"];
    fails(&second, &setting, 1, &words).await;
    place.run(["status"]).await.succeeded();
    assert!(up.terminate().await.success());
    // The lock goes with its holder.
    second.up(&[&setting[0]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_none_is_named_before_anything_starts() {
    let place = Place::new();
    let file = place.file(
        "foil.toml",
        "[selector]\nkk = 4\n[llm]\nparallel = \"four\"\n",
    );
    let settings = [
        "--set=selektor.k=4".to_owned(),
        "--set=embed.modle=x".to_owned(),
        "--set=selector.growth=0".to_owned(),
        format!("--config={}", file.display()),
    ];
    let words = [
        "selektor",
        "embed.modle",
        "known are engine, model",
        "selector.kk",
        "llm.parallel",
        "selector.growth",
        "foil.toml",
    ];
    fails(&place, &settings, 64, &words).await;
    assert!(!place.data_dir().exists(), "something was started");
    let settings = ["--set=llm.model=".to_owned(), "--set=embed.model=".into()];
    fails(
        &place,
        &settings,
        64,
        &["llm.model", "embed.model", "is empty"],
    )
    .await;
    let setting = ["--set=up.nats_server=/no/such/server".to_owned()];
    let words = ["up.nats_server", "/no/such/server", "name the path"];
    fails(&place, &setting, 1, &words).await;
}
