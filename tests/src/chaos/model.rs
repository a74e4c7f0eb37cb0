//! What must be there in the end, computed from the schedule alone.

use std::collections::{BTreeMap, BTreeSet};

use super::updates::{Change, Key, Update};

/// A record that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub revision: u64,
    pub text: String,
}

/// The end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub records: BTreeMap<Key, Wanted>,
    /// Everybody who ever wrote, as (tenant, user).
    pub users: BTreeSet<(String, String)>,
    /// Everything ever written about, as (tenant, item).
    pub items: BTreeSet<(String, String)>,
    /// Dead letters that must be there: `Nats-Msg-Id` and reason.
    pub dead: BTreeMap<String, &'static str>,
}

impl Model {
    /// The highest revision of each record stays, whatever the order; of one revision a delete wins.
    pub fn of(updates: &[Update]) -> Self {
        let mut model = Self::default();
        let mut deleted: BTreeMap<&Key, u64> = BTreeMap::new();
        for update in updates {
            let key = &update.key;
            match &update.change {
                Change::Bad { reason, .. } => {
                    model.dead.insert(update.message_id.clone(), reason);
                    continue;
                }
                Change::Delete { revision } => {
                    let highest = deleted.entry(key).or_default();
                    *highest = (*highest).max(*revision);
                }
                Change::Upsert { revision, text } => {
                    let newer = |there: &Wanted| there.revision < *revision;
                    if model.records.get(key).is_none_or(newer) {
                        let wanted = Wanted {
                            revision: *revision,
                            text: text.clone(),
                        };
                        model.records.insert(key.clone(), wanted);
                    }
                }
            }
            model.users.insert((key.tenant.clone(), key.user.clone()));
            model.items.insert((key.tenant.clone(), key.item.clone()));
        }
        model.records.retain(|key, wanted| {
            deleted
                .get(key)
                .is_none_or(|deleted| *deleted < wanted.revision)
        });
        model
    }

    /// Whether another user of the tenant wrote about the item.
    pub fn has_peers(&self, key: &Key) -> bool {
        let mut others = self.records.keys();
        others.any(|other| {
            other.tenant == key.tenant && other.item == key.item && other.user != key.user
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn update(user: &str, change: Change) -> Update {
        Update {
            at: Duration::ZERO,
            message_id: format!("{user}-{change:?}"),
            key: key(user),
            change,
        }
    }

    fn key(user: &str) -> Key {
        Key {
            tenant: "north".to_owned(),
            user: user.to_owned(),
            item: "kettle".to_owned(),
        }
    }

    fn upsert(user: &str, revision: u64) -> Update {
        let text = format!("take {revision}");
        update(user, Change::Upsert { revision, text })
    }

    fn delete(user: &str, revision: u64) -> Update {
        update(user, Change::Delete { revision })
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_and_a_delete_wins() {
        let updates = [
            upsert("edited", 2),
            upsert("edited", 1),
            upsert("deleted", 1),
            delete("deleted", 1),
            delete("back", 1),
            upsert("back", 2),
            upsert("back", 1),
        ];
        let model = Model::of(&updates);
        let there: Vec<_> = model
            .records
            .iter()
            .map(|(k, w)| (&*k.user, w.revision))
            .collect();
        assert_eq!(there, [("back", 2), ("edited", 2)]);
        let backwards: Vec<_> = updates.into_iter().rev().collect();
        assert_eq!(Model::of(&backwards), model);
        assert!(model.has_peers(&key("back")));
        assert!(!Model::of(&[upsert("alone", 1)]).has_peers(&key("alone")));
    }
}
