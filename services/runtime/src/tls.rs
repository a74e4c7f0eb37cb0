//! What a failed TLS handshake is about, in terms of the configuration.

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
