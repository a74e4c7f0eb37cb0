//! Seeded sampling. mistralrs draws from one generator for all requests and takes no seed, so a
//! request's text would depend on what else runs; its greedy sampler, given logits in which one
//! token is left, does not.

use mistralrs::{CustomLogitsProcessor, Result, Tensor};

use crate::llama_cpp::Sampler;

/// Draws each token with randomness that depends only on the seed and the token's place.
pub(super) struct Seeded {
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) seed: u64,
}

impl Seeded {
    fn choose(&self, logits: &[f32], place: usize) -> u32 {
        // The engine asks twice for a place where a schema forbids the first choice; the same seed
        // then draws again from what is allowed.
        let seed = self.seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut sampler = Sampler::new(self.temperature, self.top_p, seed, None);
        // Only a grammar can fail, and there is none.
        sampler.choose(logits).map_or(0, |choice| choice.token)
    }
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
        let logits = [0.0_f32, 3.0_f32.ln(), f32::NEG_INFINITY];
        let share = |draws: Vec<u32>| {
            assert!(draws.iter().all(|&token| token != 2), "a masked token");
            draws.iter().filter(|&&token| token == 1).count() as f64 / draws.len() as f64
        };
        let places = share(
            (0..4000)
                .map(|place| seeded(1).choose(&logits, place))
                .collect(),
        );
        let seeds = share(
            (0..4000)
                .map(|seed| seeded(seed).choose(&logits, 9))
                .collect(),
        );
        assert!((places - 0.75).abs() < 0.04, "{places}");
        assert!((seeds - 0.75).abs() < 0.04, "{seeds}");
    }
}
