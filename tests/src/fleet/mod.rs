//! Foil as it runs in production: NATS, the embedded Qdrant and every stage as processes of their
//! own, so that each can be killed, stopped and started by itself. The models are stub servers in
//! this process.

mod config;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foil_llm::stub::StubServer;
use foil_proto::names::stage;
use foil_runtime::testing::NatsServer;
use foil_store::{ProvisionConfig, StoreConfig, provision};
use tokio::sync::Mutex;

use crate::look::Look;

pub use config::{ACK_WAIT, Tuning};
pub use process::{Process, Signal};

/// Stages that take part; the generator answers callers and stores nothing.
pub const STAGES: [&str; 4] = [
    stage::EMBEDDER,
    stage::SELECTOR,
    stage::EXTRACTOR,
    stage::PROFILER,
];
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// One process of a stage.
pub struct Replica {
    pub stage: &'static str,
    pub number: usize,
    pub process: Mutex<Process>,
}

/// Everything. Whoever holds a part's lock decides about it.
pub struct Fleet {
    pub directory: PathBuf,
    pub nats: Mutex<NatsServer>,
    pub edge: Mutex<Process>,
    pub replicas: Vec<Replica>,
    pub llm: Mutex<StubServer>,
    pub encoder: Mutex<StubServer>,
    pub nats_url: String,
    pub edge_address: String,
    /// `host:port` of NATS's monitoring, where [`Tuning::monitored`] asked for it.
    pub monitor: Option<String>,
}

impl Fleet {
    /// Starts `replicas` processes of each stage over servers whose data is in `directory`, and waits
    /// until all of them are ready.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(directory: &Path, replicas: usize, tuning: &Tuning) -> Arc<Self> {
        let folder = |name: &str| {
            let folder = directory.join(name);
            std::fs::create_dir_all(&folder).expect("a folder for the data");
            folder
        };
        let monitor = tuning
            .monitored
            .then(|| format!("127.0.0.1:{}", free_port()));
        let further = monitor.as_ref().map(|at| format!("http: {at:?}"));
        let further = further.unwrap_or_default();
        let nats = NatsServer::start_with(Some(&folder("nats")), &further);
        let nats_url = nats.url();
        let edge_address = format!("127.0.0.1:{}", free_port());
        let edge = Process::edge(directory, &folder("edge"), &edge_address);
        let stub = |config| StubServer::start(config).expect("a stub server starts");
        let llm = stub(tuning.llm.clone());
        let encoder = stub(tuning.encoder.clone());
        let addresses = config::Addresses {
            nats: &nats_url,
            edge: &edge_address,
            llm: &llm.base_url(),
            encoder: &encoder.base_url(),
        };
        for stage in STAGES {
            let text = config::of(stage, &addresses, tuning);
            std::fs::write(configuration(directory, stage), text).expect("a configuration");
        }
        let replicas = STAGES
            .iter()
            .flat_map(|stage| (0..replicas).map(move |number| (*stage, number)))
            .map(|(stage, number)| Replica {
                stage,
                number,
                process: Mutex::new(launch(directory, stage, number)),
            })
            .collect();
        let fleet = Arc::new(Self {
            directory: directory.to_owned(),
            nats: Mutex::new(nats),
            edge: Mutex::new(edge),
            replicas,
            llm: Mutex::new(llm),
            encoder: Mutex::new(encoder),
            nats_url,
            edge_address,
            monitor,
        });
        fleet.provision(tuning.ack_wait).await;
        fleet.all_ready().await;
        fleet
    }

    /// One more process of a stage, which its caller owns.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&self, stage: &str, number: usize) -> Process {
        launch(&self.directory, stage, number)
    }

    async fn provision(&self, ack_wait: Duration) {
        let look = self.look().await;
        let until = Instant::now() + READY_LIMIT;
        let config = ProvisionConfig {
            ack_wait,
            max_deliver: 100_000,
            ..ProvisionConfig::default()
        };
        while let Err(error) = provision(&look.store, &config).await {
            assert!(Instant::now() < until, "not provisioned: {error}");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Waits until every process of a stage is ready.
    ///
    /// # Panics
    /// When one is not within a minute.
    pub async fn all_ready(&self) {
        let until = Instant::now() + READY_LIMIT;
        for replica in &self.replicas {
            while !replica.process.lock().await.is_ready() {
                let (stage, number) = (replica.stage, replica.number);
                assert!(Instant::now() < until, "{stage} {number} is not ready");
                tokio::time::sleep(POLL_EVERY).await;
            }
        }
    }

    /// The only process of a stage, or its first.
    ///
    /// # Panics
    /// When there is none.
    pub fn replica(&self, stage: &str, number: usize) -> &Replica {
        let mut replicas = self.replicas.iter();
        let found = replicas.find(|r| r.stage == stage && r.number == number);
        found.expect("a stage of this fleet")
    }

    /// Connects to NATS and the store.
    ///
    /// # Panics
    /// When the configuration of the store does not hold.
    pub async fn look(&self) -> Look {
        let nats = foil_runtime::NatsConfig {
            url: self.nats_url.clone(),
            request_timeout: Duration::from_secs(3),
            ..foil_runtime::NatsConfig::default()
        };
        let nats = foil_runtime::nats::connect(&nats, "foil-tests").await;
        let store = StoreConfig {
            qdrant_url: format!("http://{}", self.edge_address),
            ..StoreConfig::default()
        };
        Look::over(nats.expect("the address holds"), &store).await
    }
}

fn configuration(directory: &Path, stage: &str) -> PathBuf {
    directory.join(format!("{stage}.toml"))
}

fn launch(directory: &Path, stage: &str, number: usize) -> Process {
    let file = configuration(directory, stage);
    Process::stage(directory, stage, number, &file, free_port())
}

/// A loopback port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
