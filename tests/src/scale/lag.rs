//! The lag as KEDA's scaler reads it: from the monitoring port of NATS.

use std::time::Duration;

use serde::Deserialize;

use crate::http;

const LIMIT: Duration = Duration::from_secs(5);
/// What the scaler asks for, with the account of a server without accounts.
const PATH: &str = "/jsz?acc=$G&consumers=true&config=true";

/// Waiting and unacknowledged messages of each consumer, by stream and name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lags(Vec<(String, String, u64)>);

impl Lags {
    /// Asks NATS at `host:port`; none when it does not answer as it should.
    pub fn read(address: &str) -> Option<Self> {
        let (status, body) = http::get(address, PATH, LIMIT).ok()?;
        (status == 200).then(|| Self::parse(&body)).flatten()
    }

    fn parse(body: &str) -> Option<Self> {
        let answer: Answer = serde_json::from_str(body).ok()?;
        let streams = answer
            .account_details
            .into_iter()
            .flat_map(|account| account.stream_detail);
        let lags = streams.flat_map(|stream| {
            let consumers = stream.consumer_detail.into_iter();
            consumers.map(move |consumer| {
                let lag = consumer.num_pending + consumer.num_ack_pending;
                (stream.name.clone(), consumer.name, lag)
            })
        });
        Some(Self(lags.collect()))
    }

    /// Of one consumer; none when there is no such.
    pub fn of(&self, stream: &str, consumer: &str) -> Option<u64> {
        let mut all = self.0.iter();
        let found = all.find(|(in_stream, name, _)| in_stream == stream && name == consumer);
        found.map(|(_, _, lag)| *lag)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    num_pending: u64,
    num_ack_pending: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_what_is_at_work_counts() {
        let body = r#"{"account_details":[{"name":"$G","stream_detail":[
            {"name":"FOIL_EXTRACT","consumer_detail":[
                {"name":"extractor","num_pending":40,"num_ack_pending":16,"num_waiting":1}]},
            {"name":"FOIL_EVENTS"}]}]}"#;
        let lags = Lags::parse(body).unwrap();
        assert_eq!(lags.of("FOIL_EXTRACT", "extractor"), Some(56));
        assert_eq!(lags.of("FOIL_EVENTS", "extractor"), None);
        assert_eq!(Lags::parse("no JSON"), None);
    }
}
