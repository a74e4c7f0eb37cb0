//! Real servers, a running stage, and values to work on.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use foil_extractor::ExtractorConfig;
use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::stub::{Mode, StubConfig, StubServer};
use foil_llm::{LanguageModel, load};
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_rig::{Servers, worker};
use foil_runtime::RunError;
use foil_store::{Due, Item, Record, RecordKey};
use prost::Message as _;
use tokio::task::JoinHandle;

pub use foil_rig::{TENANT, eventually};

pub const ITEM: &str = "kettle";
pub const CHOSEN: &str = "chosen-1";

/// Servers, and what a test does with the stage.
pub struct Rig {
    servers: Servers,
}

impl Deref for Rig {
    type Target = Servers;

    fn deref(&self) -> &Servers {
        &self.servers
    }
}

impl Rig {
    pub async fn start() -> Self {
        let servers = Servers::start().await;
        Self { servers }
    }

    /// Runs the stage until the rig's shutdown.
    pub fn run(
        &self,
        model: Arc<dyn LanguageModel>,
        config: ExtractorConfig,
    ) -> JoinHandle<Result<(), RunError>> {
        let (store, service) = (self.store.clone(), self.service.clone());
        tokio::spawn(async move { foil_extractor::run(&config, store, model, &service).await })
    }

    /// An item with mara's record, due, and two others; gives the token for mara's.
    pub async fn kettle(&self) -> v1::ExtractWork {
        let item = Item {
            id: ITEM.to_owned(),
            title: "A kettle".to_owned(),
            description: "A kettle of steel that holds two litres.".to_owned(),
            revision: 1,
        };
        self.store.put_item(TENANT, &item, 1).await.expect("stored");
        let mara = self
            .put("mara", ITEM, "Boils in four minutes. Handle hot.")
            .await;
        let nils = self.put("nils", ITEM, PEER).await;
        let tilly = self
            .put("tilly", ITEM, "SO shiny!!! I love, love, love it!")
            .await;
        let mark = Due {
            id: mara.id,
            fingerprint: CHOSEN.to_owned(),
        };
        self.store.mark_due(TENANT, &[mark]).await.expect("marked");
        work(&mara.key, &[&nils, &tilly])
    }

    pub async fn publish(&self, work: &v1::ExtractWork) {
        let subject = subject::extract(&work.tenant, &work.user, &work.item);
        self.publish_bytes(subject, work.encode_to_vec()).await;
    }

    pub async fn until_idle(&self) {
        self.until_empty(stream::EXTRACT).await;
    }
}

pub const PEER: &str =
    "The kettle sang all morning, and nobody in the house minded it at all, for it was warm.";

pub fn work(target: &RecordKey, representatives: &[&Record]) -> v1::ExtractWork {
    v1::ExtractWork {
        tenant: target.tenant.clone(),
        user: target.user.clone(),
        item: target.item.clone(),
        representatives: representatives.iter().map(|r| r.id.to_string()).collect(),
        selection: Some(v1::Selection {
            strategy: "kmeans".to_owned(),
            records: 3,
            fingerprint: CHOSEN.to_owned(),
        }),
    }
}

/// Short waits all over.
pub fn config() -> ExtractorConfig {
    ExtractorConfig {
        worker: worker(),
        profile_debounce: Duration::from_secs(1),
        outage_delay: Duration::from_millis(100),
        ..ExtractorConfig::default()
    }
}

pub async fn stub(mode: Mode) -> (StubServer, Arc<dyn LanguageModel>) {
    let stub = StubServer::start(StubConfig {
        mode,
        ..StubConfig::default()
    });
    let stub = stub.expect("a stub");
    let config = EngineConfig {
        engine: EngineKind::Openai,
        model: "stub".to_owned(),
        base_url: Some(stub.base_url()),
        timeout: Duration::from_millis(1500),
        ..EngineConfig::default()
    };
    let model = load(&config).await.expect("a model");
    (stub, model)
}
