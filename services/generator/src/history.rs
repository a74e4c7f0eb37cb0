//! The records of a user that matter for a task.

use foil_store::{Item, Record};
use std::collections::HashMap;

use crate::bm25::{self, Words};

/// What is to be written about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// The item's id; empty when it is none that is known by one.
    pub item: String,
    /// Title of the item, may be empty.
    pub item_title: String,
    /// Description of the item, may be empty.
    pub item_description: String,
    /// Headline of the text to write, may be empty.
    pub title: String,
}

impl Topic {
    fn words(&self, words: Words) -> Vec<String> {
        let about = if self.item_description.is_empty() {
            &self.item_title
        } else {
            &self.item_description
        };
        words.of(&format!("{} {about}", self.title))
    }
}

/// One of the user's records with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub record: Record,
    /// Title of its item; empty when the item is unknown.
    pub item_title: String,
}

/// The at most `most` key samples of `records` (newest first), best first; where nothing matches,
/// the newest. The user's text on the very item is none: a model would copy it. `words`: how texts are
/// taken apart to be matched, by default the service's way.
pub fn key_samples(
    topic: &Topic,
    records: Vec<Record>,
    items: &HashMap<String, Item>,
    most: usize,
    words: Words,
) -> Vec<Sample> {
    let past: Vec<Record> = records
        .into_iter()
        .filter(|record| topic.item.is_empty() || record.key.item != topic.item)
        .collect();
    let document = |record: &Record| {
        let item = items.get(&record.key.item);
        let (title, description) = item.map_or(("", ""), |item| {
            (item.title.as_str(), item.description.as_str())
        });
        words.of(&format!("{} {title} {description}", record.title))
    };
    let documents: Vec<Vec<String>> = past.iter().map(document).collect();
    let best = bm25::best(&topic.words(words), &documents, most);
    let best = best.into_iter().map(|index| past[index].clone());
    of_items(best, items)
}

/// The records with what they are about.
pub fn of_items(
    records: impl Iterator<Item = Record>,
    items: &HashMap<String, Item>,
) -> Vec<Sample> {
    let sample = |record: Record| {
        let item_title = items
            .get(&record.key.item)
            .map_or_else(String::new, |item| item.title.clone());
        Sample { record, item_title }
    };
    records.map(sample).collect()
}
