//! The llama-cpp adapter on the real MiniLM, which FOIL_TEST_EMBED_MODEL names.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use foil_embedder::llama_cpp::{LlamaEmbedder, bare_loop};
use foil_embedder::{EmbedConfig, EmbedError, TextEmbedder};
use futures::future::join_all;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn config() -> EmbedConfig {
    let model = std::env::var("FOIL_TEST_EMBED_MODEL").expect("FOIL_TEST_EMBED_MODEL is set");
    EmbedConfig {
        model,
        ..EmbedConfig::default()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn similar_texts_are_nearer_than_different_ones() {
    let model = LlamaEmbedder::load(&config()).unwrap();
    assert_eq!(model.dimension(), 384);
    let texts = strings(&[
        "The pasta was delicious and the waiter kind.",
        "Lovely noodles, friendly service!",
        "My laptop's battery died after a week.",
    ]);
    let vectors = model.embed(texts).await.unwrap();
    for vector in &vectors {
        assert_eq!(vector.len(), 384);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-5);
    }
    let near = dot(&vectors[0], &vectors[1]);
    let far = dot(&vectors[0], &vectors[2]);
    assert!(near > far + 0.2, "{near} {far}");
}

#[tokio::test]
async fn a_batch_gives_what_single_texts_give() {
    let model = LlamaEmbedder::load(&config()).unwrap();
    let texts: Vec<String> = (0..20)
        .map(|i| format!("Visitor {i} says: {}", "good food, ".repeat(i + 1)))
        .collect();
    let together = model.embed(texts.clone()).await.unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        let alone = model.embed(vec![text.clone()]).await.unwrap();
        let same = dot(&alone[0], vector);
        assert!(same > 0.9999, "{same}");
    }
    let callers = texts.iter().map(|text| model.embed(vec![text.clone()]));
    for (answer, vector) in join_all(callers).await.into_iter().zip(&together) {
        assert!(dot(&answer.unwrap()[0], vector) > 0.9999);
    }
}

#[tokio::test]
async fn any_text_has_a_vector_and_a_long_one_counts_with_its_beginning() {
    let model = LlamaEmbedder::load(&config()).unwrap();
    let long = "a fine place for tea ".repeat(3_000);
    let texts = vec![
        long.clone(),
        format!("{long} and cake"),
        String::new(),
        "\u{1f30a}\u{1f30a} \0 [SEP] [CLS]".to_owned(),
        "x".repeat(60_000),
    ];
    let vectors = model.embed(texts).await.unwrap();
    assert_eq!(vectors.len(), 5);
    assert!(dot(&vectors[0], &vectors[1]) > 0.9999);
    assert!(model.embed(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_queue_is_said() {
    let config = EmbedConfig {
        queue: 2,
        ..config()
    };
    let model = LlamaEmbedder::load(&config).unwrap();
    let texts = vec!["one of very many texts".to_owned(); 500];
    let refused = model.embed(texts).await;
    assert!(matches!(refused, Err(EmbedError::Busy { limit: 2 })));
    assert!(model.embed(strings(&["one"])).await.is_ok());
}

#[test]
fn files_that_are_no_embedding_model_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let cause = |path: &Path| {
        let config = EmbedConfig {
            model: path.display().to_string(),
            ..config()
        };
        LlamaEmbedder::load(&config).err().unwrap().to_string()
    };
    let missing = cause(&directory.path().join("none.gguf"));
    assert!(missing.contains("none.gguf: No such file"), "{missing}");
    let whole = std::fs::read(config().model).unwrap();
    let cut = directory.path().join("cut.gguf");
    for length in [100, whole.len() / 2] {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let fault = cause(&cut);
        assert!(fault.contains("truncated or damaged"), "{fault}");
    }
}

#[test]
fn the_plain_loop_measures() {
    let texts = vec!["a fine place for tea".to_owned(); 8];
    assert!(bare_loop(&config(), &texts).unwrap() > 0.0);
}
