//! A server that speaks OpenAI's chat completions and embeddings: a fake for tests and benchmarks of
//! failure and timing, never a model.
//!
//! It answers with a fixed text, or with a minimal instance of the JSON schema that it is asked for,
//! and it fails on command: see [`Mode`]. It runs on a thread and a runtime of its own, so it can be
//! killed with all its connections at once, and a test that pauses tokio's clock does not pause it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::sync::oneshot;

mod http;
mod reply;
mod schema;
mod scripted;
#[cfg(test)]
mod tests;

pub use scripted::{Scripted, count};

/// How the stub answers requests from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A whole answer after [`StubConfig::latency`].
    #[default]
    Ok,
    /// A whole answer, this long before each token.
    Slow(Duration),
    /// Accepts the request and never answers.
    Hang,
    /// One token, then nothing more; the connection stays open.
    Stall,
    /// This HTTP status with an error object. A 3xx points to another address.
    Status(u16),
    /// One good token, then a line that is not JSON.
    InvalidJson,
    /// One token, then the connection breaks.
    CutMidStream,
    /// One token, then a proper end of the body without a finish reason.
    EndEarly,
    /// One token, then an error object inside the stream, as vLLM sends one.
    ErrorInStream,
    /// Tokens without end, whatever `max_tokens` says.
    Flood,
    /// One token, then the whole server goes: its connections and its port.
    Die,
}

/// Where the token counts of a streamed answer are, as servers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageStyle {
    /// In a last chunk with empty `choices` (OpenAI, vLLM, llama.cpp).
    #[default]
    LastChunk,
    /// On the chunk that carries the finish reason (mistralrs-server).
    FinishChunk,
    /// Nowhere.
    Missing,
}

/// What a [`StubServer`] serves.
#[derive(Clone, Debug)]
pub struct StubConfig {
    pub mode: Mode,
    /// Before the first byte of every answer, for chat and embeddings alike.
    pub latency: Duration,
    pub model: String,
    /// The answer where no schema is asked for; ends before a stop word and after `max_tokens`.
    pub text: String,
    /// Words of the prompt that begin so are repeated in every statement, as a model may quote what it
    /// read.
    pub quotes: Option<String>,
    /// Prompt and `max_tokens` together beyond this are refused with status 400.
    pub context_tokens: u32,
    /// Length of an embedding.
    pub dimensions: usize,
    pub usage: UsageStyle,
    /// Most chat requests whose bodies are kept, for [`StubServer::take_requests`].
    pub kept: usize,
}

impl Default for StubConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Ok,
            latency: Duration::ZERO,
            model: "stub".into(),
            text: "A short answer of a stub, made of eleven plain words.".into(),
            quotes: None,
            context_tokens: 8192,
            dimensions: 384,
            usage: UsageStyle::LastChunk,
            kept: 0,
        }
    }
}

/// What one request carried, for assertions.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The `authorization` header.
    pub authorization: Option<String>,
    pub body: serde_json::Value,
}

/// Counts and switches that the handlers and the owner share.
struct Shared {
    config: StubConfig,
    mode: Mutex<Mode>,
    last: Mutex<Recorded>,
    kept: Mutex<Vec<serde_json::Value>>,
    calls: AtomicUsize,
    embedding_calls: AtomicUsize,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    disconnects: AtomicUsize,
    kill: Mutex<Option<oneshot::Sender<()>>>,
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        let kill = self
            .kill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(kill) = kill {
            let _ = kill.send(());
        }
    }
}

/// A running stub; dropped, it closes its port and every connection.
pub struct StubServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl StubServer {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound or no thread started.
    pub fn start(config: StubConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            mode: Mutex::new(config.mode),
            config,
            last: Mutex::default(),
            kept: Mutex::default(),
            calls: AtomicUsize::new(0),
            embedding_calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            max_in_flight: AtomicUsize::new(0),
            disconnects: AtomicUsize::new(0),
            kill: Mutex::new(None),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let thread = Some(serve(&shared, listener)?);
        Ok(Self {
            shared,
            address,
            thread,
        })
    }

    /// The `base_url` for a client, with `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Switches how the next requests are answered; requests in progress keep their mode.
    pub fn set_mode(&self, mode: Mode) {
        *self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Chat requests received so far, refused ones included.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Embedding requests received so far, refused ones included.
    pub fn embedding_calls(&self) -> usize {
        self.shared.embedding_calls.load(Ordering::SeqCst)
    }

    /// Chat requests being answered now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// The most chat requests there ever were at once.
    pub fn max_in_flight(&self) -> usize {
        self.shared.max_in_flight.load(Ordering::SeqCst)
    }

    /// Chat requests whose client went away before the answer was whole.
    pub fn disconnects(&self) -> usize {
        self.shared.disconnects.load(Ordering::SeqCst)
    }

    /// The latest chat or embedding request.
    pub fn last_request(&self) -> Recorded {
        self.shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Bodies of the chat requests since the last call of this, in the order they came; at most
    /// [`StubConfig::kept`], the first ones.
    pub fn take_requests(&self) -> Vec<serde_json::Value> {
        let mut kept = self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *kept)
    }

    /// Closes the port and every connection, as a killed process does. Returns when it is done.
    pub fn stop(&mut self) {
        self.shared.kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Serves again on the same port, in mode [`Mode::Ok`].
    ///
    /// # Errors
    /// When the port has been taken meanwhile.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.set_mode(Mode::Ok);
        let listener = rebind(self.address)?;
        self.thread = Some(serve(&self.shared, listener)?);
        Ok(())
    }
}

impl Drop for StubServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Connections of the previous run may still be closing; std's bind sets `SO_REUSEADDR` on Unix,
/// so one retry period is plenty.
fn rebind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 50 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// Serves in a thread with its own runtime. Dropping that runtime drops every connection.
fn serve(shared: &Arc<Shared>, listener: TcpListener) -> io::Result<std::thread::JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let (kill, killed) = oneshot::channel();
    *shared.kill.lock().unwrap_or_else(PoisonError::into_inner) = Some(kill);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let router = http::router(Arc::clone(shared));
    std::thread::Builder::new()
        .name("llm-stub".into())
        .spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                // Else the second chunk of an answer waits for the client's delayed ack of the first,
                // and a fixed latency is 40 ms longer than it says.
                let listener = listener.tap_io(|connection| {
                    let _ = connection.set_nodelay(true);
                });
                tokio::select! {
                    _ = killed => {}
                    _ = axum::serve(listener, router) => {}
                }
            });
        })
}
