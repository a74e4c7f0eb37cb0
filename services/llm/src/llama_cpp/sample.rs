//! Choosing the next token from the logits.

use std::collections::HashMap;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::chat::EngineError;

/// How one request chooses its tokens.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: ChaCha8Rng,
    grammar: Option<Matcher>,
    /// What a token's logit loses each time it was chosen; 0 for nothing.
    penalty: f32,
    /// How often each was chosen, where there is a penalty.
    chosen: HashMap<u32, f32>,
    /// The logits less the penalties, kept to save the allocation.
    penalised: Vec<f32>,
    /// Candidates of one draw, kept to save the allocation.
    weights: Vec<(u32, f32)>,
}

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) token: u32,
    /// Tokens that the grammar forces after it: they need no choice.
    pub(crate) forced: Vec<u32>,
    /// The grammar allows nothing more.
    pub(crate) complete: bool,
}

impl Sampler {
    /// Greedy at temperature 0; `grammar` restricts every choice.
    pub(crate) fn new(temperature: f32, top_p: f32, seed: u64, grammar: Option<Matcher>) -> Self {
        Self {
            temperature,
            top_p,
            rng: ChaCha8Rng::seed_from_u64(seed),
            grammar,
            penalty: 0.0,
            chosen: HashMap::new(),
            penalised: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// With this frequency penalty.
    pub(crate) fn penalising(mut self, penalty: f32) -> Self {
        self.penalty = penalty;
        self
    }

    /// # Errors
    /// [`EngineError::Invalid`] when the grammar's parser gives up.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<Choice, EngineError> {
        if self.penalty <= 0.0 {
            return self.choose_from(logits);
        }
        let mut penalised = std::mem::take(&mut self.penalised);
        penalised.clear();
        penalised.extend_from_slice(logits);
        for (&token, count) in &self.chosen {
            if let Some(logit) = penalised.get_mut(token as usize) {
                *logit -= self.penalty * count;
            }
        }
        let choice = self.choose_from(&penalised);
        self.penalised = penalised;
        if let Ok(choice) = &choice {
            *self.chosen.entry(choice.token).or_default() += 1.0;
        }
        choice
    }

    fn choose_from(&mut self, logits: &[f32]) -> Result<Choice, EngineError> {
        let mut token = self.draw(logits, None);
        let Some(mut grammar) = self.grammar.take() else {
            return Ok(Choice {
                token,
                forced: Vec::new(),
                complete: false,
            });
        };
        // A mask over the whole vocabulary costs far more than asking about one token, and most of
        // the time the model's own choice is allowed. A redraw under the mask keeps the
        // distribution: what was refused is spread over what is allowed, by its weight.
        if grammar.validate_tokens(&[token]).map_err(gave_up)? == 0 {
            let mask = grammar.compute_mask_or_eos().map_err(gave_up)?;
            token = self.draw(logits, Some(&mask));
        }
        grammar.consume_token(token).map_err(gave_up)?;
        let forced = if grammar.is_stopped() {
            Vec::new()
        } else {
            grammar.consume_ff_tokens()
        };
        let complete = grammar.is_stopped();
        self.grammar = Some(grammar);
        Ok(Choice {
            token,
            forced,
            complete,
        })
    }

    fn draw(&mut self, logits: &[f32], mask: Option<&SimpleVob>) -> u32 {
        if self.temperature == 0.0 {
            return match mask {
                None => argmax(logits),
                Some(mask) => argmax_of(logits, mask),
            };
        }
        self.weigh(logits, mask);
        let total: f64 = self
            .weights
            .iter()
            .map(|&(_, weight)| f64::from(weight))
            .sum();
        let mut left = self.rng.random::<f64>() * total;
        for &(token, weight) in &self.weights {
            left -= f64::from(weight);
            if left <= 0.0 {
                return token;
            }
        }
        // Rounding may leave a little; with no candidate at all, the greedy choice is as good.
        self.weights
            .last()
            .map_or_else(|| argmax(logits), |&(token, _)| token)
    }

    /// Fills `weights` with the nucleus: unnormalised probabilities at this temperature.
    fn weigh(&mut self, logits: &[f32], mask: Option<&SimpleVob>) {
        // Below this share of the best candidate, all others together do not matter.
        const NEGLIGIBLE: f32 = 1e-8;
        self.weights.clear();
        let best = match mask {
            None => argmax(logits),
            Some(mask) => argmax_of(logits, mask),
        };
        let top = logits[best as usize];
        for (token, &logit) in (0..).zip(logits) {
            let weight = ((logit - top) / self.temperature).exp();
            if weight > NEGLIGIBLE && mask.is_none_or(|mask| mask.is_allowed(token)) {
                self.weights.push((token, weight));
            }
        }
        if self.top_p >= 1.0 {
            return;
        }
        self.weights
            .sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f32 = self.weights.iter().map(|&(_, weight)| weight).sum();
        let mut kept = 0.0;
        let end = self.weights.iter().position(|&(_, weight)| {
            kept += weight;
            kept >= self.top_p * total
        });
        self.weights
            .truncate(end.map_or(self.weights.len(), |end| end + 1));
    }
}

fn gave_up(_: impl std::fmt::Display) -> EngineError {
    // The parser's own words may quote the output.
    EngineError::Invalid("schema: decoding under it failed".into())
}

/// The first greatest logit. Two plain passes: the compiler makes vector instructions of them.
fn argmax(logits: &[f32]) -> u32 {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    let top = lanes
        .into_iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, f32::max);
    index(logits.iter().position(|&logit| logit >= top).unwrap_or(0))
}

