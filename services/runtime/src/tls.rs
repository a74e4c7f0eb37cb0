//! Certificates and keys in PEM, and what a failed TLS handshake is about, in terms of the
//! configuration.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Whether there is at least one certificate in it, and nothing broken.
///
/// # Errors
/// In words that show nothing of it.
pub fn check_certificates(pem: &[u8]) -> Result<(), &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all.is_ok_and(|all| !all.is_empty()) {
        true => Ok(()),
        false => Err("holds no certificate in PEM"),
    }
}

/// Whether there is a private key in it.
///
/// # Errors
/// In words that show nothing of it.
pub fn check_key(pem: &[u8]) -> Result<(), &'static str> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(_) => Ok(()),
        Err(_) => Err("holds no private key in PEM"),
    }
}

/// The keys of one connection's certificates.
#[derive(Clone, Copy, Debug)]
pub struct TlsKeys {
    pub url: &'static str,
    pub root: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
}

impl TlsKeys {
    /// The error's own words, and what to look at.
    pub fn explain(&self, error: &str) -> String {
        let Self {
            url,
            root,
            certificate,
            key,
        } = self;
        let hints = [
            (
                "UnknownIssuer",
                format!("{root} did not sign the server's certificate"),
            ),
            (
                "BadSignature",
                format!("{root} did not sign the server's certificate"),
            ),
            (
                "NotValidForName",
                format!("the server's certificate is for another name than {url} has"),
            ),
            (
                "invalid peer certificate: Expired",
                "the server's certificate has expired".to_owned(),
            ),
            (
                "CertificateRequired",
                format!("the server asks for a certificate ({certificate} and {key})"),
            ),
            ("CertificateExpired", format!("{certificate} has expired")),
            (
                "UnknownCA",
                format!("the server does not know who signed {certificate}"),
            ),
            ("DecryptError", format!("the server refuses {certificate}")),
            (
                "BadCertificate",
                format!("the server refuses {certificate}"),
            ),
        ];
        let about = hints.iter().find(|(word, _)| error.contains(word));
        match about {
            Some((_, hint)) => format!("{error}: {hint}"),
            None => error.to_owned(),
        }
    }
}
