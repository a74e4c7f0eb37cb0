//! What a smaller limit would drop: NATS does it at once and says nothing, whatever the stream's discard
//! policy is.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Config, Info};
use humantime::format_duration;

/// What the stream holds above the limits of `wanted`, where these differ from what it has: none if
/// nothing would go.
pub(super) fn excess(found: &Info, wanted: &Config) -> Option<String> {
    let state = &found.state;
    let above = |holds: u64, was: i64, limit: i64| {
        let limit = u64::try_from(limit).ok().filter(|_| was != limit)?;
        (holds > limit).then_some((holds, limit))
    };
    let config = &found.config;
    if let Some((holds, limit)) = above(state.bytes, config.max_bytes, wanted.max_bytes) {
        return Some(format!("it holds {holds} bytes, and max_bytes is {limit}"));
    }
    let messages = above(state.messages, config.max_messages, wanted.max_messages);
    if let Some((holds, limit)) = messages {
        return Some(format!(
            "it holds {holds} messages, and max_messages is {limit}"
        ));
    }
    let age = wanted.max_age;
    if state.messages == 0 || age.is_zero() || age == config.max_age {
        return None;
    }
    let oldest = SystemTime::from(state.first_timestamp);
    // A clock that is behind the server's finds everything young.
    let holds = oldest.elapsed().ok().filter(|holds| *holds > age)?;
    let seconds = |time: Duration| format_duration(Duration::from_secs(time.as_secs()));
    let (holds, limit) = (seconds(holds), seconds(age));
    Some(format!(
        "its oldest message is of {holds} ago, and max_age is {limit}"
    ))
}
