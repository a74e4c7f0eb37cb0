//! Finding one half of a user's records from the other, among those of all users.

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::Options;
use super::plan::Plan;
use super::rows::{Block, Rows};
use crate::stats::{Interval, Paired, interval, paired};

/// How a history is split in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// At random, many times: the least noise.
    Random,
    /// The earlier half and the later one: what a person keeps over time.
    Time,
}

/// How well a method finds users.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Score {
    /// Share of the halves whose other half lies nearest.
    pub top1: Interval,
    /// Mean of 1 / rank of the other half.
    pub mrr: Interval,
    /// Differences from the first method, on the same users; none for itself.
    pub top1_gain: Option<Paired>,
    pub mrr_gain: Option<Paired>,
}

/// One value a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub top1: Vec<f64>,
    pub mrr: Vec<f64>,
}

impl Outcome {
    /// With intervals, and compared with `reference` if given.
    pub fn score(&self, reference: Option<&Self>, seed: u64) -> Score {
        let of = |values: &[f64]| interval(values, seed).expect("at least two users");
        let gain = |values: &[f64], of: fn(&Self) -> &Vec<f64>| {
            reference.and_then(|reference| paired(values, of(reference), seed))
        };
        Score {
            top1: of(&self.top1),
            mrr: of(&self.mrr),
            top1_gain: gain(&self.top1, |outcome| &outcome.top1),
            mrr_gain: gain(&self.mrr, |outcome| &outcome.mrr),
        }
    }
}

/// Users with enough records, whose halves are to be found.
#[derive(Clone, Debug)]
pub struct Halves {
    /// Rows of each user, oldest first.
    users: Vec<Vec<usize>>,
    split: Split,
    seed: u64,
}

impl Halves {
    /// Those of the plan.
    pub fn new(plan: &Plan<'_>, rows: &Rows, options: &Options) -> Self {
        let own = |records: &Vec<usize>| -> Vec<usize> {
            let row = |&at: &usize| rows.of_record[at].expect("the plan's items hold it");
            records.iter().map(row).collect()
        };
        Self {
            users: plan.users.iter().map(own).collect(),
            split: options.split,
            seed: options.seed,
        }
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// How many records they have.
    pub fn records(&self) -> usize {
        self.users.iter().map(Vec::len).sum()
    }

    /// Only those with so many records.
    pub fn with(&self, records: usize) -> Self {
        let users = self.users.iter().filter(|rows| rows.len() >= records);
        Self {
            users: users.cloned().collect(),
            ..self.clone()
        }
    }

    /// Finds each half from the other. `most`: of the records in each half. A user's value is the
    /// mean over the splits and over both directions; every method sees the same splits.
    pub fn attribute(&self, blocks: &[&Block], splits: usize, most: Option<usize>) -> Outcome {
        let mut top1 = vec![0.0; self.users()];
        let mut mrr = vec![0.0; self.users()];
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for _ in 0..splits {
            let halves: Vec<[Vec<usize>; 2]> = self
                .users
                .iter()
                .map(|rows| self.halves(rows, most, &mut rng))
                .collect();
            let sides = [0, 1].map(|side| {
                let rows: Vec<&[usize]> = halves.iter().map(|h| h[side].as_slice()).collect();
                Side::new(blocks, &rows)
            });
            let [first, second] = centred(sides);
            for (from, among) in [(&first, &second), (&second, &first)] {
                for user in 0..self.users() {
                    let rank = rank(from, among, user);
                    top1[user] += f64::from(u8::from(rank == 1));
                    mrr[user] += 1.0 / rank as f64;
                }
            }
        }
        let count = (2 * splits) as f64;
        top1.iter_mut()
            .chain(&mut mrr)
            .for_each(|value| *value /= count);
        Outcome { top1, mrr }
    }

    fn halves(&self, rows: &[usize], most: Option<usize>, rng: &mut ChaCha8Rng) -> [Vec<usize>; 2] {
        let mut rows = rows.to_vec();
        if self.split == Split::Random {
            rows.shuffle(rng);
            // The odd one goes to either side.
            let odd = rows.len() % 2 == 1 && rng.random::<bool>();
            let (first, second) = rows.split_at(rows.len() / 2 + usize::from(odd));
            return [first, second].map(|half| shortened(half, most));
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        // Those far apart in time.
        let second: Vec<usize> = second.iter().rev().copied().collect();
        [shortened(first, most), shortened(&second, most)]
    }
}

fn shortened(half: &[usize], most: Option<usize>) -> Vec<usize> {
    half[..most.unwrap_or(half.len()).min(half.len())].to_vec()
}

/// One half of every user: a vector for each, with a part for each block.
struct Side {
    /// Dimension of each part, and whether it holds measurements.
    parts: Vec<(usize, bool)>,
    users: Vec<Vec<f64>>,
}

impl Side {
    fn new(blocks: &[&Block], halves: &[&[usize]]) -> Self {
        let mean = |rows: &&[usize]| -> Vec<f64> {
            let part = |block: &&Block| {
                let mut sums = vec![0.0; block.dimension];
                for &row in *rows {
                    for (sum, x) in sums.iter_mut().zip(block.row(row)) {
                        *sum += f64::from(*x) / rows.len() as f64;
                    }
                }
                sums
            };
            blocks.iter().flat_map(part).collect()
        };
        Self {
            parts: blocks
                .iter()
                .map(|block| (block.dimension, block.measured))
                .collect(),
            users: halves.iter().map(mean).collect(),
        }
    }
}

/// Takes away what all users share, brings measurements to one scale, and gives every part length 1,
/// so that an inner product is the sum of the parts' cosines.
fn centred(mut sides: [Side; 2]) -> [Side; 2] {
    let all = || sides.iter().flat_map(|side| &side.users);
    let count = all().count() as f64;
    let dimension = sides[0].parts.iter().map(|(size, _)| size).sum();
    let mut mean = vec![0.0; dimension];
    for user in all() {
        mean.iter_mut().zip(user).for_each(|(m, x)| *m += x / count);
    }
    let mut variance = vec![0.0; dimension];
    for user in all() {
        let squares = user.iter().zip(&mean).map(|(x, m)| (x - m).powi(2) / count);
        variance.iter_mut().zip(squares).for_each(|(v, s)| *v += s);
    }
    for side in &mut sides {
        let parts = side.parts.clone();
        for user in &mut side.users {
            user.iter_mut().zip(&mean).for_each(|(x, m)| *x -= m);
            let mut from = 0;
            for &(size, measured) in &parts {
                let range = from..from + size;
                if measured {
                    let scaled = user[range.clone()].iter_mut().zip(&variance[range.clone()]);
                    scaled
                        .filter(|(_, v)| **v > 1e-12)
                        .for_each(|(x, v)| *x /= v.sqrt());
                }
                unit(&mut user[range]);
                from += size;
            }
        }
    }
    sides
}

fn unit(vector: &mut [f64]) {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 1e-12 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

/// Place of the user's own half among those of all users, from 1. Who is as near counts as nearer:
/// halves that say nothing find nobody.
fn rank(from: &Side, among: &Side, user: usize) -> usize {
    let near = |other: &[f64]| dot(&from.users[user], other);
    let own = near(&among.users[user]);
    let others = among.users.iter().enumerate().filter(|(at, _)| *at != user);
    1 + others.filter(|(_, other)| near(other) >= own).count()
}

/// In eight partial sums, which the compiler can keep in vector registers; a single one fixes the
/// order of the additions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(x, y)| x * y)
        .sum();
    let mut sums = [0.0; 8];
    for (x, y) in a.zip(b) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}
