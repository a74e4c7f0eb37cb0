//! The connection to Qdrant: one lazy gRPC channel with Qdrant's own generated clients. The client
//! that Qdrant publishes trusts the system's authorities alone and shows no certificate of its own.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use foil_runtime::tls::{TlsKeys, check_certificates, check_key};
use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::{StoreConfig, StoreError};

/// A machine that went away without a word is noticed after both.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);
/// A page of records with vectors and the longest texts.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most sources of an error that are told.
const SOURCES_MAX: usize = 8;

const KEYS: TlsKeys = TlsKeys {
    url: "store.qdrant_url",
    root: "store.qdrant_root_certificate",
    certificate: "store.qdrant_certificate",
    key: "store.qdrant_key",
};

type Keyed = InterceptedService<Channel, ApiKey>;

/// The clients. Cheap to clone: all share the channel.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) points: PointsClient<Keyed>,
    pub(crate) collections: CollectionsClient<Keyed>,
}

impl Clients {
    /// Nothing is called yet; files are read, so that a faulty one is named.
    pub(crate) fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        let endpoint = Endpoint::from_shared(config.qdrant_url.clone());
        let endpoint = endpoint.map_err(|error| invalid("store.qdrant_url", error))?;
        let mut endpoint = endpoint
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true);
        if config.qdrant_url.starts_with("https://") {
            let tls = endpoint.tls_config(tls(config)?);
            endpoint = tls.map_err(|error| invalid(at_fault(config), chain(&error)))?;
        }
        let key = ApiKey::of(config)?;
        let channel = InterceptedService::new(endpoint.connect_lazy(), key);
        Ok(Self {
            points: PointsClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            collections: CollectionsClient::new(channel),
        })
    }
}

/// Whether the connection may have broken under the call.
pub(crate) fn may_be_broken(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Internal | Code::Cancelled | Code::Unknown
    )
}

/// A status in one line. What the transport met stands in its sources only; whom it was to reach, nowhere.
pub(crate) fn words(status: &Status, url: &str) -> String {
    let text = format!("{}: {}", status.code(), status.message());
    let Some(source) = status.source() else {
        return text;
    };
    let text = format!("{text}: {} (store.qdrant_url: {url})", chain(source));
    let text = KEYS.explain(&text);
    // Over TLS a server hangs up on a client whose certificate it does not accept, and the alert that
    // says why may be lost behind what was written meanwhile.
    let hung_up = [
        "connection closed",
        "Connection reset",
        "Broken pipe",
        "broken pipe",
    ];
    if url.starts_with("https://") && hung_up.iter().any(|words| text.contains(words)) {
        return format!("{text}: as it does when it does not accept store.qdrant_certificate");
    }
    text
}

/// An error and its sources, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    for _ in 0..SOURCES_MAX {
        let Some(error) = next else { break };
        let said = error.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

fn tls(config: &StoreConfig) -> Result<ClientTlsConfig, StoreError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.qdrant_root_certificate {
        Some(path) => {
            let pem = checked("store.qdrant_root_certificate", path, check_certificates)?;
            tls.ca_certificate(Certificate::from_pem(pem))
        }
        None => tls.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&config.qdrant_certificate, &config.qdrant_key) {
        let certificate = checked("store.qdrant_certificate", certificate, check_certificates)?;
        let key = checked("store.qdrant_key", key, check_key)?;
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Ok(tls)
}

/// Where a TLS configuration that cannot be made is most likely at fault: the transport names no
/// file.
fn at_fault(config: &StoreConfig) -> &'static str {
    match config.qdrant_certificate {
        Some(_) => "store.qdrant_certificate and store.qdrant_key",
        None => "store.qdrant_root_certificate",
    }
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| invalid(field, format!("{}: {error}", path.display())))
}

fn checked(
    field: &'static str,
    path: &Path,
    check: fn(&[u8]) -> Result<(), &'static str>,
) -> Result<Vec<u8>, StoreError> {
    let pem = read(field, path)?;
    match check(&pem) {
        Ok(()) => Ok(pem),
        Err(problem) => Err(invalid(field, format!("{}: {problem}", path.display()))),
    }
}

fn invalid(field: &'static str, problem: impl ToString) -> StoreError {
    let problem = problem.to_string();
    StoreError::Invalid { field, problem }
}

/// Sends the key with every call, where there is one.
#[derive(Clone)]
pub(crate) struct ApiKey(Option<MetadataValue<Ascii>>);

impl ApiKey {
    fn of(config: &StoreConfig) -> Result<Self, StoreError> {
        let (field, key) = match (&config.qdrant_api_key, &config.qdrant_api_key_file) {
            (Some(key), _) => ("store.qdrant_api_key", key.expose().to_owned()),
            (None, Some(path)) => {
                let field = "store.qdrant_api_key_file";
                let text = String::from_utf8(read(field, path)?).unwrap_or_default();
                (field, text.trim().to_owned())
            }
            (None, None) => return Ok(Self(None)),
        };
        let value = MetadataValue::<Ascii>::try_from(key.as_str()).ok();
        // The value itself is not told.
        let value = value.filter(|_| !key.is_empty());
        let mut value = value.ok_or_else(|| invalid(field, "holds no key of visible ASCII"))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}
