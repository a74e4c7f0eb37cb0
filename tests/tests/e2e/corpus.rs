//! What the sample corpus promises.

use std::collections::{BTreeMap, BTreeSet};

use foil_tests::corpus::Corpus;

/// Shorter pieces, such as "No." or "Why?", are no sentences that a template would give away.
const SENTENCE_WORDS_MIN: usize = 3;

#[test]
fn the_sample_corpus_is_large_enough() {
    let corpus = Corpus::read();
    let items: BTreeSet<&str> = corpus.items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(items.len(), 14);
    assert_eq!(corpus.items.len(), 14);
    let mut by_user = BTreeMap::<&str, u32>::new();
    let mut by_item = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut keys = BTreeSet::new();
    for record in &corpus.records {
        assert!(items.contains(record.item.as_str()), "{}", record.item);
        assert!(keys.insert((&record.user, &record.item)), "{record:?}");
        *by_user.entry(&record.user).or_default() += 1;
        by_item
            .entry(&record.item)
            .or_default()
            .insert(&record.user);
        let words = record.text.split_whitespace().count();
        assert!((30..=150).contains(&words), "{words} words: {record:?}");
    }
    assert!(by_user.len() >= 24, "{by_user:?}");
    assert!(corpus.records.len() >= 240, "{}", corpus.records.len());
    assert!(by_item.len() == 14 && by_item.values().all(|users| users.len() >= 8));
    let often = by_user.values().filter(|records| **records >= 9).count();
    assert!(often >= 14, "{by_user:?}");
}

#[test]
fn no_two_records_of_the_sample_corpus_share_a_sentence() {
    let corpus = Corpus::read();
    let mut seen = BTreeMap::new();
    for (index, record) in corpus.records.iter().enumerate() {
        for sentence in sentences(&record.text) {
            let first = *seen.entry(sentence.clone()).or_insert(index);
            let other = &corpus.records[first];
            assert_eq!(
                first, index,
                "{}/{} and {}/{}: {sentence:?}",
                other.user, other.item, record.user, record.item
            );
        }
    }
    // Proof that sentences were found at all.
    assert!(seen.len() > 2 * corpus.records.len(), "{}", seen.len());
}

/// Words alone, in lower case: neither a comma nor a capital makes a sentence another one.
fn sentences(text: &str) -> impl Iterator<Item = String> {
    text.split(['.', '!', '?', '\n', ';', '…'])
        .map(|sentence| {
            let words: Vec<String> = sentence
                .to_lowercase()
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            words
        })
        .filter(|words| words.len() >= SENTENCE_WORDS_MIN)
        .map(|words| words.join(" "))
}
