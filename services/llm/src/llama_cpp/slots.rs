//! Which sequence of the KV cache serves which request, and which prompt beginnings are shared.

use llama_cpp_2::token::LlamaToken;

use super::queue::Job;

/// A request that runs.
pub(super) struct Run {
    pub(super) job: Job,
    /// Order of admission.
    pub(super) number: u64,
    /// Tokens of the prompt that were found in the cache; `None` until the first step.
    pub(super) cached: Option<usize>,
    /// Tokens to decode before the next choice: the prompt, or what was chosen last.
    pub(super) feed: Vec<LlamaToken>,
    /// How many of `feed` are decoded.
    pub(super) fed: usize,
    /// Tokens generated.
    pub(super) generated: u32,
    /// Where in the batch the logits of the last of `feed` are.
    pub(super) logits: Option<i32>,
    pub(super) queued: std::time::Duration,
    pub(super) first_token: std::time::Duration,
}

impl Run {
    pub(super) fn left(&self) -> &[LlamaToken] {
        &self.feed[self.fed..]
    }
}

/// One sequence id of the cache.
#[derive(Default)]
pub(super) struct Slot {
    /// The tokens whose cells the sequence holds, in order.
    pub(super) tokens: Vec<LlamaToken>,
    /// How many of them are prompt; the rest is answer, which no other prompt begins with.
    pub(super) prompt: usize,
    pub(super) run: Option<Run>,
    /// When it was last used, by count of admissions and ends.
    pub(super) used: u64,
}

/// Where a prompt can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Copy this many tokens from this slot.
    From { slot: usize, tokens: usize },
    /// An older request is reading a prompt that begins the same; sharing is worth the wait.
    Wait,
}

/// A wait that saves fewer tokens than this is not worth it.
const WORTH_WAITING: usize = 64;

/// The sequences of one context.
pub(super) struct Slots {
    pub(super) slots: Vec<Slot>,
    clock: u64,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(count).collect(),
            clock: 0,
        }
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.run.is_some()).count()
    }

    /// Indices of running slots, oldest request first.
    pub(super) fn by_age(&self) -> Vec<usize> {
        let mut order: Vec<(u64, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| slot.run.as_ref().map(|run| (run.number, index)))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// The idle slot to give to a prompt: one whose content the prompt mostly repeats, else the
    /// one that was idle longest.
    pub(super) fn choose(&self, prompt: &[LlamaToken]) -> Option<usize> {
        let idle = || {
            self.slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.run.is_none())
        };
        let best = idle()
            .map(|(index, slot)| (shared(&slot.tokens, prompt), index))
            .max_by_key(|&(tokens, index)| (tokens, std::cmp::Reverse(index)));
        if let Some((tokens, index)) = best
            && tokens > 0
            && tokens * 2 >= self.slots[index].tokens.len()
        {
            return Some(index);
        }
        self.oldest_idle()
    }

    fn oldest_idle(&self) -> Option<usize> {
        let idle = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.run.is_none());
        idle.min_by_key(|(_, slot)| slot.used)
            .map(|(index, _)| index)
    }

    /// Idle slots that hold tokens.
    pub(super) fn idle(&self) -> Vec<usize> {
        let held = |slot: &Slot| slot.run.is_none() && !slot.tokens.is_empty();
        (0..self.slots.len())
            .filter(|&index| held(&self.slots[index]))
            .collect()
    }

    /// Where the prompt of the request in `index`, which has not begun, can begin now. At least
    /// one token is always left to decode, for its logits.
    pub(super) fn start(&self, index: usize) -> Option<Start> {
        let run = self.slots[index].run.as_ref()?;
        let prompt = &run.job.prompt[..run.job.prompt.len().saturating_sub(1)];
        let (tokens, slot) = self
            .slots
            .iter()
            .enumerate()
            .map(|(index, slot)| (shared(&slot.tokens, prompt), index))
            // In place is best: it needs no copy.
            .max_by_key(|&(tokens, slot)| (tokens, slot == index))?;
        let coming = self
            .slots
            .iter()
            .filter_map(|slot| slot.run.as_ref())
            .filter(|older| older.number < run.number && older.generated == 0)
            .map(|older| shared(&older.job.prompt, prompt))
            .max();
        if coming.is_some_and(|coming| coming >= tokens + WORTH_WAITING) {
            return Some(Start::Wait);
        }
        Some(Start::From { slot, tokens })
    }
}

