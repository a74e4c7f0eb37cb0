//! Which records are kept, and which are held out.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::read::Raw;
use super::{Corpus, Record};

/// What is kept. The defaults are the paper's (arXiv 2503.02450, "Data").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Shortest text of a record, characters.
    pub text_chars_min: usize,
    /// Shortest and longest description of an item, characters. With a shortest of 0 an item needs
    /// no description, nor to be known at all.
    pub description_chars_min: usize,
    pub description_chars_max: usize,
    /// Fewest users of an item.
    pub item_users_min: usize,
    /// Fewest and most records of a user whose last ones are held out. The records of other users
    /// stay: they are peers.
    pub user_records_min: usize,
    pub user_records_max: usize,
    /// How many of a user's last records are held out, each with all that came before it.
    pub hold_out: usize,
    /// A record can be compared when its item has so many users, its own included.
    pub comparable_users_min: usize,
    /// Fewest records before a held-out one that can be compared.
    pub comparable_records_min: usize,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            text_chars_min: 200,
            description_chars_min: 100,
            description_chars_max: 2_000,
            item_users_min: 8,
            user_records_min: 18,
            user_records_max: 500,
            hold_out: 1,
            comparable_users_min: 5,
            comparable_records_min: 8,
        }
    }
}

impl Filters {
    /// What no data can fulfil, beginning with the field.
    ///
    /// # Errors
    /// When a highest value is below its lowest, or nothing is to be held out.
    pub fn check(&self) -> Result<(), String> {
        if self.user_records_max < self.user_records_min {
            return Err("user_records_max: must not be below user_records_min".to_owned());
        }
        if self.description_chars_max < self.description_chars_min {
            return Err(
                "description_chars_max: must not be below description_chars_min".to_owned(),
            );
        }
        if self.hold_out == 0 {
            return Err("hold_out: must be at least 1".to_owned());
        }
        Ok(())
    }

    /// For data of a few thousand records, of which the paper's filters leave next to nothing:
    /// shorter texts and histories, and items without a description.
    pub fn small() -> Self {
        Self {
            text_chars_min: 100,
            description_chars_min: 0,
            description_chars_max: 16_384,
            item_users_min: 5,
            user_records_min: 9,
            ..Self::default()
        }
    }
}

/// A record that is held out, by its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    pub user: String,
    pub item: String,
}

/// Records, users and items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub records: usize,
    pub users: usize,
    pub items: usize,
}

impl Size {
    fn of(records: &[Record]) -> Self {
        let users: HashSet<&str> = records.iter().map(|r| r.user.as_str()).collect();
        let items: HashSet<&str> = records.iter().map(|r| r.item.as_str()).collect();
        Self {
            records: records.len(),
            users: users.len(),
            items: items.len(),
        }
    }
}

/// What the filters left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub read: Size,
    /// After the shortest text, the descriptions, and the fewest users of an item.
    pub long_enough: Size,
    pub described: Size,
    pub kept: Size,
    /// Users with as many records as asked for.
    pub users_in_range: usize,
    /// Held-out records, and their users.
    pub targets: usize,
    pub target_users: usize,
    /// Medians of what is kept.
    pub words_per_text: usize,
    pub records_per_user: usize,
    pub users_per_item: usize,
    /// Median records before a held-out one.
    pub history: usize,
    /// Items of which both title and description are known.
    pub items_described: usize,
    /// Records whose time is unknown.
    pub untimed: usize,
    /// Times of the first and the last record, milliseconds since 1970.
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Statistics {
    /// The filter that left no record, beginning with its field; none while there are some.
    pub fn emptied(&self, filters: &Filters) -> Option<String> {
        let Filters {
            text_chars_min: text,
            description_chars_min: description,
            item_users_min: users,
            ..
        } = filters;
        if self.long_enough.records == 0 {
            return Some(format!("text_chars_min: no text has {text} characters"));
        }
        if self.described.records == 0 {
            let cause = format!("no item written about has a description of {description}");
            let longest = filters.description_chars_max;
            return Some(format!(
                "description_chars_min: {cause} to {longest} characters; 0 asks for none"
            ));
        }
        (self.kept.records == 0).then(|| format!("item_users_min: no item has {users} users"))
    }
}

