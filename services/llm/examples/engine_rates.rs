//! Prints how the `llama-cpp` adapter compares with a bare llama.cpp loop:
//! `cargo run --release -p foil-llm --example engine_rates -- MODEL.gguf [ROUNDS]`.

use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments
        .next()
        .ok_or("usage: engine_rates MODEL.gguf [ROUNDS]")?;
    let rounds = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let report = foil_llm::bench::run(Path::new(&model), rounds).await?;
    println!("prompt rate, adapter to bare loop   {:.3}", report.prompt);
    println!("decode rate, adapter to bare loop   {:.3}", report.decode);
    println!("decode rate, four requests to one   {:.3}", report.parallel);
    println!("first token, 2/3 cached to uncached {:.3}", report.prefix);
    Ok(())
}
