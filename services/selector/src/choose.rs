//! Which peers stand for the rest: for each target, at most K representatives.

use std::collections::HashSet;

use foil_store::Record;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::cluster::{Gram, kmeans};

/// How representatives are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The nearest to the centre of each cluster that is not the target's own.
    #[default]
    Kmeans,
    /// The least similar to the target.
    Dissimilar,
    /// Any.
    Random,
}

impl Strategy {
    /// As in provenance.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kmeans => "kmeans",
            Self::Dissimilar => "dissimilar",
            Self::Random => "random",
        }
    }
}

/// One record of the item.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    pub id: Uuid,
    pub vector: &'a [f32],
    /// Whether it may serve to compare others with. An opted-out record may still be a target.
    pub serves: bool,
}

/// A record that was read with its vector.
impl<'a> From<&'a Record> for Point<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            id: record.id,
            vector: record.vector.as_deref().unwrap_or_default(),
            serves: !record.opted_out,
        }
    }
}

/// Representatives of every point, in the points' order; ids ascending. `of[i]` never holds
/// `points[i].id` nor a point that does not serve, nor two with one and the same text.
///
/// `key` names the item: it seeds whatever is drawn, so the same records give the same answer.
pub fn representatives(
    points: &[Point<'_>],
    strategy: Strategy,
    k: usize,
    key: &[u8],
) -> Vec<Vec<Uuid>> {
    let mut chosen = match strategy {
        Strategy::Kmeans => by_cluster(points, k, key),
        Strategy::Dissimilar => ranked(points, k, |gram, target, peers| {
            peers.sort_by(|&a, &b| {
                let (a, b) = (gram.squared(target, a), gram.squared(target, b));
                b.total_cmp(&a)
            });
        }),
        Strategy::Random => ranked(points, k, |_, target, peers| {
            let seed = digest(&[key, points[target].id.as_bytes()]);
            peers.shuffle(&mut ChaCha8Rng::from_seed(seed));
        }),
    };
    for ids in &mut chosen {
        ids.sort_unstable();
    }
    chosen
}

fn by_cluster(points: &[Point<'_>], k: usize, key: &[u8]) -> Vec<Vec<Uuid>> {
    // Who opted out shapes no cluster: as a target they belong to the nearest one.
    let serving: Vec<usize> = (0..points.len()).filter(|&i| points[i].serves).collect();
    let vectors: Vec<&[f32]> = serving.iter().map(|&i| points[i].vector).collect();
    let clustering = kmeans(&Gram::of(&vectors), k + 1, digest(&[key]));
    let centre_of: Vec<usize> = (0..clustering.clusters)
        .map(|c| {
            let members = (0..serving.len()).filter(|&m| clustering.of[m] == c);
            let nearest = members
                .min_by(|&a, &b| clustering.distance[a][c].total_cmp(&clustering.distance[b][c]));
            serving[nearest.expect("no cluster is empty")]
        })
        .collect();
    (0..points.len())
        .map(|target| {
            let own = match serving.binary_search(&target) {
                Ok(member) => Some(clustering.of[member]),
                Err(_) => nearest_cluster(points, &serving, &clustering, target),
            };
            let others = (0..clustering.clusters).filter(|&c| Some(c) != own);
            others.map(|c| points[centre_of[c]].id).collect()
        })
        .collect()
}

/// The cluster whose mean is nearest to a point that took no part in the clustering.
fn nearest_cluster(
    points: &[Point<'_>],
    serving: &[usize],
    clustering: &crate::cluster::Clustering,
    target: usize,
) -> Option<usize> {
    let squared_to_mean = |c: usize| -> f64 {
        let members: Vec<&[f32]> = (0..serving.len())
            .filter(|&m| clustering.of[m] == c)
            .map(|m| points[serving[m]].vector)
            .collect();
        let mean =
            |d: usize| members.iter().map(|v| f64::from(v[d])).sum::<f64>() / members.len() as f64;
        let vector = points[target].vector;
        (0..vector.len())
            .map(|d| (f64::from(vector[d]) - mean(d)).powi(2))
            .sum()
    };
    (0..clustering.clusters)
        .map(|c| (c, squared_to_mean(c)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(c, _)| c)
}

/// The first `k` distinct peers of each target in the order that `order` gives.
fn ranked(
    points: &[Point<'_>],
    k: usize,
    order: impl Fn(&Gram, usize, &mut Vec<usize>),
) -> Vec<Vec<Uuid>> {
    let vectors: Vec<&[f32]> = points.iter().map(|p| p.vector).collect();
    let gram = Gram::of(&vectors);
    (0..points.len())
        .map(|target| {
            let mut peers: Vec<usize> = (0..points.len())
                .filter(|&i| i != target && points[i].serves)
                .collect();
            order(&gram, target, &mut peers);
            let mut taken: Vec<usize> = Vec::with_capacity(k);
            for peer in peers {
                if taken.len() == k {
                    break;
                }
                if !gram.same(target, peer) && !taken.iter().any(|&t| gram.same(t, peer)) {
                    taken.push(peer);
                }
            }
            taken.into_iter().map(|i| points[i].id).collect()
        })
        .collect()
}

/// Names a choice: the same strategy and representatives give the same value.
pub fn fingerprint(strategy: Strategy, representatives: &[Uuid]) -> String {
    let mut parts: Vec<&[u8]> = vec![strategy.as_str().as_bytes()];
    parts.extend(representatives.iter().map(|id| id.as_bytes().as_slice()));
    let hash = digest(&parts);
    hash[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 over length-prefixed parts.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Why a record is to be compared (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It has no difference, or none for its newest text.
    Missing,
    /// A representative was erased, or serves no longer.
    RepresentativeGone,
    /// The item has grown by the configured factor since, and the choice has changed with it.
    Grown,
}

/// A record's last comparison.
#[derive(Clone, Debug)]
pub struct Compared<'a> {
    pub revision: u64,
    pub representatives: &'a [Uuid],
    /// Records of the item at that time.
    pub records: usize,
}

/// Whether a record of `revision` is due, given what would be chosen now.
/// A record without peers waits: nothing is due.
pub fn due(
    revision: u64,
    last: Option<&Compared<'_>>,
    chosen: &[Uuid],
    serving: &HashSet<Uuid>,
    records: usize,
    growth: f64,
) -> Option<Due> {
    if chosen.is_empty() {
        return None;
    }
    let Some(last) = last.filter(|last| last.revision == revision) else {
        return Some(Due::Missing);
    };
    if last.representatives.iter().any(|id| !serving.contains(id)) {
        return Some(Due::RepresentativeGone);
    }
    let grown = records as f64 >= last.records as f64 * growth;
    (grown && last.representatives != chosen).then_some(Due::Grown)
}

#[cfg(test)]
mod tests;
