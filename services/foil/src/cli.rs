//! Verbs and flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};

use crate::bench::figures;
use dead::DeadVerb;

pub mod dead;
pub mod eval;

const GLOBAL: &str = "Global options";
/// Tenant of who names none.
pub const TENANT: &str = "demo";

/// Learns how each user differs from the others, and writes personal text from it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What is wrong with it, or the help that it asks for.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(together(arguments))
    }
}

/// Brings every `--set` before the verb: those that stand there would be forgotten without a word when
/// others stand behind it.
fn together(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut first: Vec<OsString> = arguments.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments.by_ref());
        } else if argument.as_encoded_bytes().starts_with(b"--set=") {
            first.push(argument);
        } else if argument != "--set" {
            rest.push(argument);
        } else if let Some(value) = arguments.next() {
            first.extend([argument, value]);
        } else {
            rest.push(argument);
        }
    }
    first.extend(rest);
    first
}

#[derive(Debug, Args)]
pub struct Global {
    /// A TOML file; environment variables FOIL_SECTION__KEY go before it
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Sets one configuration key, before everything else; may be repeated
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", help_heading = GLOBAL, value_parser = foil_runtime::key_and_value)]
    pub set: Vec<(String, String)>,
    /// The tenant that a verb is about [default: demo]
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub tenant: Option<String>,
    /// Prints JSON instead of text for people
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

impl Global {
    /// The tenant named, or the one of whoever tries it out.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(TENANT)
    }
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs every stage in this process
    ///
    /// Starts a nats-server as a child when `up.nats_server` names its program, and an embedded
    /// Qdrant unless `up.embedded_qdrant` is false; both keep their data in `up.data_dir`.
    #[command(
        after_help = "Example:\n  foil up --data-dir ./foil-data \\\n    --set up.nats_server=nats-server \\\n    --set llm.model=chat.gguf --set embed.model=encoder.gguf"
    )]
    Up(UpArgs),
    /// Creates streams, consumers, buckets and collections; running it again changes nothing
    #[command(
        after_help = "Examples:\n  foil provision --set nats.url=nats://nats:4222 --set provision.replicas=3\n  foil provision --wait 5m"
    )]
    Provision(ProvisionArgs),
    /// Publishes updates from a file of JSON lines
    #[command(
        after_help = "Examples:\n  foil ingest reviews.ndjson --wait\n  zcat reviews.ndjson.gz | foil ingest -\n\nA line:\n  {\"type\":\"record\",\"user\":\"mara\",\"item\":\"kettle\",\"title\":\"Loud\",\"rating\":2,\n   \"occurred_at\":\"2026-03-14T18:20:00Z\",\"revision\":1,\"text\":\"...\"}\nOther types: item, record_delete, user_erase, peer_opt_out."
    )]
    Ingest(IngestArgs),
    /// Shows a user's profile
    #[command(after_help = "Examples:\n  foil profile mara\n  foil profile mara --history --json")]
    Profile(ProfileArgs),
    /// Shows what was found on each of a user's records
    #[command(after_help = "Example:\n  foil differences mara --item kettle")]
    Differences(DifferencesArgs),
    /// Builds the context of a text without writing it: no LLM call
    #[command(after_help = "Example:\n  foil context mara --item kettle")]
    Context(RequestArgs),
    /// Writes a text for a user, as it comes
    #[command(
        after_help = "Examples:\n  foil generate mara --item kettle --title \"A second look\" --rating 4\n  foil generate mara --item-title \"A tent\" --strategy non-perso"
    )]
    Generate(RequestArgs),
    /// Looks after dead letters
    #[command(subcommand)]
    Dead(DeadVerb),
    /// Removes everything of a user, one of their records, or a whole tenant, for good
    ///
    /// Waits until nothing returns it any more and its bytes are gone from the files, and prints a
    /// receipt without text.
    #[command(
        after_help = "Examples:\n  foil erase mara\n  foil erase mara --record kettle --json\n  foil erase --tenant shop-7 --all-of-tenant shop-7"
    )]
    Erase(EraseArgs),
    /// Measures what Foil costs: counts and ratios, each of one run
    ///
    /// Starts the servers it needs in a temporary directory, and needs no network. Figures of one
    /// run come together: the four of the engine, and the four counts of calls. With --json, one
    /// object with a key for each name.
    #[command(
        after_help = "Examples:\n  foil bench\n  foil bench bus selection_ms\n  foil bench rss_mb --corpus tests/corpus --json"
    )]
    Bench(BenchArgs),
    /// Measures whether it personalises, on anyone's data
    #[command(subcommand)]
    Eval(eval::EvalVerb),
    /// Shows streams, lag and stages
    ///
    /// Exits with 1 when something is missing, unreachable or not ready.
    #[command(
        after_help = "Examples:\n  foil status --json\n  foil status --stages-elsewhere    # on a cluster"
    )]
    Status(StatusArgs),
    /// Lists every metric that Foil exports, with its kind and its labels
    ///
    /// deploy/metrics.md says what they mean.
    #[command(after_help = "Example:\n  foil metrics --json")]
    Metrics,
    /// Makes the keys of NATS users, one for each role, and the server's configuration with their rights
    ///
    /// Keys that are there are kept: to replace one, delete its file and run this again. Then reload
    /// the server.
    #[command(
        after_help = "Example:\n  foil nats-auth /etc/nats --for-tenant acme --for-tenant globex"
    )]
    NatsAuth(NatsAuthArgs),
    /// What `foil up` starts its nats-server through
    #[command(hide = true)]
    NatsServer(NatsServerArgs),
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where everything is kept; made if missing
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Checks the configuration and ends
    #[arg(long)]
    pub check_config: bool,
    /// Prints the configuration as TOML, secrets hidden, and ends
    #[arg(long)]
    pub dump_config: bool,
}

