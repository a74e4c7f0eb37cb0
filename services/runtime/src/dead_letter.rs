//! The copy that is stored before an input is terminated: its bytes and headers as they came, and
//! why it was given up.

use std::time::SystemTime;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use foil_proto::{names, token};

use crate::error::Reason;
use crate::publish::{Outgoing, rfc3339};

/// Longest error text, in bytes.
const ERROR_BYTES_MAX: usize = 512;
/// These headers tell the server what to do on storing: the copy must not obey them a second time.
const SERVER_PREFIX: &str = "nats-";

/// An input that was given up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The stage that gave up.
    pub stage: &'static str,
    /// Where the input came from.
    pub stream: String,
    pub stream_sequence: u64,
    /// When the stream stored it.
    pub published_at: SystemTime,
    pub subject: String,
    /// As decoded from the subject; empty when that is impossible.
    pub tenant: String,
    pub deliveries: u64,
    pub reason: Reason,
    /// One line for a person, without control characters, at most 512 bytes.
    pub error: String,
    /// The input's headers.
    pub headers: HeaderMap,
    /// The input's bytes.
    pub payload: Bytes,
}

impl DeadLetter {
    /// Names the input for good: a stream that is made anew counts its sequences from 1 again.
    pub(crate) fn id(&self) -> String {
        let at = self.published_at.duration_since(SystemTime::UNIX_EPOCH);
        let ms = at.map_or(0, |at| at.as_millis());
        format!("{}.{}.{ms}", self.stream, self.stream_sequence)
    }

    /// The copy as it is published.
    pub(crate) fn outgoing(&self) -> Outgoing {
        use names::header as h;
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers.iter() {
            if !name
                .to_string()
                .to_ascii_lowercase()
                .starts_with(SERVER_PREFIX)
            {
                for value in values {
                    headers.append(name.clone(), value.clone());
                }
            }
        }
        let mut add = |name: &str, value: &str| {
            // What cannot stand in a header is left out: the copy matters more than its label.
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
            {
                headers.insert(name, value);
            }
        };
        add(h::MESSAGE_ID, &format!("dead.{}", self.id()));
        add(h::DEAD_REASON, self.reason.as_str());
        add(h::DEAD_ERROR, &self.error);
        add(h::DEAD_STAGE, self.stage);
        add(h::DEAD_SUBJECT, &self.subject);
        add(h::DEAD_STREAM, &self.stream);
        add(h::DEAD_SEQUENCE, &self.stream_sequence.to_string());
        add(h::DEAD_DELIVERIES, &self.deliveries.to_string());
        add(h::DEAD_AT, &rfc3339(SystemTime::now()).unwrap_or_default());
        add(h::DEAD_VERSION, env!("CARGO_PKG_VERSION"));
        if let Some(original) = self.headers.get(h::MESSAGE_ID) {
            add(h::DEAD_MESSAGE_ID, original.as_str());
        }
        Outgoing {
            subject: names::subject::dead(self.stage, &self.tenant),
            headers,
            payload: self.payload.clone(),
            span: tracing::Span::none(),
        }
    }
}

/// The tenant that an input's subject names; empty where it names none.
pub fn tenant_of(subject: &str) -> String {
    names::subject::tenant_token(subject)
        .and_then(|tenant| token::decode(tenant).ok())
        .and_then(|tenant| String::from_utf8(tenant).ok())
        .unwrap_or_default()
}

/// An error and its sources on one line, fit for a header.
pub(crate) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Many errors already say what their source says.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    sanitise(&text)
}

fn sanitise(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(ERROR_BYTES_MAX));
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > ERROR_BYTES_MAX {
            line.truncate(line.floor_char_boundary(ERROR_BYTES_MAX - '…'.len_utf8()));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(headers: HeaderMap) -> DeadLetter {
        DeadLetter {
            stage: "embedder",
            stream: "FOIL_UPDATES".to_owned(),
            stream_sequence: 7,
            published_at: SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_234),
            subject: "foil.v1.update.a=2Eb.u".to_owned(),
            tenant: tenant_of("foil.v1.update.a=2Eb.u"),
            deliveries: 5,
            reason: Reason::Exhausted,
            error: sanitise("no\r\nluck"),
            headers,
            payload: Bytes::from_static(b"\x00\xff"),
        }
    }

    #[test]
    fn the_copy_keeps_bytes_and_headers_but_no_orders_to_the_server() {
        let mut headers = HeaderMap::new();
        headers.append("X-Mine", "one");
        headers.append("X-Mine", "two");
        headers.insert("Nats-TTL", "1s");
        headers.insert("Nats-Rollup", "all");
        headers.insert("Nats-Msg-Id", "original");
        let copy = letter(headers).outgoing();
        let get = |name: &str| {
            copy.headers
                .get(name)
                .map(|value| value.as_str().to_owned())
        };
        assert_eq!(copy.subject, "foil.v1.dead.embedder.a=2Eb");
        assert_eq!(copy.payload.as_ref(), b"\x00\xff");
        assert_eq!(copy.headers.get_all("X-Mine").count(), 2);
        assert_eq!(get("Nats-TTL").or(get("Nats-Rollup")), None);
        assert_eq!(
            get("Nats-Msg-Id").as_deref(),
            Some("dead.FOIL_UPDATES.7.1234")
        );
        assert_eq!(get("Foil-Dead-Message-Id").as_deref(), Some("original"));
        assert_eq!(get("Foil-Dead-Error").as_deref(), Some("no luck"));
        assert_eq!(get("Foil-Dead-Reason").as_deref(), Some("exhausted"));
        assert_eq!(get("Foil-Dead-Deliveries").as_deref(), Some("5"));
        assert_eq!(
            get("Foil-Dead-Subject").as_deref(),
            Some("foil.v1.update.a=2Eb.u")
        );
    }

    #[test]
    fn a_subject_without_a_tenant() {
        for subject in [
            "",
            "foil.v1",
            "foil.v1.update.=ZZ.u",
            "foil.v1.update.=FF.u",
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.FOIL_UPDATES.embedder",
        ] {
            assert_eq!(tenant_of(subject), "", "{subject:?}");
        }
    }

    proptest! {
        #[test]
        fn any_error_text_fits_a_header(text in ".{0,2000}") {
            let line = sanitise(&text);
            prop_assert!(line.len() <= ERROR_BYTES_MAX);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.parse::<HeaderValue>().is_ok());
        }
    }
}
