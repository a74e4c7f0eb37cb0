//! Seeded sampling. mistralrs draws from one generator for all requests and takes no seed, so a
//! request's text would depend on what else runs; its greedy sampler, given logits in which one
//! token is left, does not.
//!
//! The draw is a Gumbel-max: the noise of a token depends on the seed, the place and the token alone,
//! so the little by which logits differ from batch to batch changes a draw only between near ties.

use mistralrs::{CustomLogitsProcessor, Result, Tensor};

/// Below this share of the best candidate, all others together do not matter: `ln(1e-8)`.
const NEGLIGIBLE: f32 = -18.4;

/// Draws each token with randomness that depends only on the seed and the token's place.
pub(super) struct Seeded {
    /// Above 0.
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) seed: u64,
}

impl Seeded {
    /// The engine asks twice for a place where a schema forbids the first choice, and then with
    /// what is forbidden at minus infinity.
    fn choose(&self, logits: &[f32], place: usize) -> u32 {
        let stream = mix(self.seed ^ mix(place as u64));
        let drawn = self.nucleus(logits).into_iter().max_by(|a, b| {
            let noisy = |&(token, weight): &(u32, f32)| weight + gumbel(stream, token);
            noisy(a).total_cmp(&noisy(b))
        });
        drawn.map_or(0, |(token, _)| token)
    }

    /// The likeliest tokens that together have `top_p` of the probability, with the logarithms of
    /// their weights.
    fn nucleus(&self, logits: &[f32]) -> Vec<(u32, f32)> {
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut tokens: Vec<(u32, f32)> = (0..)
            .zip(logits)
            .map(|(token, logit)| (token, (logit - best) / self.temperature))
            .filter(|&(_, weight)| weight > NEGLIGIBLE)
            .collect();
        if self.top_p < 1.0 {
            tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let total: f32 = tokens.iter().map(|(_, weight)| weight.exp()).sum();
            let mut before = 0.0;
            tokens.retain(|(_, weight)| {
                let kept = before < self.top_p * total;
                before += weight.exp();
                kept
            });
        }
        tokens
    }
}

/// The finaliser of splitmix64: every bit of the input changes about half of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn gumbel(stream: u64, token: u32) -> f32 {
    // 53 bits, moved by a half so that it is neither 0 nor 1.
    let bits = mix(stream ^ mix(u64::from(token))) >> 11;
    let uniform = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
    -(-uniform.ln()).ln() as f32
}

impl CustomLogitsProcessor for Seeded {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> Result<Tensor> {
        let values = logits.to_vec1::<f32>()?;
        let chosen = self.choose(&values, context.len());
        let mut only = vec![f32::NEG_INFINITY; values.len()];
        if let Some(logit) = only.get_mut(chosen as usize) {
            *logit = 0.0;
        }
        Tensor::from_vec(only, values.len(), logits.device())
    }
}

#[cfg(test)]
mod tests {
    use mistralrs::Device;

    use super::*;

    fn seeded(seed: u64) -> Seeded {
        Seeded {
            temperature: 1.0,
            top_p: 1.0,
            seed,
        }
    }

    fn share(draws: impl Iterator<Item = u32>, token: u32) -> f64 {
        let draws: Vec<u32> = draws.collect();
        draws.iter().filter(|&&drawn| drawn == token).count() as f64 / draws.len() as f64
    }

    #[test]
    fn one_token_is_left_and_it_repeats() {
        let logits = [1.0_f32, 2.0, 0.5, 2.5];
        let tensor = Tensor::from_slice(&logits, 4, &Device::Cpu).unwrap();
        for place in 0..50 {
            let context = vec![0_u32; place];
            let left = seeded(7).apply(&tensor, &context).unwrap();
            let left = left.to_vec1::<f32>().unwrap();
            let chosen: Vec<usize> = (0..4).filter(|&at| left[at].is_finite()).collect();
            assert_eq!(chosen, [seeded(7).choose(&logits, place) as usize]);
        }
    }

    #[test]
    fn draws_follow_the_probabilities_over_places_and_seeds() {
        // 1 to 3, and a forbidden one.
        let logits = [0.0_f32, 3.0_f32.ln(), f32::NEG_INFINITY];
        let places = || (0..4000).map(|place| seeded(1).choose(&logits, place));
        let seeds = || (0..4000).map(|seed| seeded(seed).choose(&logits, 9));
        assert!((share(places(), 1) - 0.75).abs() < 0.03);
        assert!((share(seeds(), 1) - 0.75).abs() < 0.03);
        assert_eq!((share(places(), 2), share(seeds(), 2)), (0.0, 0.0));
        // At half the temperature it is 1 to 9.
        let cooler = |place| {
            Seeded {
                temperature: 0.5,
                ..seeded(1)
            }
            .choose(&logits, place)
        };
        assert!((share((0..4000).map(cooler), 1) - 0.9).abs() < 0.03);
    }

    #[test]
    fn the_nucleus_leaves_the_tail_out() {
        // 0.6, 0.3, 0.1: two make 0.9, and the first alone 0.5.
        let logits = [0.3_f32.ln(), 0.6_f32.ln(), 0.1_f32.ln()];
        let tokens = |top_p| -> Vec<u32> {
            let nucleus = Seeded { top_p, ..seeded(1) }.nucleus(&logits);
            nucleus.into_iter().map(|(token, _)| token).collect()
        };
        assert_eq!(tokens(0.5), [1]);
        assert_eq!(tokens(0.89), [1, 0]);
        assert_eq!(tokens(0.95), [1, 0, 2]);
        assert_eq!(tokens(1.0), [0, 1, 2]);
    }
}