fn argmax_of(logits: &[f32], mask: &SimpleVob) -> u32 {
    let mut best = None;
    for token in mask.iter() {
        let Some(&logit) = logits.get(token as usize) else {
            continue;
        };
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((token, logit));
        }
    }
    best.map_or(0, |(token, _)| token)
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a vocabulary has fewer than 2^32 tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(temperature: f32, top_p: f32, seed: u64, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(temperature, top_p, seed, None);
        (0..n)
            .map(|_| sampler.choose(logits).unwrap().token)
            .collect()
    }

    #[test]
    fn greedy_takes_the_first_greatest() {
        let mut logits = vec![0.0; 100];
        logits[37] = 2.0;
        logits[90] = 2.0;
        assert_eq!(draws(0.0, 1.0, 0, &logits, 1), [37]);
        logits[99] = 3.0;
        assert_eq!(draws(0.0, 1.0, 0, &logits, 1), [99]);
        logits[5] = f32::NAN;
        assert_eq!(draws(0.0, 1.0, 0, &logits, 1), [99]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        // Probabilities 0.6, 0.3, 0.1.
        let logits = [0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()];
        let drawn = draws(1.0, 1.0, 7, &logits, 20_000);
        for (token, share) in [(0, 0.6), (1, 0.3), (2, 0.1)] {
            let count = drawn.iter().filter(|&&drawn| drawn == token).count();
            let found = count as f64 / 20_000.0;
            assert!((found - share).abs() < 0.02, "token {token}: {found}");
        }
    }

    #[test]
    fn the_nucleus_leaves_the_tail_out() {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        let drawn = draws(1.0, 0.85, 3, &logits, 1_000);
        assert!(drawn.iter().all(|&token| token != 0));
        assert!(drawn.contains(&1) && drawn.contains(&2));
        assert!(
            draws(1.0, 0.01, 3, &logits, 100)
                .iter()
                .all(|&token| token == 1)
        );
    }

    #[test]
    fn a_penalty_makes_room_for_others() {
        let logits = [0.0, 1.0, 0.7];
        let mut sampler = Sampler::new(0.0, 1.0, 0, None).penalising(0.4);
        let drawn: Vec<u32> = (0..6)
            .map(|_| sampler.choose(&logits).unwrap().token)
            .collect();
        // 1.0; 0.6 against 0.7; 0.6 against 0.3; 0.2 against 0.3; then -0.1 against 0.2.
        assert_eq!(drawn, [1, 2, 1, 2, 1, 0]);
    }

    #[test]
    fn a_seed_repeats() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        assert_eq!(
            draws(0.8, 0.9, 5, &logits, 40),
            draws(0.8, 0.9, 5, &logits, 40)
        );
        assert_ne!(
            draws(0.8, 0.9, 5, &logits, 40),
            draws(0.8, 0.9, 6, &logits, 40)
        );
    }
}
