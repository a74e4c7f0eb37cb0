//! Who is looked for, and which records that needs.

use std::collections::HashSet;

use foil_store::RecordKey;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::Options;
use crate::data::read::TENANT;
use crate::data::{Corpus, Record};

/// Users with enough comparable records, and the items that they wrote about.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Indices of each user's comparable records, oldest first.
    pub(super) users: Vec<Vec<usize>>,
    /// Each item with the indices of its records that are looked at: as in the store, those with the
    /// lowest ids, ascending.
    pub(super) items: Vec<(&'a str, Vec<usize>)>,
}

impl<'a> Plan<'a> {
    /// `candidates`: records of an item that are looked at, at most.
    pub fn new(corpus: &'a Corpus, options: &Options, candidates: usize) -> Self {
        let sample = |(item, records): (&'a str, &[usize])| {
            let mut records = records.to_vec();
            records.sort_by_cached_key(|&at| id(&corpus.records()[at]));
            records.truncate(candidates);
            (item, records)
        };
        let items = corpus.written_about();
        let items = items.filter(|(_, records)| records.len() > options.peers_min);
        let mut items: Vec<(&str, Vec<usize>)> = items.map(sample).collect();
        let comparable: HashSet<usize> = items
            .iter()
            .flat_map(|(_, records)| records)
            .copied()
            .collect();

        let own = |records: &[usize]| -> Vec<usize> {
            let records = records.iter().copied();
            records.filter(|at| comparable.contains(at)).collect()
        };
        let least = options.records_min.max(2);
        let users = corpus.users().map(|(_, records)| own(records));
        let mut users: Vec<Vec<usize>> = users.filter(|own| own.len() >= least).collect();
        if let Some(limit) = options.limit {
            users.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
            users.truncate(limit);
        }
        let theirs: HashSet<usize> = users.iter().flatten().copied().collect();
        items.retain(|(_, records)| records.iter().any(|at| theirs.contains(at)));
        Self { users, items }
    }

    /// Indices of all records whose vectors are needed: those of the users, and their peers'.
    pub fn needed(&self) -> Vec<usize> {
        let items = self.items.iter();
        items.flat_map(|(_, records)| records).copied().collect()
    }
}

/// The record's id in the store.
pub(super) fn id(record: &Record) -> Uuid {
    RecordKey::new(TENANT, &record.user, &record.item).id()
}
