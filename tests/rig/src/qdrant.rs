use std::path::{Path, PathBuf};

use foil_edge::{Edge, EdgeConfig};
use foil_store::StoreConfig;

use crate::DIMENSION;

/// The embedded Qdrant on a port of its own, which can go away and come back.
pub struct Qdrant {
    edge: Option<Edge>,
    port: u16,
    data_dir: PathBuf,
}

impl Qdrant {
    /// Starts one with its data below `directory`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(directory: &Path) -> Self {
        let data_dir = directory.join("qdrant");
        let edge = launch(&data_dir, 0).await;
        Self {
            port: edge.address().port(),
            edge: Some(edge),
            data_dir,
        }
    }

    /// As in `store.qdrant_url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A configuration for it.
    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            qdrant_url: self.url(),
            dimension: DIMENSION,
            ..StoreConfig::default()
        }
    }

    /// Ends it cleanly.
    ///
    /// # Panics
    /// When it is ended already.
    pub async fn stop(&mut self) {
        let edge = self.edge.take().expect("it runs");
        edge.shutdown().await;
    }

    /// Starts it again after [`Qdrant::stop`], on the same port and data.
    ///
    /// # Panics
    /// As [`Qdrant::start`].
    pub async fn restart(&mut self) {
        self.edge = Some(launch(&self.data_dir, self.port).await);
    }
}

async fn launch(data_dir: &Path, port: u16) -> Edge {
    let edge = foil_edge::start(EdgeConfig {
        data_dir: data_dir.to_owned(),
        listen: ([127, 0, 0, 1], port).into(),
    });
    edge.await.expect("an embedded qdrant")
}
