//! A client that the servers must not let in learns why.

use std::time::{Duration, Instant};

use foil_runtime::{NatsConfig, nats};
use foil_store::{Store, StoreConfig, StoreError};

use crate::certificates::Pair;
use crate::place::Secured;

const WAIT: Duration = Duration::from_secs(10);

/// What is wrong, which words must be in the error (one of each group), and how long it may take.
struct Case<C> {
    what: &'static str,
    change: fn(&mut C, &Secured),
    words: &'static [&'static str],
}

fn with(config: &mut NatsConfig, pair: &Pair) {
    config.certificate = Some(pair.certificate.clone());
    config.key = Some(pair.key.clone());
}

const NATS: [Case<NatsConfig>; 6] = [
    Case {
        what: "no certificate",
        change: |config, _| (config.certificate, config.key) = (None, None),
        words: &["nats.certificate and nats.key"],
    },
    Case {
        what: "an expired certificate",
        change: |config, place| with(config, &place.certificates.expired),
        words: &["nats.certificate has expired"],
    },
    Case {
        what: "a certificate of another authority",
        change: |config, place| with(config, &place.certificates.stranger),
        words: &["the server does not know who signed nats.certificate"],
    },
    Case {
        what: "another authority for the server",
        change: |config, place| {
            config.root_certificate = Some(place.certificates.other_authority.clone());
        },
        words: &["nats.root_certificate did not sign the server's certificate"],
    },
    Case {
        what: "a key that the server does not know",
        change: |config, place| {
            let path = place.path("unknown.nk");
            let seed = nkeys::KeyPair::new_user().seed().unwrap();
            std::fs::write(&path, seed).unwrap();
            config.nkey_seed = Some(path);
        },
        words: &["authorization violation", "nats.nkey_seed"],
    },
    Case {
        what: "no key at all",
        change: |config, _| config.nkey_seed = None,
        words: &["authorization violation", "nats.nkey_seed"],
    },
];

#[tokio::test]
async fn nats_says_why_it_turns_a_client_away() {
    let place = Secured::start();
    let client = nats::connect_within(&place.nats("selector"), "test", WAIT).await;
    client.expect("the right ones are let in");
    for case in NATS {
        let mut config = place.nats("selector");
        (case.change)(&mut config, &place);
        let since = Instant::now();
        let error = nats::connect_within(&config, "test", Duration::from_secs(3)).await;
        let error = error.expect_err(case.what).to_string();
        for word in case.words {
            assert!(error.contains(word), "{}: {error}", case.what);
        }
        assert!(since.elapsed() < WAIT, "{}", case.what);
    }
}

fn with_store(config: &mut StoreConfig, pair: &Pair) {
    config.qdrant_certificate = Some(pair.certificate.clone());
    config.qdrant_key = Some(pair.key.clone());
}

const QDRANT: [Case<StoreConfig>; 7] = [
    Case {
        what: "no certificate",
        change: |config, _| (config.qdrant_certificate, config.qdrant_key) = (None, None),
        words: &["store.qdrant_certificate"],
    },
    Case {
        what: "an expired certificate",
        change: |config, place| with_store(config, &place.certificates.expired),
        words: &["store.qdrant_certificate"],
    },
    Case {
        what: "a certificate of another authority",
        change: |config, place| with_store(config, &place.certificates.stranger),
        words: &["store.qdrant_certificate"],
    },
    Case {
        what: "another authority for the server",
        change: |config, place| {
            config.qdrant_root_certificate = Some(place.certificates.other_authority.clone());
        },
        words: &["store.qdrant_root_certificate did not sign the server's certificate"],
    },
    Case {
        what: "a wrong key",
        change: |config, place| {
            let path = place.path("wrong.key");
            std::fs::write(&path, "hunter2").unwrap();
            config.qdrant_api_key_file = Some(path);
        },
        words: &["not allowed", "api-key: is not the right one"],
    },
    Case {
        what: "no key",
        change: |config, _| config.qdrant_api_key_file = None,
        words: &["not allowed", "api-key: is missing"],
    },
    Case {
        what: "no TLS",
        change: |config, _| {
            config.qdrant_url = config.qdrant_url.replace("https://", "http://");
            config.qdrant_root_certificate = None;
            (config.qdrant_certificate, config.qdrant_key) = (None, None);
        },
        // It cannot be told from a server that went away.
        words: &["transport error"],
    },
];

#[tokio::test]
async fn qdrant_says_why_it_turns_a_client_away() {
    let place = Secured::start();
    let nats = nats::connect_within(&place.nats("operator"), "test", WAIT).await;
    let nats = nats.unwrap();
    let ready = async |config: &StoreConfig| {
        let store = Store::connect(config, nats.clone()).await?;
        store.ready().await
    };
    // Nothing is provisioned: who is let in learns just that.
    let right = ready(&place.store()).await.unwrap_err();
    assert!(
        matches!(right, StoreError::NotProvisioned { .. }),
        "{right}"
    );
    for case in QDRANT {
        let mut config = place.store();
        (case.change)(&mut config, &place);
        let since = Instant::now();
        let error = ready(&config).await.expect_err(case.what);
        let words = error.to_string();
        assert!(error.is_transient(), "{}: {words}", case.what);
        for word in case.words {
            assert!(words.contains(word), "{}: {words}", case.what);
        }
        assert!(!words.contains("hunter2"), "{words}");
        assert!(since.elapsed() < WAIT, "{}", case.what);
    }
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_named() {
    let place = Secured::start();
    let nats = nats::connect_within(&place.nats("operator"), "test", WAIT).await;
    let nats = nats.unwrap();
    let nothing = place.path("nothing.pem");
    std::fs::write(&nothing, "hunter2").unwrap();
    type Set = fn(&mut StoreConfig, std::path::PathBuf);
    let cases: [(&str, Set); 3] = [
        ("store.qdrant_root_certificate", |c, p| {
            c.qdrant_root_certificate = Some(p)
        }),
        ("store.qdrant_certificate", |c, p| {
            c.qdrant_certificate = Some(p)
        }),
        ("store.qdrant_key", |c, p| c.qdrant_key = Some(p)),
    ];
    for (key, set) in cases {
        let mut config = place.store();
        set(&mut config, nothing.clone());
        let error = Store::connect(&config, nats.clone()).await.expect_err(key);
        let words = error.to_string();
        assert!(words.contains(key), "{key}: {words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
}

#[test]
fn status_with_an_inbox_that_is_not_the_accounts_says_so_and_waits_once() {
    let place = Secured::start();
    let mut status = place.program("foil", "operator");
    status.env("FOIL_NATS__INBOX_PREFIX", "_INBOX_observer");
    status.env("FOIL_NATS__REQUEST_TIMEOUT", "3s");
    let since = Instant::now();
    let output = status.arg("status").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told.contains("nats.inbox_prefix"), "{told}");
    assert!(!told.contains("not provisioned"), "{told}");
    // Fourteen streams and consumers: one after the other they would take 42 s.
    assert!(since.elapsed() < Duration::from_secs(20), "{told}");
}
