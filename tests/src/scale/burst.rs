//! Many updates at once: each user writes about several items, and each item is written about by
//! several users, so that every record is compared.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use futures::{StreamExt as _, stream};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::chaos::producer;
use crate::chaos::updates::{Change, Key, Update, text};

/// Updates of one user, and about as many of one item.
const EACH: usize = 10;
/// Publications that wait for their ack at once.
const AT_ONCE: usize = 32;

/// When each record was published: milliseconds since 1970, by user and item.
pub type Published = HashMap<(String, String), i64>;

/// `count` updates of as many records, in a random order that follows from `seed`. Those of different
/// `seed`s are of different users and items.
pub fn draw(count: usize, seed: u64) -> Vec<Update> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // More users than there are rounds, so that nobody meets an item twice.
    let users = (count / EACH).max(EACH + 1);
    let mut updates: Vec<Update> = (0..count)
        .map(|number| {
            let (user, round) = (number % users, number / users);
            let key = Key {
                tenant: "acme".to_owned(),
                user: format!("user-{seed}-{user}"),
                item: format!("item-{seed}-{}", (user + round) % users),
            };
            let text = text(&mut rng, &key, 1);
            Update {
                at: Duration::ZERO,
                message_id: format!("{seed}-{number}"),
                change: Change::Upsert { revision: 1, text },
                key,
            }
        })
        .collect();
    updates.shuffle(&mut rng);
    updates
}

/// Publishes all of them as fast as NATS takes them.
///
/// # Panics
/// When NATS does not take one.
pub async fn publish(jetstream: JetStream, updates: Vec<Update>) -> Published {
    let each = stream::iter(updates).map(|update| {
        let jetstream = jetstream.clone();
        async move {
            let at = jiff::Timestamp::now().as_millisecond();
            producer::publish(&jetstream, &update).await;
            ((update.key.user, update.key.item), at)
        }
    });
    each.buffer_unordered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_record_is_another_one_and_has_peers() {
        for count in [100, 300, 20_000] {
            let updates = draw(count, 1);
            let keys: BTreeSet<&Key> = updates.iter().map(|update| &update.key).collect();
            assert_eq!(keys.len(), count);
            let mut of_item: BTreeMap<&str, usize> = BTreeMap::new();
            for key in keys {
                *of_item.entry(&key.item).or_default() += 1;
            }
            assert!(of_item.values().all(|&records| records > 1), "{count}");
        }
    }
}
