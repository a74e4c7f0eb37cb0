//! What NATS says when it gives a message up.

use bytes::Bytes;
use foil_runtime::{BoxError, Decode};
use serde::Deserialize;

/// `io.nats.jetstream.advisory.v1.max_deliver`, as far as it is needed here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Advisory {
    pub stream: String,
    pub consumer: String,
    pub stream_seq: u64,
    /// How often the message was delivered.
    pub deliveries: u64,
}

impl Decode for Advisory {
    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        Ok(serde_json::from_slice(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_as_nats_2_15_sends_it() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x1","timestamp":
            "2026-03-14T18:20:00.000000000Z","stream":"FOIL_UPDATES","consumer":"embedder",
            "stream_seq":7,"deliveries":100}"#;
        let advisory = Advisory::decode(Bytes::from_static(text)).expect("an advisory");
        assert_eq!((advisory.stream_seq, advisory.deliveries), (7, 100));
        for broken in ["", "{}", r#"{"stream":"S","consumer":"c","stream_seq":-1}"#] {
            assert!(Advisory::decode(broken.into()).is_err(), "{broken}");
        }
    }
}
