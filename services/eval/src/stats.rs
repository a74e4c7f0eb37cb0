//! Intervals and paired tests by resampling: no assumption about how scores are distributed.
//!
//! Everything is drawn from a seed, so the same values give the same answer.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Resamples of every interval and test.
pub const RESAMPLES: usize = 10_000;
/// Share of the resamples on each side of a 95 % interval.
const TAIL: f64 = 0.025;

/// A mean with its 95 % bootstrap interval (percentiles of the means of [`RESAMPLES`] resamples).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// What two methods differ by on the same samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Of the first minus the second.
    pub difference: Interval,
    /// Two-sided, by a randomisation test that swaps the two methods on each sample: how likely a
    /// mean difference at least as large is when they are alike. Never 0: the observed one counts.
    pub p: f64,
}

/// Mean of the values; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean of one value a sample, and its interval; `None` of nothing.
pub fn interval(values: &[f64], seed: u64) -> Option<Interval> {
    let mean = |at: &[usize]| at.iter().map(|&i| values[i]).sum::<f64>() / at.len() as f64;
    resampled(values.len(), seed, mean)
}

/// A figure of `count` samples together, and its interval; `None` of nothing. `of`: the figure of the
/// samples at these places, of which one may be there several times.
pub fn resampled(count: usize, seed: u64, of: impl Fn(&[usize]) -> f64) -> Option<Interval> {
    if count == 0 {
        return None;
    }
    let mut at: Vec<usize> = (0..count).collect();
    let mean = of(&at);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut figures: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            at.fill_with(|| rng.random_range(0..count));
            of(&at)
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    let at = |share: f64| figures[(share * (RESAMPLES - 1) as f64).round() as usize];
    Some(Interval {
        mean,
        low: at(TAIL),
        high: at(1.0 - TAIL),
    })
}

/// Compares two methods by their values on the same samples, in the same order; `None` of nothing.
///
/// # Panics
/// When the two are not equally many.
pub fn paired(first: &[f64], second: &[f64], seed: u64) -> Option<Paired> {
    assert_eq!(first.len(), second.len(), "values of the same samples");
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let swapped = |kept: &[bool]| {
        let signed = differences.iter().zip(kept);
        signed
            .map(|(d, &kept)| if kept { *d } else { -d })
            .sum::<f64>()
    };
    Some(Paired {
        difference: interval(&differences, seed)?,
        p: randomised(differences.len(), seed, swapped),
    })
}

/// The p of [`Paired`]. `difference`: what the first method is above the second by, with the two swapped
/// on the samples that are not kept.
pub fn randomised(count: usize, seed: u64, difference: impl Fn(&[bool]) -> f64) -> f64 {
    let mut kept = vec![true; count];
    let observed = difference(&kept).abs();
    // Sums of the same numbers in another order of signs differ in their last digits.
    let least = observed - 1e-9 * (1.0 + observed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let as_large = (0..RESAMPLES)
        .filter(|_| {
            kept.fill_with(|| rng.random::<bool>());
            difference(&kept).abs() >= least
        })
        .count();
    (as_large + 1) as f64 / (RESAMPLES + 1) as f64
}

/// Each p corrected for all of them by Holm's method: who calls those below 0.05 a difference is wrong
/// about any of them in 5 % of such families, whatever they depend on each other by.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![1.0; p.len()];
    let mut largest = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max(p[at] * (p.len() - rank) as f64).min(1.0);
        corrected[at] = largest;
    }
    corrected
}

/// A p value for people.
pub fn probability(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_mean_and_narrows_with_the_count() {
        let few: Vec<f64> = (0..20).map(|n| f64::from(n % 2)).collect();
        let many: Vec<f64> = (0..2_000).map(|n| f64::from(n % 2)).collect();
        let (few, many) = (interval(&few, 7).unwrap(), interval(&many, 7).unwrap());
        assert_eq!((few.mean, many.mean), (0.5, 0.5));
        assert!(few.low < many.low && many.low < 0.5 && 0.5 < many.high && many.high < few.high);
        // The normal approximation of a share: 1.96 * sqrt(0.25 / n).
        assert!((many.high - 0.5 - 0.0219).abs() < 0.002, "{many:?}");
        assert!((few.high - 0.5 - 0.219).abs() < 0.035, "{few:?}");
    }

    #[test]
    fn of_one_value_and_of_none() {
        let one = interval(&[3.0], 1).unwrap();
        assert_eq!((one.mean, one.low, one.high), (3.0, 3.0, 3.0));
        assert_eq!(interval(&[], 1), None);
        assert_eq!(paired(&[], &[], 1), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_answer() {
        let values: Vec<f64> = (0..50).map(|n| f64::from(n * n % 17)).collect();
        assert_eq!(interval(&values, 3), interval(&values, 3));
        assert_ne!(interval(&values, 3), interval(&values, 4));
    }

    #[test]
    fn a_steady_difference_is_significant_and_chance_is_not() {
        let base: Vec<f64> = (0..40).map(|n| f64::from(n % 7)).collect();
        let better: Vec<f64> = base.iter().map(|v| v + 0.5).collect();
        let found = paired(&better, &base, 5).unwrap();
        assert!((found.difference.mean - 0.5).abs() < 1e-12);
        assert!(found.difference.low > 0.0 && found.p < 0.001, "{found:?}");

        let shaken: Vec<f64> = (0..40)
            .map(|n| base[n] + if n % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let found = paired(&shaken, &base, 5).unwrap();
        assert!(found.p > 0.9, "{found:?}");
        assert!(found.difference.low < 0.0 && found.difference.high > 0.0);
    }

    /// Of six equal differences only the two of 64 sign patterns that are all alike are as large.
    #[test]
    fn the_p_value_is_that_of_the_exact_test() {
        let found = paired(&[1.0; 6], &[0.0; 6], 9).unwrap();
        assert!((found.p - 2.0 / 64.0).abs() < 0.006, "{found:?}");
        let same = paired(&[1.0; 6], &[1.0; 6], 9).unwrap();
        assert_eq!(same.p, 1.0);
    }

    #[test]
    fn a_figure_of_all_samples_together_has_an_interval_too() {
        let values: Vec<f64> = (0..50).map(|n| f64::from(n * n % 17)).collect();
        let largest = |at: &[usize]| at.iter().map(|&i| values[i]).fold(0.0, f64::max);
        let found = resampled(values.len(), 3, largest).unwrap();
        assert!(found.mean == 16.0 && found.high == 16.0 && found.low <= 16.0);
        assert_eq!(resampled(0, 3, largest), None);
    }

    /// The values of R's `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`.
    #[test]
    fn many_tests_are_corrected_for() {
        let close = |found: &[f64], expected: &[f64]| {
            let pairs = found.iter().zip(expected);
            found.len() == expected.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12)
        };
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        assert!(close(&found, &[0.03, 0.06, 0.06, 0.02]), "{found:?}");
        assert!(close(&holm(&[0.6, 0.7]), &[1.0, 1.0]));
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_small_p_is_not_printed_as_nothing() {
        let printed = [0.000_1, 0.000_999, 0.001, 0.25, 1.0].map(probability);
        assert_eq!(printed, ["< 0.001", "< 0.001", "0.001", "0.250", "1.000"]);
    }
}
