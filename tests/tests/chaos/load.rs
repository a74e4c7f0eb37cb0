//! A steady stream of records: pairs of users who wrote about the same item, so that each record is
//! compared.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use foil_proto::names::{header, stream, subject};
use foil_proto::v1::{self, event::Kind, update::Change};
use foil_tests::Look;
use prost::Message as _;

const TENANT: &str = "acme";
/// Far more than a machine needs that does nothing else.
const LIMIT: Duration = Duration::from_secs(120);

/// When each record was published, by (user, item): milliseconds since 1970.
pub type Published = BTreeMap<(String, String), i64>;

pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

/// Publishes two users' records on each of `items` items, one each `every`.
pub async fn publish(look: &Look, items: usize, every: Duration) -> Published {
    let mut published = Published::new();
    let mut tick = tokio::time::interval(every);
    for number in 0..items * 2 {
        tick.tick().await;
        // The second of a pair soon after the first; each user writes about several items.
        let item = format!("item-{}", number / 2);
        let user = format!("user-{}", (number / 2 * 7 + number % 2 * 3) % 41);
        record(look, &user, &item).await;
        published.insert((user, item), now_ms());
    }
    published
}

pub async fn record(look: &Look, user: &str, item: &str) {
    let record = v1::RecordUpsert {
        user: user.to_owned(),
        item: item.to_owned(),
        text: format!("What {user} thinks of {item}: it works, and it hums."),
        occurred_at_ms: 1_760_000_000_000,
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    let update = v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(Change::RecordUpsert(record)),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, format!("{user}.{item}"));
    let subject = subject::update(TENANT, user);
    let payload = update.encode_to_vec().into();
    let sent = look
        .jetstream
        .publish_with_headers(subject, headers, payload);
    sent.await.unwrap().await.unwrap();
}

/// What was told so far.
pub struct Told {
    /// When the first difference of each record was stored, as [`Published`].
    pub differences: Published,
    /// Differences and profiles, each time one was stored.
    pub stored: usize,
}

pub async fn told(look: &Look) -> Told {
    let events = look.jetstream.get_stream(stream::EVENTS).await.unwrap();
    let state = events.cached_info().state.clone();
    let mut told = Told {
        differences: Published::new(),
        stored: 0,
    };
    // An empty stream begins at 0, which is no message.
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = events.direct_get(sequence).await.unwrap();
        let event = v1::Event::decode(message.payload).unwrap();
        match event.kind.unwrap() {
            Kind::DifferenceStored(stored) => {
                let key = (event.user, stored.item);
                told.differences.entry(key).or_insert(event.at_ms);
                told.stored += 1;
            }
            Kind::ProfileUpdated(_) => told.stored += 1,
            other => panic!("{other:?}"),
        }
    }
    told
}

/// Waits until every published record has its difference, and no work is left.
pub async fn all_done(look: &Look, published: &Published) {
    look.until("each record has a difference", LIMIT, async || {
        told(look).await.differences.len() == published.len()
    })
    .await;
    look.until("no work is left", LIMIT, async || {
        let mut left = 0;
        for queue in [stream::SELECT, stream::EXTRACT, stream::PROFILE] {
            left += look.messages(queue).await;
        }
        left == 0
    })
    .await;
}

/// Median and worst of the times from publishing to the stored difference.
pub async fn delays(look: &Look, published: &Published) -> (Duration, Duration) {
    let told = told(look).await;
    let mut delays: Vec<u64> = published
        .iter()
        .map(|(key, at)| u64::try_from(told.differences[key] - at).unwrap_or(0))
        .collect();
    delays.sort_unstable();
    let at = |index: usize| Duration::from_millis(delays[index]);
    (at(delays.len() / 2), at(delays.len() - 1))
}
