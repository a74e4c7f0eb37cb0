//! The streamed reply: numbered parts on the caller's inbox.

use std::time::SystemTime;

use async_nats::Subject;
use foil_proto::names::header;
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{self, Failure, GenerateReply};
use foil_runtime::{Classify as _, Context, Reason, StageError};
use prost::Message as _;

use crate::history::Sample;
use crate::metrics;
use crate::strategy::{Known, Strategy};

/// Longest inbox subject, bytes.
const SUBJECT_BYTES_MAX: usize = 256;

/// Why a request fails; the words of [`Failure::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Invalid,
    Busy,
    EngineUnavailable,
    Deadline,
    Internal,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Busy => "busy",
            Self::EngineUnavailable => "engine_unavailable",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
        }
    }
}

/// Writes the parts of one reply.
pub(crate) struct Reply {
    client: async_nats::Client,
    inbox: Subject,
    sequence: u32,
    asked_at: SystemTime,
    /// Strategy, and why it is less than what was asked for; empty before that is known.
    served: (String, String),
    has_text: bool,
}

impl Reply {
    /// The reply to the request that `cx` is about.
    ///
    /// # Errors
    /// Rejects a request that names no inbox below `prefix`.
    pub(crate) fn to(cx: &Context, prefix: &str) -> Result<Self, StageError> {
        let inbox = cx.headers.get(header::REPLY_TO).map(|value| value.as_str());
        let inbox = inbox
            .ok_or_else(|| format!("{}: is missing", header::REPLY_TO))
            .and_then(|inbox| check_inbox(inbox, prefix).map(|()| inbox))
            .reject(Reason::Invalid)?;
        Ok(Self {
            client: cx.client.clone(),
            inbox: Subject::from(inbox.to_owned()),
            sequence: 0,
            asked_at: cx.published_at,
            served: Default::default(),
            has_text: false,
        })
    }

    /// Sends the next part. Core NATS: nobody may be listening any more.
    pub(crate) async fn send(&mut self, part: Part) {
        self.note(&part);
        let reply = GenerateReply {
            sequence: self.sequence,
            part: Some(part),
        };
        let payload = reply.encode_to_vec().into();
        let sent = self.client.publish(self.inbox.clone(), payload).await;
        // Counted only now: a deadline that cuts the sending off leaves no gap before its failure.
        self.sequence += 1;
        if let Err(error) = sent {
            tracing::warn!(%error, "a part of a reply was not sent"); // the caller sees the gap
        }
    }

    /// The last part of a reply that failed.
    pub(crate) async fn fail(&mut self, code: Code, message: impl Into<String>) {
        metrics::replied(&self.served, code.as_str(), self.asked_at);
        let failure = Failure {
            code: code.as_str().to_owned(),
            message: message.into(),
        };
        self.send(Part::Failure(failure)).await;
    }

    fn note(&mut self, part: &Part) {
        match part {
            Part::Context(context) => {
                self.served = (context.strategy.clone(), context.degraded.clone());
            }
            Part::Delta(_) => self.has_text = true,
            Part::Done(_) => {
                let result = if self.has_text { "text" } else { "context" };
                metrics::replied(&self.served, result, self.asked_at);
            }
            Part::Failure(_) => {}
        }
    }

    /// Waits until what was sent has left this process.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.client.flush().await {
            tracing::warn!(%error, "a reply was not flushed");
        }
    }
}

/// The first part.
pub(crate) fn context_part(
    known: &Known,
    strategy: Strategy,
    degraded: &str,
    block: String,
) -> v1::Context {
    let used = known
        .profile
        .as_ref()
        .filter(|_| strategy != Strategy::NonPerso);
    let written_at = used
        .and_then(|profile| profile.provenance.as_ref())
        .map(|provenance| provenance.created_at_ms)
        .filter(|at| *at > 0);
    let key_samples = if strategy == Strategy::NonPerso {
        Vec::new()
    } else {
        let item = |sample: &Sample| sample.record.key.item.clone();
        known.samples.iter().map(item).collect()
    };
    v1::Context {
        strategy: strategy.as_str().to_owned(),
        degraded: degraded.to_owned(),
        profile_version: used.map_or(0, |profile| profile.version),
        profile_age_ms: written_at.map_or(0, |at| (now_ms() - at).max(0)),
        block,
        key_samples,
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

fn check_inbox(inbox: &str, prefix: &str) -> Result<(), String> {
    let below = inbox
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('.'));
    let token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_graphic() && !b"*>".contains(&b))
    };
    if inbox.len() <= SUBJECT_BYTES_MAX && below.is_some_and(|rest| rest.split('.').all(token)) {
        Ok(())
    } else {
        Err(format!("{}: is no inbox below {prefix}", header::REPLY_TO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_to_inboxes_only() {
        assert!(check_inbox("_INBOX.abc.1", "_INBOX").is_ok());
        for inbox in [
            "",
            "_INBOX",
            "_INBOX.",
            "_INBOX.*",
            "_INBOX.a.>",
            "_INBOX.a b",
            "_INBOXES.a",
            "foil.v1.update.acme.u",
            "$JS.API.STREAM.DELETE.FOIL_DEAD",
        ] {
            assert!(check_inbox(inbox, "_INBOX").is_err(), "{inbox:?}");
        }
        for (bytes, good) in [(255, true), (256, true), (257, false)] {
            let inbox = format!("_INBOX.{}", "a".repeat(bytes - "_INBOX.".len()));
            assert_eq!(check_inbox(&inbox, "_INBOX").is_ok(), good, "{bytes}");
        }
    }
}
