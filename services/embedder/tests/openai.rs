//! The openai adapter against foil-llm's stub server.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use foil_embedder::openai::OpenAiEmbedder;
use foil_embedder::{EmbedConfig, EmbedEngine, EmbedError, TextEmbedder};
use foil_llm::stub::{Mode, StubConfig, StubServer};

fn config(server: &StubServer) -> EmbedConfig {
    EmbedConfig {
        engine: EmbedEngine::Openai,
        model: "stub".to_owned(),
        base_url: Some(server.base_url()),
        timeout: Duration::from_millis(500),
        ..EmbedConfig::default()
    }
}

fn texts() -> Vec<String> {
    vec!["one text".to_owned(), "another text".to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_come_in_the_order_of_the_texts() {
    let server = StubServer::start(StubConfig::default()).unwrap();
    let model = OpenAiEmbedder::new(&config(&server)).unwrap();
    let both = model.embed(texts()).await.unwrap();
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
    let second = model.embed(vec![texts().remove(1)]).await.unwrap();
    assert_eq!(second[0], both[1]);
    let length: f32 = both[0].iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-4);
    assert_eq!(server.embedding_calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_dimension_is_refused() {
    let server = StubServer::start(StubConfig::default()).unwrap();
    let config = EmbedConfig {
        dimension: 768,
        ..config(&server)
    };
    let model = OpenAiEmbedder::new(&config).unwrap();
    let error = model.embed(texts()).await.unwrap_err();
    assert_eq!(error.to_string(), "bad embedding: a vector of 384, not 768");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart_and_end() {
    let mut server = StubServer::start(StubConfig::default()).unwrap();
    let model = OpenAiEmbedder::new(&config(&server)).unwrap();
    server.set_mode(Mode::Status(503));
    let error = model.embed(texts()).await.unwrap_err();
    assert!(matches!(error, EmbedError::Unavailable(_)), "{error}");
    server.set_mode(Mode::Hang);
    let error = model.embed(texts()).await.unwrap_err();
    assert!(matches!(error, EmbedError::Timeout), "{error}");
    server.stop();
    let error = model.embed(texts()).await.unwrap_err();
    assert!(matches!(error, EmbedError::Unavailable(_)), "{error}");
}

#[test]
fn a_base_url_that_cannot_work_is_named() {
    for base in ["", "h:8000", "ftp://h/v1"] {
        let config = EmbedConfig {
            base_url: Some(base.to_owned()),
            ..EmbedConfig::default()
        };
        let error = OpenAiEmbedder::new(&config).err().unwrap().to_string();
        assert!(error.starts_with("embed.base_url: "), "{base}: {error}");
    }
}
