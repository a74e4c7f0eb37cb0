//! `foil-edge`: the embedded Qdrant as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use foil_edge::{Access, EdgeConfig, Tls};
use tokio::signal::unix::{SignalKind, signal};

/// Serves the part of Qdrant's gRPC API that Foil uses, from a data directory on this machine.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  foil-edge --data-dir ./edge-data --listen 127.0.0.1:6334\n  foil-edge --data-dir ./edge-data --listen 0.0.0.0:6334 \\\n    --tls-certificate tls.crt --tls-key tls.key --tls-client-ca ca.crt --api-key-file api.key"
)]
struct Arguments {
    /// Directory of the data; made if missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6334")]
    listen: SocketAddr,
    /// Serves TLS with this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Clients must show a certificate that this authority signed
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
    /// Every call must carry the key in this file as `api-key`
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl Arguments {
    fn access(&self) -> anyhow::Result<Access> {
        let tls = self.tls_certificate.clone().zip(self.tls_key.clone());
        let tls = tls.map(|(certificate, key)| Tls {
            certificate,
            key,
            client_ca: self.tls_client_ca.clone(),
        });
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("--api-key-file: {}", path.display()))?;
            let key = text.trim().to_owned();
            anyhow::ensure!(
                !key.is_empty(),
                "--api-key-file: {} is empty",
                path.display()
            );
            Ok(key)
        };
        let api_key = self.api_key_file.as_ref().map(read).transpose()?;
        Ok(Access { tls, api_key })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The engine warns of things that it decides itself.
    let filter = tracing_subscriber::EnvFilter::new("info,qdrant_edge=error");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let access = arguments.access()?;
    let Arguments {
        data_dir, listen, ..
    } = arguments;
    let mut edge = foil_edge::start_with(EdgeConfig { data_dir, listen }, &access).await?;
    // On standard output, for whoever asked for port 0.
    println!("listening on {}", edge.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = edge.failed() => anyhow::bail!("the server stopped by itself"),
    }
    edge.shutdown().await;
    Ok(())
}
