//! What is evaluated on: items, records in time order, and the records held out of them.
//!
//! [`read`] reads files, [`filter`](mod@filter) keeps what can be evaluated, [`prepared`] keeps the
//! result in a folder.

pub mod amazon;
pub mod filter;
pub mod prepared;
pub mod read;

use std::collections::{BTreeMap, HashMap};

pub use filter::{Filters, Statistics};
pub use prepared::Prepared;

/// The thing written about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    /// May be empty.
    pub title: String,
    /// May be empty.
    pub description: String,
}

/// One user's text on one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub user: String,
    pub item: String,
    pub rating: Option<f64>,
    /// May be empty.
    pub title: String,
    pub text: String,
    /// Milliseconds since 1970; 0 where the time is unknown.
    pub occurred_at_ms: i64,
}

/// A record held out, and what its user wrote before it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub record: &'a Record,
    /// Oldest first.
    pub history: Vec<&'a Record>,
}

/// Items and records, each found by user and by item.
///
/// "Before" is by time, and by the item's id within one time: many data sets know the day only.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    items: Vec<Item>,
    records: Vec<Record>,
    item_at: HashMap<String, usize>,
    of_user: BTreeMap<String, Vec<usize>>,
    of_item: BTreeMap<String, Vec<usize>>,
}

impl Corpus {
    /// The last of several items of one id, and the newest of several records of one user on one
    /// item, is the one that counts; the last on equal times.
    pub fn new(items: Vec<Item>, records: Vec<Record>) -> Self {
        let items: BTreeMap<String, Item> = items
            .into_iter()
            .map(|item| (item.id.clone(), item))
            .collect();
        let mut newest: BTreeMap<(String, String), Record> = BTreeMap::new();
        for record in records {
            let key = (record.user.clone(), record.item.clone());
            let older = newest
                .get(&key)
                .is_some_and(|there| there.occurred_at_ms > record.occurred_at_ms);
            if !older {
                newest.insert(key, record);
            }
        }
        let mut records: Vec<Record> = newest.into_values().collect();
        records.sort_by(|a, b| {
            let key = |r: &Record| (r.occurred_at_ms, r.item.clone(), r.user.clone());
            key(a).cmp(&key(b))
        });
        let mut corpus = Self {
            item_at: items.keys().cloned().zip(0..).collect(),
            items: items.into_values().collect(),
            ..Self::default()
        };
        for (index, record) in records.iter().enumerate() {
            let of_user = corpus.of_user.entry(record.user.clone());
            of_user.or_default().push(index);
            let of_item = corpus.of_item.entry(record.item.clone());
            of_item.or_default().push(index);
        }
        corpus.records = records;
        corpus
    }

    /// By id.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// None where nothing but its id is known.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.item_at.get(id).map(|&at| &self.items[at])
    }

    /// Every user who wrote, with the indices of their records in [`Self::records`], oldest first.
    pub fn users(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let users = self.of_user.iter();
        users.map(|(user, records)| (user.as_str(), records.as_slice()))
    }

    /// Indices of a user's records, oldest first; none for an unknown user.
    pub fn of_user(&self, user: &str) -> &[usize] {
        self.of_user.get(user).map_or(&[], Vec::as_slice)
    }

    /// Indices of the records of an item, oldest first; none for an unknown item.
    pub fn of_item(&self, item: &str) -> &[usize] {
        self.of_item.get(item).map_or(&[], Vec::as_slice)
    }

    /// Every item that was written about, with the indices of its records, oldest first.
    pub fn written_about(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let items = self.of_item.iter();
        items.map(|(item, records)| (item.as_str(), records.as_slice()))
    }

    /// The other users' records of the record's item, oldest first. `before_ms`: only those written
    /// before that time, so that nothing of the future leaks into what is made of them.
    pub fn peers(&self, record: &Record, before_ms: Option<i64>) -> Vec<&Record> {
        let all = self.of_item(&record.item).iter();
        all.map(|&at| &self.records[at])
            .filter(|peer| peer.user != record.user)
            .filter(|peer| before_ms.is_none_or(|before| peer.occurred_at_ms < before))
            .collect()
    }

    /// Indices of what a user wrote before the target, newest first. Of another user than its own only
    /// what was written at an earlier time: within one time nobody knows who saw whose text.
    pub fn before(&self, user: &str, target: &Record) -> Vec<usize> {
        let own = user == target.user;
        let is_before = |record: &Record| {
            let earlier = record.occurred_at_ms < target.occurred_at_ms;
            let same_time = record.occurred_at_ms == target.occurred_at_ms;
            earlier || (own && same_time && record.item < target.item)
        };
        let newest = self.of_user(user).iter().rev().copied();
        newest.filter(|&at| is_before(&self.records[at])).collect()
    }

    /// The user's record on the item as a target; none where there is no such record.
    pub fn target(&self, user: &str, item: &str) -> Option<Target<'_>> {
        let records = self.of_user(user);
        let place = records
            .iter()
            .position(|&at| self.records[at].item == item)?;
        Some(Target {
            record: &self.records[records[place]],
            history: records[..place]
                .iter()
                .map(|&at| &self.records[at])
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests;
