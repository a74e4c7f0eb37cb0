//! Prompts that were read and are not in use: their part of the KV cache, in ordinary memory.
//!
//! They do not stay in the cache, because attention walks over every cell in use, also those of
//! other sequences. A copy back costs milliseconds, and reading the prompt again costs seconds.

use llama_cpp_2::SeqState;
use llama_cpp_2::token::LlamaToken;

use super::slots::shared;

/// A prompt shorter than this is read again as fast.
const WORTH_KEEPING: usize = 64;

struct Kept<S> {
    tokens: Vec<LlamaToken>,
    state: S,
    used: u64,
}

/// Kept prompts, the least recently used of which go first.
pub(super) struct Shelf<S = SeqState> {
    kept: Vec<Kept<S>>,
    /// Most tokens of all together.
    limit: usize,
    clock: u64,
}

impl<S> Shelf<S> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            kept: Vec::new(),
            limit,
            clock: 0,
        }
    }

    /// Whether keeping this prompt would save more than is saved already.
    pub(super) fn wants(&self, tokens: &[LlamaToken]) -> bool {
        let known = self
            .kept
            .iter()
            .map(|kept| shared(&kept.tokens, tokens))
            .max();
        let long = tokens.len() >= WORTH_KEEPING && tokens.len() <= self.limit;
        // An end of its own, such as the text that a comparison was about, seldom comes again.
        long && known.unwrap_or(0) * 2 < tokens.len()
    }

    pub(super) fn keep(&mut self, tokens: Vec<LlamaToken>, state: S) {
        self.clock += 1;
        // What is the beginning of the new one is saved by it.
        self.kept
            .retain(|kept| shared(&kept.tokens, &tokens) < kept.tokens.len());
        self.kept.push(Kept {
            tokens,
            state,
            used: self.clock,
        });
        while self
            .kept
            .iter()
            .map(|kept| kept.tokens.len())
            .sum::<usize>()
            > self.limit
        {
            let oldest = self
                .kept
                .iter()
                .enumerate()
                .min_by_key(|(_, kept)| kept.used);
            match oldest.map(|(index, _)| index) {
                Some(index) => self.kept.swap_remove(index),
                None => return,
            };
        }
    }

    /// What begins most like `prompt`, if that is more than `tokens` by enough to matter: its
    /// tokens, its state, and how many tokens of it are of use.
    pub(super) fn best(
        &mut self,
        prompt: &[LlamaToken],
        tokens: usize,
    ) -> Option<(&[LlamaToken], &S, usize)> {
        self.clock += 1;
        let best = self
            .kept
            .iter_mut()
            .max_by_key(|kept| shared(&kept.tokens, prompt))?;
        let useful = shared(&best.tokens, prompt);
        if useful < tokens + WORTH_KEEPING {
            return None;
        }
        best.used = self.clock;
        Some((&best.tokens, &best.state, useful))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<i32>) -> Vec<LlamaToken> {
        range.map(LlamaToken).collect()
    }

    #[test]
    fn the_most_alike_is_found_when_it_is_worth_it() {
        let mut shelf = Shelf::new(10_000);
        shelf.keep(tokens(0..200), 'a');
        shelf.keep([tokens(0..100), tokens(500..700)].concat(), 'b');
        let prompt = [tokens(0..100), tokens(500..600)].concat();
        let (whole, state, useful) = shelf.best(&prompt, 20).unwrap();
        assert_eq!((whole.len(), *state, useful), (300, 'b', 200));
        assert!(
            shelf.best(&prompt, 150).is_none(),
            "fifty more are not worth it"
        );
        assert!(shelf.best(&tokens(900..999), 0).is_none());
    }

    #[test]
    fn what_is_mostly_there_or_short_is_not_wanted() {
        let mut shelf = Shelf::new(1_000);
        assert!(shelf.wants(&tokens(0..100)));
        assert!(!shelf.wants(&tokens(0..20)));
        assert!(!shelf.wants(&tokens(0..2_000)));
        shelf.keep(tokens(0..100), ());
        assert!(!shelf.wants(&[tokens(0..90), tokens(800..850)].concat()));
        assert!(shelf.wants(&[tokens(0..90), tokens(800..950)].concat()));
    }

    #[test]
    fn the_limit_is_kept_by_dropping_the_least_recently_used() {
        let mut shelf = Shelf::new(300);
        shelf.keep(tokens(0..100), 'a');
        shelf.keep(tokens(1_000..1_100), 'b');
        shelf.keep(tokens(2_000..2_100), 'c');
        assert!(shelf.best(&tokens(0..100), 0).is_some());
        shelf.keep(tokens(3_000..3_100), 'd');
        assert!(
            shelf.best(&tokens(1_000..1_100), 0).is_none(),
            "b was oldest"
        );
        for start in [0, 2_000, 3_000] {
            assert!(shelf.best(&tokens(start..start + 100), 0).is_some());
        }
    }

    #[test]
    fn a_longer_one_replaces_its_own_beginning() {
        let mut shelf = Shelf::new(300);
        shelf.keep(tokens(0..100), 'a');
        shelf.keep(tokens(0..250), 'b');
        let (_, state, useful) = shelf.best(&tokens(0..300), 0).unwrap();
        assert_eq!((*state, useful), ('b', 250));
    }
}