/// Keeps what the filters let through and holds out each user's last records.
pub fn apply(raw: Raw, filters: &Filters) -> (Corpus, Vec<HeldOut>, Statistics) {
    // The newest record of each user and item counts before anything is counted.
    let corpus = Corpus::new(raw.items, raw.records);
    let mut statistics = Statistics {
        read: Size::of(corpus.records()),
        ..Statistics::default()
    };
    let mut records = corpus.records().to_vec();
    records.retain(|record| record.text.chars().count() >= filters.text_chars_min);
    statistics.long_enough = Size::of(&records);
    let described = filters.description_chars_min..=filters.description_chars_max;
    records.retain(|record| {
        let item = corpus.item(&record.item);
        described.contains(&item.map_or(0, |item| item.description.chars().count()))
    });
    statistics.described = Size::of(&records);
    let mut users_of: HashMap<String, usize> = HashMap::new();
    for record in &records {
        *users_of.entry(record.item.clone()).or_default() += 1;
    }
    records.retain(|record| users_of[&record.item] >= filters.item_users_min);
    statistics.kept = Size::of(&records);

    let written: HashSet<&str> = records.iter().map(|r| r.item.as_str()).collect();
    let items = corpus.items().iter();
    let items = items
        .filter(|item| written.contains(item.id.as_str()))
        .cloned()
        .collect();
    let corpus = Corpus::new(items, records);
    let held_out = hold_out(&corpus, filters, &mut statistics);
    describe(&corpus, &held_out, &mut statistics);
    (corpus, held_out, statistics)
}

fn hold_out(corpus: &Corpus, filters: &Filters, statistics: &mut Statistics) -> Vec<HeldOut> {
    let comparable = |at: &&usize| {
        let item = &corpus.records()[**at].item;
        corpus.of_item(item).len() >= filters.comparable_users_min
    };
    let mut held_out = Vec::new();
    for (user, records) in corpus.users() {
        if !(filters.user_records_min..=filters.user_records_max).contains(&records.len()) {
            continue;
        }
        statistics.users_in_range += 1;
        let before = held_out.len();
        for place in records.len().saturating_sub(filters.hold_out)..records.len() {
            let compared = records[..place].iter().filter(comparable).count();
            if compared >= filters.comparable_records_min {
                held_out.push(HeldOut {
                    user: user.to_owned(),
                    item: corpus.records()[records[place]].item.clone(),
                });
            }
        }
        statistics.target_users += usize::from(held_out.len() > before);
    }
    statistics.targets = held_out.len();
    held_out
}

fn describe(corpus: &Corpus, held_out: &[HeldOut], statistics: &mut Statistics) {
    let records = corpus.records();
    let words = records.iter().map(|r| r.text.split_whitespace().count());
    statistics.words_per_text = median(words.collect());
    statistics.records_per_user = median(corpus.users().map(|(_, r)| r.len()).collect());
    statistics.users_per_item = median(corpus.written_about().map(|(_, r)| r.len()).collect());
    let targets = held_out
        .iter()
        .filter_map(|t| corpus.target(&t.user, &t.item));
    statistics.history = median(targets.map(|t| t.history.len()).collect());
    let described = |item: &&super::Item| !item.title.is_empty() && !item.description.is_empty();
    statistics.items_described = corpus.items().iter().filter(described).count();
    statistics.untimed = records.iter().filter(|r| r.occurred_at_ms == 0).count();
    statistics.first_ms = records.first().map_or(0, |r| r.occurred_at_ms);
    statistics.last_ms = records.last().map_or(0, |r| r.occurred_at_ms);
}

/// The lower of the middle two; 0 of nothing.
fn median(mut values: Vec<usize>) -> usize {
    values.sort_unstable();
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0)
}
