//! Flags of `foil eval run`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A folder from `foil eval prepare`, or one with *.ndjson, or with Amazon's reviews* and meta*
    #[arg(long, value_name = "DIR", default_value = "tests/corpus")]
    pub data: PathBuf,
    /// What is compared, separated by commas: a strategy, one with changes such as
    /// dpl:selection=random:k=3, `table` for all seven, `ablations` for each change the paper makes
    #[arg(long, value_name = "NAMES", default_value = "table")]
    pub strategies: String,
    /// Most targets, drawn by the seed [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Of the draw, the texts, and the intervals
    #[arg(long, value_name = "NUMBER", default_value_t = 42)]
    pub seed: u64,
    /// The engine that writes: llama-cpp, mistralrs or openai [default: llm.engine]
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// Peers may have written after the target too
    #[arg(long)]
    pub later_peers: bool,
    /// Targets that are worked on at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub parallel: u64,
    /// Address of an OpenAI-compatible server whose model judges each text
    #[arg(long, value_name = "URL", requires = "judge_model")]
    pub judge_url: Option<String>,
    /// The name that server knows it by
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    pub judge_model: Option<String>,
    /// A file with the judge's key and nothing else
    #[arg(long, value_name = "FILE", requires = "judge_url")]
    pub judge_key_file: Option<PathBuf>,
    /// How often the judge is asked for each text
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=32))]
    pub judgements: u64,
    /// Where samples, report and plots go, and answers and vectors are kept [default: eval in
    /// up.data_dir]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
