//! When each update was in a profile, told by Foil's own events.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use foil_proto::names::subject;
use foil_proto::v1::{self, event::Kind};
use futures::StreamExt as _;
use prost::Message as _;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::burst::Published;

/// What was told so far, by user.
#[derive(Debug, Default)]
struct Told {
    users: HashMap<String, User>,
    /// Differences and profiles, each time one was stored.
    stored: usize,
}

#[derive(Debug, Default)]
struct User {
    /// Items in the order in which their first difference was stored.
    compared: Vec<String>,
    known: HashSet<String>,
    /// When which profile was stored, and how many differences are in it.
    profiles: Vec<(i64, usize)>,
}

/// Reads the events as they come.
pub struct Watch {
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// From now on.
    ///
    /// # Panics
    /// When NATS cannot be asked.
    pub async fn start(nats: &Client) -> Self {
        let mut events = nats.subscribe(subject::EVENT_ALL).await.expect("events");
        nats.flush().await.expect("the subscription is there");
        let told: Arc<Mutex<Told>> = Arc::default();
        let into = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(message) = events.next().await {
                if let Ok(event) = v1::Event::decode(message.payload) {
                    let mut told = into.lock().unwrap_or_else(PoisonError::into_inner);
                    told.take(event);
                }
            }
        });
        Self { told, task }
    }

    /// Differences and profiles that were stored, each time one was.
    pub fn stored(&self) -> usize {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.stored
    }

    /// How long each update took until a profile held it; none: it is in none.
    pub fn freshness(&self, published: &Published) -> Vec<Update> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let of = published.iter();
        of.map(|((user, item), at)| Update {
            published_ms: *at,
            fresh_ms: told.users.get(user).and_then(|user| user.held_at(item)),
        })
        .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One update; milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Update {
    pub published_ms: i64,
    /// When the first profile with its difference was stored.
    pub fresh_ms: Option<i64>,
}

impl Told {
    fn take(&mut self, event: v1::Event) {
        let user = self.users.entry(event.user).or_default();
        match event.kind {
            Some(Kind::DifferenceStored(stored)) => {
                self.stored += 1;
                if user.known.insert(stored.item.clone()) {
                    user.compared.push(stored.item);
                }
            }
            Some(Kind::ProfileUpdated(updated)) => {
                self.stored += 1;
                let held = usize::try_from(updated.differences).unwrap_or(usize::MAX);
                user.profiles.push((event.at_ms, held));
            }
            _ => {}
        }
    }
}

impl User {
    /// A profile with `n` differences holds the first `n` that were stored: in a burst of new records
    /// none goes.
    fn held_at(&self, item: &str) -> Option<i64> {
        let place = self.compared.iter().position(|known| known == item)?;
        let mut profiles = self.profiles.iter();
        profiles.find(|(_, held)| *held > place).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64, kind: Kind) -> v1::Event {
        v1::Event {
            tenant: "acme".to_owned(),
            user: "mara".to_owned(),
            at_ms,
            kind: Some(kind),
        }
    }

    #[test]
    fn an_update_is_fresh_with_the_first_profile_that_counts_its_difference() {
        let stored = |item: &str| {
            Kind::DifferenceStored(v1::DifferenceStored {
                item: item.to_owned(),
                revision: 1,
            })
        };
        let profile = |differences| {
            Kind::ProfileUpdated(v1::ProfileUpdated {
                differences,
                ..v1::ProfileUpdated::default()
            })
        };
        let mut told = Told::default();
        for (at, kind) in [
            (10, profile(0)),
            (20, stored("kettle")),
            (30, profile(1)),
            (35, stored("kettle")),
            (40, stored("chair")),
            (50, profile(2)),
        ] {
            told.take(event(at, kind));
        }
        let mara = &told.users["mara"];
        assert_eq!(mara.held_at("kettle"), Some(30));
        assert_eq!(mara.held_at("chair"), Some(50));
        assert_eq!(mara.held_at("film"), None);
        assert_eq!(told.stored, 6);
    }
}
