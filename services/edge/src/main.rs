//! `foil-edge`: the embedded Qdrant as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use foil_edge::EdgeConfig;
use tokio::signal::unix::{SignalKind, signal};

/// Serves the part of Qdrant's gRPC API that Foil uses, from a data directory on this machine.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  foil-edge --data-dir ./edge-data --listen 127.0.0.1:6334"
)]
struct Arguments {
    /// Directory of the data; made if missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Address to listen on; port 0 takes a free one. There is no authentication
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6334")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { data_dir, listen } = Arguments::parse();
    // The engine warns of things that it decides itself.
    let filter = tracing_subscriber::EnvFilter::new("info,qdrant_edge=error");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut edge = foil_edge::start(EdgeConfig { data_dir, listen }).await?;
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
