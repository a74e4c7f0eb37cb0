//! k-means over one item's records, exact and deterministic.
//!
//! Everything is computed from the Gram matrix of the points: with `G[i][j] = x_i · x_j`, the squared
//! distance of a point to the mean of a cluster `C` is
//! `G[i][i] - 2/|C| Σ_{j∈C} G[i][j] + 1/|C|² Σ_{j,l∈C} G[j][l]`. So the dimension of the embedding is
//! paid once, and each iteration of each start costs n² additions whatever the dimension.

mod refine;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use refine::refine;

/// Starts with different seeds; the lowest inertia wins, the first on a tie.
const STARTS: usize = 10;
/// Lloyd iterations per start; it converges long before.
const ITERATIONS_MAX: usize = 64;
/// Two points nearer than this (squared) are one and the same text.
const SAME_SQUARED: f64 = 1e-9;

/// A clustering of `n` points.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// Cluster of each point, `0..clusters`.
    pub of: Vec<usize>,
    /// Number of clusters, none of them empty.
    pub clusters: usize,
    /// Squared distance of each point to the mean of each cluster, `[point][cluster]`.
    pub distance: Vec<Vec<f64>>,
    /// Sum of squared distances to the points' own means.
    pub inertia: f64,
}

/// Inner products of all pairs of points.
pub struct Gram {
    n: usize,
    products: Vec<f64>,
}

impl Gram {
    /// Of vectors of one length.
    pub fn of(vectors: &[&[f32]]) -> Self {
        let n = vectors.len();
        let mut products = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let product = f64::from(dot(vectors[i], vectors[j]));
                products[i * n + j] = product;
                products[j * n + i] = product;
            }
        }
        Self { n, products }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.products[i * self.n..(i + 1) * self.n]
    }

    /// Squared Euclidean distance of two points.
    pub fn squared(&self, i: usize, j: usize) -> f64 {
        (self.row(i)[i] + self.row(j)[j] - 2.0 * self.row(i)[j]).max(0.0)
    }

    /// Whether two points are one and the same text.
    pub fn same(&self, i: usize, j: usize) -> bool {
        self.squared(i, j) <= SAME_SQUARED
    }

    /// Number of distinct points, counted up to `limit`.
    fn distinct(&self, limit: usize) -> usize {
        let mut seen: Vec<usize> = Vec::with_capacity(limit);
        for i in 0..self.n {
            if seen.len() == limit {
                break;
            }
            if !seen.iter().any(|&j| self.same(i, j)) {
                seen.push(i);
            }
        }
        seen.len()
    }
}

/// Sixteen partial sums, so that the compiler may keep them in vector registers: a single sum fixes
/// the order of additions and forbids that.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Clusters the points into at most `k` clusters: fewer when fewer of them are distinct.
/// The same points in the same order with the same seed give the same answer.
pub fn kmeans(gram: &Gram, k: usize, seed: [u8; 32]) -> Clustering {
    let k = gram.distinct(k);
    let mut rng = ChaCha8Rng::from_seed(seed);
    let mut best: Option<Clustering> = None;
    for _ in 0..if k < 2 { 1 } else { STARTS } {
        let found = lloyd(gram, &seeds(gram, k, &mut rng));
        if best.as_ref().is_none_or(|b| found.inertia < b.inertia) {
            best = Some(found);
        }
    }
    best.expect("at least one start was made")
}

/// k-means++: each next seed is drawn in proportion to its squared distance to the nearest so far.
fn seeds(gram: &Gram, k: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if k == 0 {
        return Vec::new();
    }
    let first = rng.random_range(0..gram.n);
    let mut seeds = vec![first];
    let mut nearest: Vec<f64> = (0..gram.n).map(|i| gram.squared(i, first)).collect();
    while seeds.len() < k {
        let total: f64 = nearest.iter().sum();
        let mut left = rng.random::<f64>() * total;
        // Rounding can leave `left` above the sum: then the farthest point is as good a seed.
        let mut next = argmax(&nearest);
        for (i, &d) in nearest.iter().enumerate() {
            if d > 0.0 && left < d {
                next = i;
                break;
            }
            left -= d;
        }
        for (i, d) in nearest.iter_mut().enumerate() {
            *d = d.min(gram.squared(i, next));
        }
        seeds.push(next);
    }
    seeds
}

fn lloyd(gram: &Gram, seeds: &[usize]) -> Clustering {
    let (n, k) = (gram.n, seeds.len());
    let mut of: Vec<usize> = (0..n)
        .map(|i| argmin(seeds.iter().map(|&s| gram.squared(i, s))))
        .collect();
    let mut distance = Vec::new();
    for _ in 0..ITERATIONS_MAX {
        fill_empty(gram, &mut of, k);
        distance = distances(gram, &of, k);
        let next: Vec<usize> = distance.iter().map(|d| argmin(d.iter().copied())).collect();
        if next == of {
            break;
        }
        of = next;
    }
    // The last assignment may have come from the limit rather than from convergence.
    fill_empty(gram, &mut of, k);
    if k > 1 {
        refine(gram, &mut of, k);
    }
    if k > 0 {
        distance = distances(gram, &of, k);
    }
    let inertia = of.iter().zip(&distance).map(|(&c, d)| d[c]).sum();
    Clustering {
        of,
        clusters: k,
        distance,
        inertia,
    }
}

/// Squared distance of each point to the mean of each cluster.
fn distances(gram: &Gram, of: &[usize], k: usize) -> Vec<Vec<f64>> {
    let mut size = vec![0.0_f64; k];
    for &c in of {
        size[c] += 1.0;
    }
    let sums: Vec<Vec<f64>> = (0..gram.n)
        .map(|i| {
            let mut sum = vec![0.0; k];
            for (&product, &c) in gram.row(i).iter().zip(of) {
                sum[c] += product;
            }
            sum
        })
        .collect();
    let mut within = vec![0.0_f64; k];
    for (sum, &c) in sums.iter().zip(of) {
        within[c] += sum[c];
    }
    sums.iter()
        .enumerate()
        .map(|(i, sum)| {
            (0..k)
                .map(|c| {
                    let own = gram.row(i)[i];
                    (own - 2.0 * sum[c] / size[c] + within[c] / (size[c] * size[c])).max(0.0)
                })
                .collect()
        })
        .collect()
}

/// Gives every empty cluster the point that lies farthest from the mean of its own, larger one.
fn fill_empty(gram: &Gram, of: &mut [usize], k: usize) {
    for empty in 0..k {
        if of.contains(&empty) {
            continue;
        }
        let size = |c: usize| of.iter().filter(|&&o| o == c).count();
        let spread: Vec<f64> = (0..of.len())
            .map(|i| {
                let members: Vec<usize> = (0..of.len()).filter(|&j| of[j] == of[i]).collect();
                if size(of[i]) < 2 {
                    return f64::NEG_INFINITY;
                }
                members.iter().map(|&j| gram.squared(i, j)).sum::<f64>() / members.len() as f64
            })
            .collect();
        of[argmax(&spread)] = empty;
    }
}

/// Index of the smallest value; the lowest on a tie.
fn argmin(values: impl Iterator<Item = f64>) -> usize {
    values
        .enumerate()
        .fold(
            (0, f64::INFINITY),
            |best, (i, v)| {
                if v < best.1 { (i, v) } else { best }
            },
        )
        .0
}

/// Index of the largest value; the lowest on a tie.
fn argmax(values: &[f64]) -> usize {
    argmin(values.iter().map(|v| -v))
}

#[cfg(test)]
mod tests;