#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// Longest wait for NATS, and then for Qdrant, to answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub wait: Duration,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The stages run in processes of their own: does not ask admin.listen whether they are ready
    #[arg(long)]
    pub stages_elsewhere: bool,
}

#[derive(Debug, Args)]
pub struct NatsServerArgs {
    /// Process with which the server ends
    #[arg(long)]
    pub parent: i32,
    pub program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct NatsAuthArgs {
    /// Where the keys and foil-auth.conf are; made if missing
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Also a producer and a caller who reach this tenant only; may be repeated
    #[arg(long = "for-tenant", value_name = "TENANT")]
    pub for_tenants: Vec<String>,
}

#[derive(Debug, Args)]
pub struct IngestArgs {
    /// Files of JSON lines; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Waits until everything published has been worked on and the profiles are fresh
    #[arg(long)]
    pub wait: bool,
    /// Longest wait
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Id of the user
    pub user: String,
    /// All versions that are kept, newest first
    #[arg(long)]
    pub history: bool,
}

#[derive(Debug, Args)]
pub struct DifferencesArgs {
    /// Id of the user
    pub user: String,
    /// Only the one on this item
    #[arg(long, value_name = "ID")]
    pub item: Option<String>,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// Id of the user to write for
    pub user: String,
    /// Id of a known item
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub item: String,
    /// Title of the item, when it is not known or another is wanted
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub item_title: String,
    /// Description of the item, likewise
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub item_description: String,
    /// Headline of the text
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub title: String,
    /// Rating the text speaks for; open without one
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub rating: Option<f64>,
    /// What the context rests on [default: generator.strategy]
    #[arg(long, value_parser = strategies())]
    pub strategy: Option<String>,
    /// Most tokens to write [default: generator.max_tokens, 384]
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub max_tokens: u32,
    /// 0 is greedy, 2 the most varied [default: generator.temperature]
    #[arg(long, value_name = "NUMBER")]
    pub temperature: Option<f64>,
    /// The same seed and the same state give the same text, where the engine can
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Waits for a profile with differences, within the time limit
    #[arg(long)]
    pub wait: bool,
    /// Waits for this profile version or a newer one, within the time limit
    #[arg(
        long,
        value_name = "VERSION",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub min_version: u64,
    /// The deadline
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct EraseArgs {
    /// Id of the user
    #[arg(required_unless_present = "all_of_tenant")]
    pub user: Option<String>,
    /// Only their record on this item
    #[arg(long, value_name = "ID", requires = "user")]
    pub record: Option<String>,
    /// This revision of the record and older ones [default: the one that is stored]
    #[arg(long, value_name = "NUMBER", requires = "record")]
    pub revision: Option<u64>,
    /// Everything of the tenant given by --tenant; repeat its name
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["user", "record", "revision"])]
    pub all_of_tenant: Option<String>,
    /// Longest wait
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure; everything by default
    #[arg(value_name = "NAME", value_parser = figures::names())]
    pub names: Vec<String>,
    /// Folder of the JSON lines that `rss_mb` ingests
    #[arg(long, value_name = "DIR", default_value = "tests/corpus")]
    pub corpus: PathBuf,
}

/// 300ms, 10s, 5m, 2h, 7d.
fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "expected a duration like 30s or 2m")
}

/// Takes the strategies, and explains them in the help.
fn strategies() -> PossibleValuesParser {
    let value = |(name, meaning)| PossibleValue::new(name).help(meaning);
    [
        (
            "dpl",
            "profile made of differences from others, what was found, and past texts",
        ),
        (
            "intsum",
            "summary of the user's own history, without differences, and past texts",
        ),
        (
            "llm-trsr",
            "summary of the history block by block, made for the request, and past texts",
        ),
        (
            "cicl",
            "past texts, and beside each what another user wrote on the same item",
        ),
        (
            "persona-db",
            "categories filled in from the history, profiles of similar users, and past texts",
        ),
        (
            "rag",
            "only those of the user's past texts that are most alike",
        ),
        ("non-perso", "nothing about the user"),
    ]
    .map(value)
    .into()
}

#[cfg(test)]
mod tests;
