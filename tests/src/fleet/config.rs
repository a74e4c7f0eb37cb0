//! What the stages are told: short waits, so that a fault costs seconds, and many attempts, so that
//! no message that is sound uses them up in a run full of faults.

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
    pub llm: StubConfig,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            // A message that comes back this often is one that nobody can serve: it then shows as
            // work that is left.
            max_deliveries: 1000,
            shutdown: Duration::from_secs(10),
            llm_timeout: Duration::from_secs(3),
            llm: StubConfig::default(),
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
    line(format_args!("[nats]\nurl = {:?}", addresses.nats));
    line(format_args!("request_timeout = \"3s\""));
    line(format_args!(
        "[shutdown]\ndeadline = \"{}ms\"",
        tuning.shutdown.as_millis()
    ));
    line(format_args!(
        "[store]\nqdrant_url = \"http://{}\"\ntimeout = \"3s\"",
        addresses.edge
    ));
    match stage {
        stage::EMBEDDER => line(format_args!(
            "[embed]\nengine = \"openai\"\nmodel = \"stub\"\nbase_url = {:?}\ntimeout = \"3s\"",
            addresses.encoder
        )),
        stage::EXTRACTOR | stage::PROFILER => line(format_args!(
            "[llm]\nengine = \"openai\"\nmodel = \"stub\"\nbase_url = {:?}\ntimeout = \"{}ms\"",
            addresses.llm,
            tuning.llm_timeout.as_millis()
        )),
        _ => {}
    }
    line(format_args!("[{stage}]"));
    line(format_args!(
        "{}",
        match stage {
            stage::EMBEDDER => "eager = true\nprofile_debounce = \"1s\"",
            stage::SELECTOR => "compare = \"eager\"\nprofile_debounce = \"1s\"",
            stage::EXTRACTOR => "outage_delay = \"500ms\"\nprofile_debounce = \"1s\"",
            _ => "outage_delay = \"500ms\"\ndebounce = \"1s\"\nmax_wait = \"4s\"",
        }
    ));
    let timeout = tuning.llm_timeout * 2 + Duration::from_secs(4);
    line(format_args!(
        "[{stage}.worker]\ntimeout = \"{}ms\"\nmax_deliveries = {}\nbackoff_base = \"200ms\"\n\
         backoff_cap = \"2s\"\npull_expiry = \"5s\"\npublish_timeout = \"2s\"",
        timeout.as_millis(),
        tuning.max_deliveries
    ));
    text
}
