//! The admin port: `/livez`, `/startupz`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::config::AdminConfig;
use crate::health::Health;
use crate::metrics;
use crate::shutdown::Shutdown;

const BEAT: Duration = Duration::from_secs(1);
/// An event loop that was silent for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {address}: {cause}")]
pub struct AdminError {
    pub address: SocketAddr,
    #[source]
    pub cause: std::io::Error,
}

/// The event loop's own sign of life: it must not depend on any other system, or an outage there
/// would restart every process here.
#[derive(Debug)]
struct Pulse {
    started: Instant,
    /// Milliseconds after `started`.
    last_beat: AtomicU64,
}

#[derive(Clone)]
struct Admin {
    health: Health,
    shutdown: Shutdown,
    pulse: Arc<Pulse>,
}

/// Binds, and serves until the process ends. Gives the address bound.
///
/// # Errors
/// [`AdminError`] names an address that is taken or not ours.
pub async fn serve(
    config: &AdminConfig,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<SocketAddr, AdminError> {
    let address = config.listen;
    let failed = |cause| AdminError { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let pulse = Arc::new(Pulse {
        started: Instant::now(),
        last_beat: AtomicU64::new(0),
    });
    tokio::spawn(beat(pulse.clone()));
    export_checks(health);
    let admin = Admin {
        health: health.clone(),
        shutdown: shutdown.clone(),
        pulse,
    };
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(admin);
    // Served through the drain as well: probes and scrapes go on until the process is gone.
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin port is gone");
        }
    });
    tracing::info!(address = %bound, "admin port");
    Ok(bound)
}

/// So that a dashboard shows which check keeps a process from being ready.
fn export_checks(health: &Health) {
    let health = health.clone();
    metrics::observed(&metrics::catalogue::CHECK_UP, move |tell| {
        for (check, up) in health.checks() {
            tell(f64::from(up), &[metrics::KeyValue::new("check", check)]);
        }
    });
}

async fn beat(pulse: Arc<Pulse>) {
    let mut interval = tokio::time::interval(BEAT);
    loop {
        interval.tick().await;
        let now = u64::try_from(pulse.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        pulse.last_beat.store(now, Ordering::Relaxed);
    }
}

async fn livez(State(admin): State<Admin>) -> Response {
    let last = Duration::from_millis(admin.pulse.last_beat.load(Ordering::Relaxed));
    let silent = admin.pulse.started.elapsed().saturating_sub(last);
    if silent < STUCK_AFTER {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let text = format!("event loop silent for {silent:?}\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// The model is loaded: what an outage of another system must not undo, nor delay.
async fn startupz(State(admin): State<Admin>) -> Response {
    if admin.health.has_started() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let mut checks = admin.health.checks();
    let running = admin.health.has_started() && !admin.shutdown.is_triggered();
    checks.insert("running".to_owned(), running);
    let ready = checks.values().all(|up| *up);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let list: Vec<_> = checks
        .into_iter()
        .map(|(name, up)| serde_json::json!({ "name": name, "up": up }))
        .collect();
    let body = serde_json::json!({ "ready": ready, "checks": list });
    (status, Json(body)).into_response()
}

async fn metrics_text() -> Response {
    match metrics::text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn status(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("open");
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn it_is_neither_started_nor_ready_before_the_model_is_loaded() {
        let health = Health::new();
        health.starting();
        let nats = health.register("nats");
        nats.set(true);
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
        };
        let address = serve(&config, &health, &shutdown).await.expect("a port");
        assert_eq!(status(address, "/livez").await, "200");
        assert_eq!(status(address, "/startupz").await, "503");
        assert_eq!(status(address, "/readyz").await, "503");
        health.scoped("embedder").started();
        assert_eq!(status(address, "/startupz").await, "200");
        assert_eq!(status(address, "/readyz").await, "200");
        // An outage elsewhere, and the end, are no business of this one.
        nats.set(false);
        shutdown.trigger();
        assert_eq!(status(address, "/startupz").await, "200");
        assert_eq!(status(address, "/readyz").await, "503");
    }
}
