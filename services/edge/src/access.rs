//! Who may call: TLS, certificates of clients, and a key. Without any of them, whoever reaches the
//! port.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::service::Interceptor;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};

use crate::EdgeError;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a caller must show; by default nothing.
#[derive(Clone, Default)]
pub struct Access {
    /// None: calls in the clear.
    pub tls: Option<Tls>,
    /// What the metadata `api-key` of every call must hold.
    pub api_key: Option<String>,
}

/// Files in PEM. Read once, at the start.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate that this authority signed.
    pub client_ca: Option<PathBuf>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("tls", &self.tls)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl Access {
    /// Whether a stranger who reaches the port is turned away.
    pub fn is_checked(&self) -> bool {
        let mutual = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        mutual || self.api_key.is_some()
    }

    /// A server that asks for what TLS can ask for.
    pub(crate) fn server(&self) -> Result<Server, EdgeError> {
        let Some(tls) = &self.tls else {
            return Ok(Server::builder());
        };
        // With several providers in the build none is the default. An error only says that one is
        // installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
        let mut config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
        if let Some(path) = &tls.client_ca {
            config = config.client_ca_root(Certificate::from_pem(read(path)?));
        }
        Server::builder().tls_config(config).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            EdgeError::Tls {
                certificate: tls.certificate.clone(),
                problem: source.unwrap_or_else(|| error.to_string()),
            }
        })
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate(self.api_key.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, EdgeError> {
    std::fs::read(path).map_err(EdgeError::io("cannot read", path))
}

/// Turns calls without the key away.
#[derive(Clone)]
pub(crate) struct Gate(Option<String>);

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(wanted) = &self.0 else {
            return Ok(request);
        };
        let shown = request.metadata().get("api-key");
        match shown {
            Some(shown) if same(shown.as_bytes(), wanted.as_bytes()) => Ok(request),
            Some(_) => Err(Status::unauthenticated("api-key: is not the right one")),
            None => Err(Status::unauthenticated("api-key: is missing")),
        }
    }
}

/// In a time that tells nothing of where two keys of one length differ.
fn same(shown: &[u8], wanted: &[u8]) -> bool {
    let differ = |(a, b): (&u8, &u8)| a ^ b;
    let differences = shown.iter().zip(wanted).map(differ);
    shown.len() == wanted.len() && differences.fold(0, |all, one| all | one) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_whole_and_never_shown() {
        assert!(same(b"key", b"key"));
        for other in [&b"kez"[..], b"ke", b"keyy", b""] {
            assert!(!same(other, b"key"), "{other:?}");
        }
        let access = Access {
            tls: None,
            api_key: Some("hunter2".to_owned()),
        };
        assert!(!format!("{access:?}").contains("hunter2"));
    }
}
