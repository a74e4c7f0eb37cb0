//! Real servers, and a consumer that gives up.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{Info, PullConsumer};
use async_nats::jetstream::message::{AckKind, StreamMessage};
use async_nats::jetstream::{self, Context as JetStream};
use foil_mover::MoverConfig;
use foil_proto::names::{stage, stream, subject};
use foil_rig::Qdrant;
use foil_runtime::testing::NatsServer;
use foil_runtime::{NatsConfig, RunError, Secret, Service};
use foil_store::{ProvisionConfig, Store, provision};
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

pub use foil_rig::{TENANT, eventually};

/// After which NATS gives up.
pub const DELIVERIES: u32 = 2;
/// With all rights, and with all but one.
pub const USERS: &str = r#"
authorization { users = [
  { user: admin, password: admin }
  { user: may_not_delete, password: may_not_delete, permissions {
      publish: { deny: "$JS.API.STREAM.MSG.DELETE.>" } } }
] }
"#;

/// Gives up soon.
pub fn provision_config() -> ProvisionConfig {
    ProvisionConfig {
        max_deliver: DELIVERIES,
        ack_wait: Duration::from_secs(1),
        ..ProvisionConfig::default()
    }
}

/// Short waits.
fn config() -> MoverConfig {
    let mut config = MoverConfig::default();
    config.worker.publish_timeout = Duration::from_secs(1);
    config.worker.backoff_base = Duration::from_millis(50);
    config.worker.backoff_cap = Duration::from_millis(200);
    config.lag_every = Duration::from_secs(1);
    config
}

pub struct Rig {
    pub nats: NatsServer,
    pub jetstream: JetStream,
    config: NatsConfig,
    _qdrant: Qdrant,
    _directory: TempDir,
}

/// The stage in this process.
pub struct Running {
    service: Service,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub async fn stop(self) {
        self.service.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::with("", &provision_config()).await
    }

    /// `further`: lines of the server's configuration; with users, one of them is `admin`.
    pub async fn with(further: &str, provisioning: &ProvisionConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let qdrant = Qdrant::start(directory.path()).await;
        let nats = NatsServer::start_with(None, further);
        let mut config = nats.config();
        if !further.is_empty() {
            config.user = Some("admin".to_owned());
            config.password = Some(Secret::new("admin"));
        }
        let client = foil_runtime::nats::connect(&config, "test").await.unwrap();
        let store = Store::connect(&qdrant.config(), client.clone()).await;
        let store = store.unwrap();
        provision(&store, provisioning).await.unwrap();
        Self {
            nats,
            jetstream: jetstream::new(client),
            config,
            _qdrant: qdrant,
            _directory: directory,
        }
    }

    pub async fn run(&self) -> Running {
        let service = self.nats.service(Duration::from_secs(10)).await;
        let of_task = service.clone();
        let task = tokio::spawn(async move { foil_mover::run(&config(), &of_task).await });
        Running { service, task }
    }

    /// The stage's binary, as this user, whose password is its name.
    pub fn process(&self, user: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foil-mover"));
        for (key, value) in [
            ("nats.url", self.config.url.as_str()),
            ("nats.user", user),
            ("admin.listen", "127.0.0.1:0"),
            ("mover.worker.publish_timeout", "5s"),
        ] {
            command.arg(format!("--set={key}={value}"));
        }
        command.env("FOIL_NATS__PASSWORD", user);
        command.kill_on_drop(true).spawn().unwrap()
    }

    pub async fn publish(&self, to: &str, payload: &'static [u8], headers: HeaderMap) {
        let to = to.to_owned();
        let sent = self
            .jetstream
            .publish_with_headers(to, headers, payload.into())
            .await;
        sent.unwrap().await.unwrap();
    }

    /// Publishes a message that nobody settles, until NATS has given it up.
    pub async fn give_up(
        &self,
        stage: &str,
        stream_: &str,
        to: &str,
        payload: &'static [u8],
        headers: HeaderMap,
    ) {
        self.publish(to, payload, headers).await;
        self.deliver_until(stream_, stage, async || {
            self.count(stream::ADVISORIES).await == 1
        })
        .await;
        let told = self.messages(stream::ADVISORIES).await;
        assert_eq!(told[0].subject.as_str(), subject::given_up(stream_, stage));
    }

    /// Takes messages and gives them back, as a worker does that is killed.
    pub async fn deliver_until(
        &self,
        stream_: &str,
        consumer: &str,
        mut holds: impl AsyncFnMut() -> bool,
    ) {
        let found = self.jetstream.get_stream_no_info(stream_).await.unwrap();
        let consumer: PullConsumer = found.get_consumer(consumer).await.unwrap();
        eventually("it is given up", async || {
            let pull = consumer.batch().max_messages(1);
            let pull = pull.expires(Duration::from_millis(200));
            let mut messages = pull.messages().await.unwrap();
            while let Some(message) = messages.next().await {
                message.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
            }
            holds().await
        })
        .await;
    }

    /// Waits until the mover has settled all that NATS said.
    pub async fn moved(&self) {
        eventually("every advisory is settled", async || {
            let info = self.consumer_info(stream::ADVISORIES, stage::MOVER).await;
            info.num_pending == 0 && info.num_ack_pending == 0
        })
        .await;
    }

    pub async fn consumer_info(&self, name: &str, consumer: &str) -> Info {
        let found = self.jetstream.get_stream_no_info(name).await.unwrap();
        found.consumer_info(consumer).await.unwrap()
    }

    pub async fn count(&self, name: &str) -> u64 {
        let found = self.jetstream.get_stream(name).await.unwrap();
        found.cached_info().state.messages
    }

    pub async fn messages(&self, name: &str) -> Vec<StreamMessage> {
        let found = self.jetstream.get_stream(name).await.unwrap();
        let state = found.cached_info().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            if let Ok(message) = found.get_raw_message(sequence).await {
                messages.push(message);
            }
        }
        messages
    }

    pub async fn only_letter(&self) -> StreamMessage {
        let mut letters = self.messages(stream::DEAD).await;
        assert_eq!(letters.len(), 1);
        letters.remove(0)
    }
}

pub fn text<'a>(message: &'a StreamMessage, name: &str) -> &'a str {
    message.headers.get(name).map_or("", |value| value.as_str())
}
