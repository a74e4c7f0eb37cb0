//! Certificates made for one test: an authority, the servers', and clients' good and bad ones.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Files in one folder.
#[derive(Debug)]
pub struct Certificates {
    pub authority: PathBuf,
    /// For `127.0.0.1` and `localhost`.
    pub server: Pair,
    pub client: Pair,
    /// Of the same authority, but its time is over.
    pub expired: Pair,
    /// An authority that nobody knows, and a client's certificate of it.
    pub other_authority: PathBuf,
    pub stranger: Pair,
}

impl Certificates {
    pub fn make(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let (authority_file, signer) = authority(folder, "ca");
        let (other_authority, other) = authority(folder, "other");
        let expired = |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        };
        Self {
            server: pair(folder, "server", &signer, |_| {}),
            client: pair(folder, "client", &signer, |_| {}),
            expired: pair(folder, "expired", &signer, expired),
            stranger: pair(folder, "stranger", &other, |_| {}),
            authority: authority_file,
            other_authority,
        }
    }
}

type Signer = Issuer<'static, KeyPair>;

fn authority(folder: &Path, name: &str) -> (PathBuf, Signer) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    // Two authorities of one name would be told apart by their signatures only.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("signed");
    let file = folder.join(format!("{name}.crt"));
    std::fs::write(&file, certificate.pem()).expect("written");
    (file, Issuer::new(params, key))
}

fn pair(
    folder: &Path,
    name: &str,
    signer: &Signer,
    change: impl FnOnce(&mut CertificateParams),
) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    change(&mut params);
    let certificate = params.signed_by(&key, signer).expect("signed");
    let pair = Pair {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    std::fs::write(&pair.certificate, certificate.pem()).expect("written");
    std::fs::write(&pair.key, key.serialize_pem()).expect("written");
    pair
}
