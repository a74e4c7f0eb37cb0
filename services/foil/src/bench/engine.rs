//! The `llama-cpp` adapter against a bare loop over llama.cpp.

use std::path::Path;

use anyhow::Result;
use foil_llm::EngineConfig;

use super::Reading;

const ROUNDS: usize = 9;

/// Measures the four figures of the engine in one run.
///
/// # Errors
/// What loading and running the model say.
pub async fn measure(config: &EngineConfig) -> Result<Vec<Reading>> {
    let report = foil_llm::bench::run(Path::new(&config.model), ROUNDS).await?;
    let reading = |key, value, what: &str| Reading {
        key,
        value,
        note: format!("{what}; in turns, the median of {ROUNDS} rounds."),
    };
    Ok(vec![
        reading(
            "engine_prompt",
            report.prompt,
            "rate of reading a prompt of 450 words, adapter to bare loop",
        ),
        reading(
            "engine_decode",
            report.decode,
            "rate of writing 64 tokens after it, adapter to bare loop",
        ),
        reading(
            "engine_parallel",
            report.parallel,
            "rate of writing, four requests together to one alone",
        ),
        reading(
            "prefix",
            report.prefix,
            "time to the first token after 900 words, two thirds of them cached to none",
        ),
    ])
}
