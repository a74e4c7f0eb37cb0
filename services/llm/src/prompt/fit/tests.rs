use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::chat::{ChatRequest, ChatStream, ModelInfo};

/// A token for every five bytes of a word begun, and for every other character than ASCII.
struct Counter {
    info: ModelInfo,
    bytes: AtomicUsize,
}

impl Counter {
    fn new() -> Self {
        Self {
            info: ModelInfo {
                provider: "openai",
                model: "counter".into(),
                context_tokens: 1000,
            },
            bytes: AtomicUsize::new(0),
        }
    }
}

impl LanguageModel for Counter {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let tokens = text.split_whitespace().map(|word| {
            let ascii = word.chars().filter(char::is_ascii).count();
            ascii.div_ceil(5) + word.chars().count() - ascii
        });
        Ok(u32::try_from(tokens.sum::<usize>()).unwrap())
    }

    fn template_tokens(&self, _: usize) -> u32 {
        0
    }

    fn chat(&self, _: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        unreachable!("only counting is tested")
    }
}

fn words(count: usize) -> String {
    let words: Vec<String> = (0..count).map(|number| format!("w{number}")).collect();
    words.join(" ")
}

fn tokens(text: &str) -> u32 {
    Counter::new().count_tokens(text).unwrap()
}

#[test]
fn what_fits_stays() {
    let parts = vec![Part::whole("Do it."), Part::shorten(words(50))];
    let fitted = fit(parts, 100, &Counter::new()).unwrap();
    assert_eq!(fitted.texts, ["Do it.", &words(50)]);
    assert_eq!((fitted.tokens, fitted.shortened), (2 + 1 + 50 + 1, 0));
}

#[test]
fn the_longest_are_cut_to_one_length_and_the_others_stay() {
    let parts = vec![
        Part::whole(words(20)),
        Part::shorten(words(300)),
        Part::shorten(words(10)),
        Part::shorten(words(900)),
    ];
    let fitted = fit(parts, 231, &Counter::new()).unwrap();
    assert_eq!(fitted.texts[0], words(20));
    assert_eq!(fitted.texts[2], words(10));
    assert_eq!(fitted.shortened, 2);
    let lengths = [tokens(&fitted.texts[1]), tokens(&fitted.texts[3])];
    assert!(
        lengths.iter().all(|length| (90..100).contains(length)),
        "{lengths:?}"
    );
    for text in [&fitted.texts[1], &fitted.texts[3]] {
        let kept = text.strip_suffix(ELLIPSIS).unwrap();
        assert!(words(900).starts_with(kept) && words(900)[kept.len()..].starts_with(' '));
    }
}

#[test]
fn whole_parts_that_do_not_fit_are_named_with_their_sizes() {
    let parts = vec![
        Part::whole(words(30)),
        Part::whole(words(40)),
        Part::shorten("x"),
    ];
    let error = fit(parts, 60, &Counter::new()).unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains("72 tokens") && text.contains("60") && text.contains("2 parts"),
        "{text}"
    );
}

#[test]
fn with_no_room_left_the_rest_is_empty() {
    let parts = vec![
        Part::whole(words(30)),
        Part::shorten(words(40)),
        Part::shorten(""),
    ];
    let fitted = fit(parts, 31, &Counter::new()).unwrap();
    assert_eq!(fitted.texts[1..], ["", ""]);
    assert_eq!(fitted.tokens, 31);
}

#[test]
fn a_megabyte_is_never_counted_whole() {
    for text in [
        words(150_000),
        "x".repeat(1_000_000),
        "\u{4f60}".repeat(330_000),
    ] {
        let counter = Counter::new();
        let fitted = fit(vec![Part::shorten(text.clone())], 500, &counter).unwrap();
        let counted = counter.bytes.load(Ordering::Relaxed);
        assert!(counted < 40_000, "{counted} bytes");
        let length = tokens(&fitted.texts[0]);
        assert!((450..500).contains(&length), "{length} of {}", &text[..9]);
    }
}

#[test]
fn a_text_that_grows_denser_still_fits() {
    let text = format!("{} {}", words(100), "\u{4f60}".repeat(5_000));
    let fitted = fit(vec![Part::shorten(text)], 400, &Counter::new()).unwrap();
    let length = tokens(&fitted.texts[0]);
    assert!((300..400).contains(&length), "{length}");
}

#[test]
fn many_short_parts_share_evenly() {
    let parts = (0..10).map(|_| Part::shorten(words(50))).collect();
    let fitted = fit(parts, 200, &Counter::new()).unwrap();
    let lengths: Vec<u32> = fitted.texts.iter().map(|text| tokens(text)).collect();
    assert!(
        lengths.iter().all(|length| (15..20).contains(length)),
        "{lengths:?}"
    );
}

proptest! {
    #[test]
    fn budgets_are_kept_and_nothing_else_changes(
        texts in prop::collection::vec(("([a-z]{1,9} ?|\u{4f60}|\n){0,120}", any::<bool>()), 0..8),
        budget in 0u32..300,
    ) {
        let parts: Vec<Part> = texts
            .iter()
            .map(|(text, whole)| if *whole { Part::whole(text) } else { Part::shorten(text) })
            .collect();
        let counter = Counter::new();
        let whole: u32 = parts
            .iter()
            .filter(|part| part.keep == Keep::Whole)
            .map(|part| cost(&part.text, &counter).unwrap())
            .sum();
        let Ok(fitted) = fit(parts.clone(), budget, &counter) else {
            prop_assert!(whole > budget);
            return Ok(());
        };
        prop_assert!(whole <= budget);
        prop_assert!(fitted.tokens <= budget);
        let counted: u32 = fitted.texts.iter().map(|text| cost(text, &counter).unwrap()).sum();
        prop_assert_eq!(counted, fitted.tokens);
        prop_assert_eq!(fitted.texts.len(), parts.len());
        let mut longest_kept = 0;
        for (part, text) in parts.iter().zip(&fitted.texts) {
            if part.text == *text {
                if part.keep == Keep::Shorten {
                    longest_kept = longest_kept.max(cost(text, &counter).unwrap());
                }
                continue;
            }
            prop_assert_eq!(part.keep, Keep::Shorten);
            let kept = text.strip_suffix(ELLIPSIS).unwrap_or_default();
            prop_assert!(part.text.starts_with(kept));
            // No text is cut below the length that another keeps.
            prop_assert!(cost(&part.text, &counter).unwrap() >= longest_kept);
        }
    }
}
