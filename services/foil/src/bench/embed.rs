//! The `llama-cpp` embedder, with its queue and micro-batches, against a bare loop.

use std::time::{Duration, Instant};

use anyhow::Result;
use foil_embedder::llama_cpp::bare_loop;
use foil_embedder::{EmbedConfig, TextEmbedder};

use super::{Reading, median, texts};

const TEXTS: usize = 96;
const ROUNDS: usize = 5;
/// A slow machine may take its time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Embeds the same texts of mixed lengths with both, in turns.
///
/// # Errors
/// What loading and running the model say.
pub async fn measure(config: &EmbedConfig) -> Result<Vec<Reading>> {
    let config = EmbedConfig {
        timeout: PATIENCE,
        ..config.clone()
    };
    let texts: Vec<String> = (0..TEXTS)
        .map(|n| texts::text(n, 5 + n * 37 % 146))
        .collect();
    let embedder = foil_embedder::load(&config).await?;
    // Both computing threads have to be there before either is measured: with a second one in the
    // process OpenMP waits another way.
    bare(&config, &texts).await?;
    adapter(&*embedder, &texts).await?;
    let (mut adapters, mut bares, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each goes first in turn.
        let (ours, plain) = if round % 2 == 0 {
            let ours = adapter(&*embedder, &texts).await?;
            (ours, bare(&config, &texts).await?)
        } else {
            let plain = bare(&config, &texts).await?;
            (adapter(&*embedder, &texts).await?, plain)
        };
        ratios.push(ours / plain);
        adapters.push(ours);
        bares.push(plain);
    }
    Ok(vec![Reading {
        key: "embed",
        value: median(ratios),
        note: format!(
            "{TEXTS} texts of 5 to 150 words, in turns, the median of {ROUNDS} rounds: {:.1} texts \
             a second through the adapter, {:.1} through a bare loop.",
            median(adapters),
            median(bares)
        ),
    }])
}

/// Texts a second.
async fn adapter(embedder: &dyn TextEmbedder, texts: &[String]) -> Result<f64> {
    let texts = texts.to_vec();
    let count = texts.len() as f64;
    let since = Instant::now();
    embedder.embed(texts).await?;
    Ok(count / since.elapsed().as_secs_f64())
}

async fn bare(config: &EmbedConfig, texts: &[String]) -> Result<f64> {
    let (config, texts) = (config.clone(), texts.to_vec());
    Ok(tokio::task::spawn_blocking(move || bare_loop(&config, &texts)).await??)
}
