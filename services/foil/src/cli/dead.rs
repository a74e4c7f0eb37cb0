//! Verbs and flags of `foil dead`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// One line for each
    #[command(after_help = "Example:\n  foil dead list --stage embedder --reason invalid")]
    List(DeadFilter),
    /// All that is known of one
    #[command(after_help = "Example:\n  foil dead show 17")]
    Show(ShowArgs),
    /// Publishes them again to where they came from, and removes the copies
    ///
    /// Needs a filter or --sequence; --older-than 0s means all.
    #[command(
        after_help = "Examples:\n  foil dead redrive --stage extractor --dry-run\n  foil dead redrive --reason exhausted --rate 10"
    )]
    Redrive(RedriveArgs),
    /// Removes them for good
    ///
    /// Needs a filter or --sequence; --older-than 0s means all.
    #[command(after_help = "Example:\n  foil dead purge --older-than 7d --dry-run")]
    Purge(PurgeArgs),
}

impl DeadVerb {
    /// A tenant that is named is meant: whoever names one sees and purges no other's.
    pub fn within(mut self, tenant_named: bool) -> Self {
        let (Self::List(filter)
        | Self::Show(ShowArgs { filter, .. })
        | Self::Redrive(RedriveArgs { filter, .. })
        | Self::Purge(PurgeArgs { filter, .. })) = &mut self;
        filter.this_tenant |= tenant_named;
        self
    }
}

#[derive(Debug, Args)]
pub struct DeadFilter {
    /// Only of this stage
    #[arg(long)]
    pub stage: Option<String>,
    /// Only for this reason
    #[arg(long)]
    pub reason: Option<String>,
    /// Only of the default tenant; of another one when --tenant names it
    #[arg(long)]
    pub this_tenant: bool,
    /// Only this old or older
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Only younger than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub newer_than: Option<Duration>,
    /// At most this many
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
}

impl DeadFilter {
    /// Whether it says which ones are meant.
    pub fn is_given(&self) -> bool {
        self.this_tenant || self.is_narrower()
    }

    /// Whether it says more than whose they are.
    pub fn is_narrower(&self) -> bool {
        self.stage.is_some()
            || self.reason.is_some()
            || self.older_than.is_some()
            || self.newer_than.is_some()
    }
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub filter: DeadFilter,
    /// As `foil dead list` shows it
    pub sequence: u64,
}

#[derive(Debug, Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Only this one, if the filters let it through
    #[arg(long)]
    pub sequence: Option<u64>,
    /// Says what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Messages per second
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
}

#[derive(Debug, Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    pub filter: DeadFilter,
    /// Only this one, if the filters let it through
    #[arg(long)]
    pub sequence: Option<u64>,
    /// Says what would be done
    #[arg(long)]
    pub dry_run: bool,
}
