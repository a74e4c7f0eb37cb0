//! Embedded Qdrant: the part of Qdrant's gRPC API that Foil's store uses, answered by Qdrant's own
//! in-process engine over loopback. A write is acknowledged after it is on disk. Calls outside that
//! part get `UNIMPLEMENTED`.

mod access;
mod catalog;
mod collections;
mod compact;
mod convert;
mod engine;
mod error;
mod journal;
mod limits;
mod nearest;
mod points;
mod resolve;
mod shard;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use access::Gate;
use catalog::Catalog;
use collections::{CollectionsService, HealthService};
use points::PointsService;

pub use access::{Access, Tls};
pub use error::EdgeError;

/// Where the data is and where calls are answered.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Made if missing. One process at a time owns it.
    pub data_dir: PathBuf,
    /// Port 0 takes a free one. Beyond loopback callers should be checked: [`Access`].
    pub listen: SocketAddr,
}

/// A running server. Dropping it stops it too, with its data flushed, but cuts calls short.
#[must_use = "dropping it stops the server"]
pub struct Edge {
    address: SocketAddr,
    stop: CancellationToken,
    server: Option<JoinHandle<Result<(), tonic::transport::Error>>>,
    catalog: Arc<Catalog>,
}

/// Opens the data directory and answers calls until the [`Edge`] is shut down or dropped. Callers are
/// not checked.
pub async fn start(config: EdgeConfig) -> Result<Edge, EdgeError> {
    start_with(config, &Access::default()).await
}

/// The same, for callers who show what `access` asks for.
pub async fn start_with(config: EdgeConfig, access: &Access) -> Result<Edge, EdgeError> {
    let EdgeConfig { data_dir, listen } = config;
    let (server, gate) = (access.server()?, access.gate());
    if !access.is_checked() && !listen.ip().is_loopback() {
        tracing::warn!(%listen, "whoever reaches this address can read and write everything");
    }
    // First, since it fails at once and leaves nothing behind.
    let failed = |source| EdgeError::Listen {
        address: listen,
        source,
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let opening = tokio::task::spawn_blocking(move || {
        let opened = Catalog::open(&data_dir, limits::FREE_BYTES);
        opened.map(Arc::new)
    });
    let catalog = match opening.await {
        Ok(opened) => opened?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(
        (server, gate),
        listener,
        Arc::clone(&catalog),
        stop.clone(),
    ));
    Ok(Edge {
        address,
        stop,
        server: Some(server),
        catalog,
    })
}

async fn serve(
    (server, gate): (Server, Gate),
    listener: TcpListener,
    catalog: Arc<Catalog>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    macro_rules! limited {
        ($service:expr) => {
            $service
                .max_decoding_message_size(limits::MESSAGE_BYTES)
                .max_encoding_message_size(limits::MESSAGE_BYTES)
        };
    }
    // Small replies would otherwise wait for the client's delayed acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server
        .layer(InterceptorLayer::new(gate))
        .add_service(limited!(QdrantServer::new(HealthService)))
        .add_service(limited!(CollectionsServer::new(CollectionsService(
            Arc::clone(&catalog)
        ))))
        .add_service(limited!(PointsServer::new(PointsService(catalog))))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
}

impl Edge {
    /// Where it listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Finishes the calls in progress (at most 5 s), flushes, and gives the data directory up.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(limits::DRAIN, &mut server)
                .await
                .is_err()
        {
            tracing::warn!("calls were cut short by the shutdown");
            server.abort();
        }
        let catalog = Arc::clone(&self.catalog);
        if tokio::task::spawn_blocking(move || catalog.close())
            .await
            .is_err()
        {
            tracing::error!("the data directory was not closed in order");
        }
    }

    /// Ends when the server does: never before a shutdown, unless it failed.
    pub async fn failed(&mut self) {
        if let Some(server) = self.server.as_mut() {
            let _ = server.await;
            self.server = None;
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.abort();
        }
        // After a shutdown there is nothing left to close.
        self.catalog.close();
    }
}

/// The calls of a service that are not served: each answers `UNIMPLEMENTED` with its name.
macro_rules! unserved {
    ($service:literal, $($call:ident($request:ident) -> $reply:ident),* $(,)?) => {
        $(
            #[allow(clippy::type_complexity, clippy::type_repetition_in_bounds)]
            fn $call<'life0, 'async_trait>(
                &'life0 self,
                _request: tonic::Request<wire::$request>,
            ) -> std::pin::Pin<Box<
                dyn Future<Output = Result<tonic::Response<wire::$reply>, tonic::Status>>
                    + Send
                    + 'async_trait,
            >>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async {
                    Err(tonic::Status::unimplemented(concat!(
                        $service, ".", stringify!($call), " is not served by the embedded Qdrant"
                    )))
                })
            }
        )*
    };
}
pub(crate) use unserved;
