//! Whether Foil keeps up by itself: real stages as processes that come and go by the rule of the Helm
//! chart, under a burst of updates, and whether more replicas do the same work in less time.
//! `tests/scale` is the command.

mod burst;
mod drive;
mod fresh;
mod lag;
mod processor;
mod replicas;
mod report;
mod rule;
mod rules;
mod speed;
mod tables;

use std::path::Path;
use std::time::Duration;

use foil_llm::stub::StubConfig;
use foil_proto::names::stage;
use serde::Serialize;

use crate::fleet::Tuning;

pub use report::{Burst, Machine, Report};
pub use rules::Rules;
pub use speed::Row;
pub use tables::markdown;

/// A stage gets this long to finish its work after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// A value file of the chart, `helm/foil/ci/<values>-values.yaml`: its numbers are the rule's.
    pub values: String,
    /// Updates of a burst; 0: no burst at all.
    pub updates: usize,
    /// Bursts, each once Foil is at rest again.
    pub bursts: u64,
    /// How many seconds of the rule one second lasts.
    pub compression: f64,
    /// Milliseconds that the stub of the language model takes for an answer, in a burst.
    pub latency_ms: u64,
    /// The same in the measurement by replicas.
    pub speedup_latency_ms: u64,
    /// Seconds that a profile waits for further differences, each time and at most.
    pub debounce_s: f64,
    pub max_wait_s: f64,
    /// Records of the measurement by replicas.
    pub speedup_records: usize,
    /// Replicas of the extractor, each a measurement.
    pub speedup_replicas: Vec<u32>,
    /// Seconds after which a burst, or a measurement, is given up.
    pub limit_s: f64,
}

impl Options {
    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.limit_s)
    }

    fn tuning(&self, rules: &Rules, latency_ms: u64) -> Tuning {
        let permits = rules.permits();
        let llm = StubConfig {
            latency: Duration::from_millis(latency_ms),
            ..StubConfig::default()
        };
        Tuning {
            max_deliveries: 5,
            shutdown: SHUTDOWN,
            llm_timeout: Duration::from_secs(60),
            llm_parallel: rules.parallel(stage::EXTRACTOR).unwrap_or(4),
            llm,
            ack_wait: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            debounce: Duration::from_secs_f64(self.debounce_s),
            max_wait: Duration::from_secs_f64(self.max_wait_s),
            permits,
            monitored: true,
            ..Tuning::default()
        }
    }
}

/// Runs all of it with everything kept in `directory`.
///
/// # Panics
/// When the chart cannot be rendered, or a fleet not be run or read.
pub async fn run(options: &Options, directory: &Path) -> Report {
    let rules = Rules::of(&options.values);
    let load_before = processor::load();
    let folder = |name: String| {
        let folder = directory.join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the data");
        folder
    };
    let burst = match options.updates {
        0 => None,
        _ => Some(drive::run(options, &rules, &folder("burst".to_owned())).await),
    };
    let mut rows: Vec<Row> = Vec::new();
    for &replicas in &options.speedup_replicas {
        let folder = folder(format!("replicas-{replicas}"));
        let row = speed::measure(options, &rules, replicas, &folder).await;
        eprintln!(
            "scale: {replicas} replicas: {:.1} s for {} records",
            row.seconds, row.records
        );
        rows.push(row);
    }
    let machine = Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        processor: processor::model(),
        cores: processor::cores(),
        load_before,
        load_after: processor::load(),
    };
    Report::new(options.clone(), rules, machine, burst, rows)
}