/// Tokens at the beginning that both have.
pub(super) fn shared(a: &[LlamaToken], b: &[LlamaToken]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::llama_cpp::queue::channel;
    use crate::llama_cpp::sample::Sampler;
    use crate::llama_cpp::text::TextGate;

    fn tokens(range: std::ops::Range<i32>) -> Vec<LlamaToken> {
        range.map(LlamaToken).collect()
    }

    fn run(prompt: Vec<LlamaToken>, number: u64) -> Run {
        let now = Instant::now();
        Run {
            job: Job {
                prompt: prompt.clone(),
                max_tokens: 1,
                sampler: Sampler::new(0.0, 1.0, 0, None),
                text: TextGate::new(Vec::new()),
                events: channel(1).0,
                submitted: now,
                deadline: now,
            },
            number,
            cached: None,
            feed: prompt,
            fed: 0,
            generated: 0,
            logits: None,
            queued: Duration::ZERO,
            first_token: Duration::ZERO,
        }
    }

    #[test]
    fn a_mostly_repeated_slot_is_used_again_and_else_the_oldest() {
        let mut slots = Slots::new(3);
        slots.slots[0].tokens = tokens(0..100);
        slots.slots[0].used = 9;
        slots.slots[1].used = 5;
        slots.slots[2].tokens = tokens(500..600);
        slots.slots[2].used = 7;
        assert_eq!(slots.choose(&tokens(0..80)), Some(0));
        assert_eq!(
            slots.choose(&tokens(0..20)),
            Some(1),
            "its tail is worth keeping"
        );
        assert_eq!(slots.choose(&tokens(900..950)), Some(1));
        assert_eq!(slots.idle(), [0, 2], "slot 1 holds nothing");
    }

    #[test]
    fn a_running_slot_is_neither_chosen_nor_idle() {
        let mut slots = Slots::new(2);
        slots.slots[0].run = Some(run(tokens(0..10), 1));
        slots.slots[0].tokens = tokens(0..10);
        assert_eq!(slots.choose(&tokens(0..10)), Some(1));
        assert!(slots.idle().is_empty());
        slots.slots[1].run = Some(run(tokens(0..10), 2));
        assert_eq!(slots.choose(&tokens(0..10)), None);
        assert_eq!(slots.by_age(), [0, 1]);
    }

    #[test]
    fn a_start_leaves_one_token_and_prefers_its_own_slot() {
        let mut slots = Slots::new(2);
        slots.slots[0].tokens = tokens(0..100);
        slots.slots[1].tokens = tokens(0..100);
        slots.slots[1].run = Some(run(tokens(0..100), 1));
        assert_eq!(
            slots.start(1),
            Some(Start::From {
                slot: 1,
                tokens: 99
            })
        );
        slots.slots[1].tokens.clear();
        assert_eq!(
            slots.start(1),
            Some(Start::From {
                slot: 0,
                tokens: 99
            })
        );
    }

    #[test]
    fn a_request_waits_for_an_older_one_that_reads_the_same_beginning() {
        let mut slots = Slots::new(2);
        slots.slots[0].run = Some(run(tokens(0..300), 1));
        slots.slots[1].run = Some(run([tokens(0..200), tokens(900..950)].concat(), 2));
        assert_eq!(slots.start(0), Some(Start::From { slot: 0, tokens: 0 }));
        assert_eq!(slots.start(1), Some(Start::Wait));
        slots.slots[0].tokens = tokens(0..150);
        assert_eq!(
            slots.start(1),
            Some(Start::From {
                slot: 0,
                tokens: 150
            }),
            "fifty more are not worth it"
        );
        slots.slots[0].tokens = tokens(0..300);
        assert_eq!(
            slots.start(1),
            Some(Start::From {
                slot: 0,
                tokens: 200
            })
        );
    }
}
