//! What the stages are told: short waits, so that a fault costs seconds, and many attempts, so that
//! no message that is sound uses them up in a run full of faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use foil_llm::stub::StubConfig;
use foil_proto::names::stage;

/// What a killed process held comes again after this time.
pub const ACK_WAIT: Duration = Duration::from_secs(4);

/// What a run may set.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Deliveries of one input before it is a dead letter.
    pub max_deliveries: u64,
    /// `shutdown.deadline`.
    pub shutdown: Duration,
    /// `llm.timeout`.
    pub llm_timeout: Duration,
    /// `llm.parallel`.
    pub llm_parallel: usize,
    pub llm: StubConfig,
    pub encoder: StubConfig,
    /// `provision.ack_wait`.
    pub ack_wait: Duration,
    /// Of one answer of NATS, the store or the encoder.
    pub patience: Duration,
    /// `<stage>.profile_debounce`, and `debounce` of the profiler.
    pub debounce: Duration,
    /// `profiler.max_wait`.
    pub max_wait: Duration,
    /// `worker.permits` of the stages that have other ones than by default.
    pub permits: BTreeMap<String, usize>,
    /// Whether NATS serves its monitoring port.
    pub monitored: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            // A message that comes back this often is one that nobody can serve: it then shows as
            // work that is left.
            max_deliveries: 1000,
            shutdown: Duration::from_secs(10),
            llm_timeout: Duration::from_secs(3),
            llm_parallel: 4,
            llm: StubConfig::default(),
            encoder: StubConfig::default(),
            ack_wait: ACK_WAIT,
            patience: Duration::from_secs(3),
            debounce: Duration::from_secs(1),
            max_wait: Duration::from_secs(4),
            permits: BTreeMap::new(),
            monitored: false,
        }
    }
}

pub(super) struct Addresses<'a> {
    pub(super) nats: &'a str,
    pub(super) edge: &'a str,
    pub(super) llm: &'a str,
    pub(super) encoder: &'a str,
}

/// The TOML of one stage.
pub(super) fn of(stage: &str, addresses: &Addresses<'_>, tuning: &Tuning) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("a String takes all that is written");
    };
    let patience = tuning.patience.as_millis();
    line(format_args!("[nats]\nurl = {:?}", addresses.nats));
    line(format_args!("request_timeout = \"{patience}ms\""));
    line(format_args!(
        "[shutdown]\ndeadline = \"{}ms\"",
        tuning.shutdown.as_millis()
    ));
    line(format_args!(
        "[store]\nqdrant_url = \"http://{}\"\ntimeout = \"{patience}ms\"",
        addresses.edge
    ));
    match stage {
        stage::EMBEDDER => line(format_args!(
            "[embed]\nengine = \"openai\"\nmodel = \"stub\"\nbase_url = {:?}\n\
             timeout = \"{patience}ms\"",
            addresses.encoder
        )),
        stage::EXTRACTOR | stage::PROFILER => line(format_args!(
            "[llm]\nengine = \"openai\"\nmodel = \"stub\"\nbase_url = {:?}\n\
             parallel = {}\ntimeout = \"{}ms\"",
            addresses.llm,
            tuning.llm_parallel,
            tuning.llm_timeout.as_millis()
        )),
        _ => {}
    }
    line(format_args!("[{stage}]"));
    let debounce = tuning.debounce.as_millis();
    match stage {
        stage::EMBEDDER => line(format_args!("eager = true")),
        stage::SELECTOR => line(format_args!("compare = \"eager\"")),
        _ => line(format_args!("outage_delay = \"500ms\"")),
    }
    match stage {
        stage::PROFILER => line(format_args!(
            "debounce = \"{debounce}ms\"\nmax_wait = \"{}ms\"",
            tuning.max_wait.as_millis()
        )),
        _ => line(format_args!("profile_debounce = \"{debounce}ms\"")),
    }
    let timeout = tuning.llm_timeout * 2 + Duration::from_secs(4);
    line(format_args!(
        "[{stage}.worker]\ntimeout = \"{}ms\"\nmax_deliveries = {}\nbackoff_base = \"200ms\"\n\
         backoff_cap = \"2s\"\npull_expiry = \"5s\"\npublish_timeout = \"{}ms\"",
        timeout.as_millis(),
        tuning.max_deliveries,
        patience * 2 / 3
    ));
    if let Some(permits) = tuning.permits.get(stage) {
        line(format_args!("permits = {permits}"));
    }
    text
}
