//! Verbs and flags of `foil eval`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use foil_eval::data::read::Format;

pub mod run;

#[derive(Debug, Subcommand)]
pub enum EvalVerb {
    /// Reads reviews, filters them, holds out each user's last records, and says what is left
    ///
    /// The filters are the paper's (arXiv 2503.02450) unless a preset or a flag says otherwise. Data
    /// of a few thousand records need --preset small: the paper's filters leave next to nothing of
    /// them. The folder's records.ndjson and items.ndjson can be given to `foil ingest` too.
    #[command(
        after_help = "Examples:\n  foil eval prepare --reviews reviews.jsonl.gz --meta meta.jsonl.gz \\\n    --preset small --out prepared\n  foil eval prepare --reviews records.ndjson --meta items.ndjson --user-records-min 5 --out prepared"
    )]
    Prepare(PrepareArgs),
    /// Measures without an LLM how well a user is told from others
    ///
    /// Each user's records are split in two halves, and one half has to find the other among those of
    /// all users: by the mean embedding, by the difference from representatives chosen in each way,
    /// by the measured evidence, and by difference and evidence together. Vectors are kept by content:
    /// a second run takes seconds.
    #[command(
        after_help = "Examples:\n  foil eval selection\n  foil eval selection --data prepared --out results --json\n  foil eval selection --data prepared --split time"
    )]
    Selection(SelectionArgs),
    /// Writes a text for every held-out record by every strategy, and scores it
    ///
    /// The code of the stages does it, without a store or queues. Every answer of the model is kept by
    /// the content of its question: an interrupted run goes on where it was, and strategies share what
    /// they have in common.
    #[command(
        after_help = "Examples:\n  foil eval run --limit 20\n  foil eval run --data prepared --strategies dpl,rag,dpl:k=2 --out results\n  foil eval run --data prepared --strategies table,ablations --engine openai \\\n    --set llm.base_url=http://127.0.0.1:8000/v1 --set llm.model=qwen --parallel 8"
    )]
    Run(run::RunArgs),
}

#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// Reviews, plain or gzipped; may be repeated
    #[arg(long, required = true, value_name = "FILE")]
    pub reviews: Vec<PathBuf>,
    /// Items, plain or gzipped; may be repeated
    #[arg(long, value_name = "FILE")]
    pub meta: Vec<PathBuf>,
    /// How the lines are written [default: as the first line looks]
    #[arg(long, value_parser = formats())]
    pub format: Option<String>,
    /// Where the result goes; made if missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where the filters begin; flags change single ones
    #[arg(long, value_enum, default_value_t = Preset::Paper)]
    pub preset: Preset,
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Bad lines that are left out; one more is an error
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub faults_max: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    /// Texts of 200 characters, described items with 8 users, users with 18 to 500 records
    Paper,
    /// Texts of 100 characters, items with 5 users, users with 9 to 500 records
    Small,
}

/// Each stands for a filter of the preset.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Shortest text, characters
    #[arg(long, value_name = "NUMBER")]
    pub text_chars_min: Option<usize>,
    /// Shortest description of an item, characters; 0 keeps items without one
    #[arg(long, value_name = "NUMBER")]
    pub description_chars_min: Option<usize>,
    /// Longest description of an item, characters
    #[arg(long, value_name = "NUMBER")]
    pub description_chars_max: Option<usize>,
    /// Fewest users of an item
    #[arg(long, value_name = "NUMBER")]
    pub item_users_min: Option<usize>,
    /// Fewest records of a user who is evaluated
    #[arg(long, value_name = "NUMBER")]
    pub user_records_min: Option<usize>,
    /// Most records of a user who is evaluated
    #[arg(long, value_name = "NUMBER")]
    pub user_records_max: Option<usize>,
    /// Last records of each user that are held out, each with all that came before it
    #[arg(long, value_name = "NUMBER")]
    pub hold_out: Option<usize>,
    /// Users that make an item's records comparable
    #[arg(long, value_name = "NUMBER")]
    pub comparable_users_min: Option<usize>,
    /// Fewest comparable records before a held-out one
    #[arg(long, value_name = "NUMBER")]
    pub comparable_records_min: Option<usize>,
}

#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// A folder from `foil eval prepare`, or one with *.ndjson, or with Amazon's reviews* and meta*
    #[arg(long, value_name = "DIR", default_value = "tests/corpus")]
    pub data: PathBuf,
    /// Where table, figures and plot go, and the vectors are kept [default: eval in up.data_dir]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Of the splits, the sample of users, and the intervals
    #[arg(long, value_name = "NUMBER", default_value_t = 42)]
    pub seed: u64,
    /// Most users, drawn by the seed [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(2..))]
    pub limit: Option<u64>,
    /// How a history is split
    #[arg(long, value_enum, default_value_t = SplitArg::Random)]
    pub split: SplitArg,
    /// Random splits that are averaged
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub splits: u64,
    /// Fewest comparable records of a user
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..))]
    pub records_min: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SplitArg {
    /// In two halves at random
    Random,
    /// The earlier half and the later one
    Time,
}

fn formats() -> PossibleValuesParser {
    Format::ALL.map(|(name, _)| name).into()
}
