//! What stands for one record: its embedding, the same minus that of its representatives, and its
//! measured evidence.

use foil_extractor::evidence::{self, Sample, Values};
use foil_proto::feature::FEATURES;
use foil_proto::names::subject;
use foil_selector::SelectorConfig;
use foil_selector::choose::{Point, Strategy, representatives};
use uuid::Uuid;

use super::Method;
use super::plan::{Plan, id};
use crate::data::read::TENANT;
use crate::data::{Corpus, Record};

/// One vector of one length for each row.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub dimension: usize,
    /// Its dimensions are measurements, each on a scale of its own.
    pub measured: bool,
    pub values: Vec<f32>,
}

impl Block {
    fn new(dimension: usize, measured: bool) -> Self {
        Self {
            dimension,
            measured,
            values: Vec::new(),
        }
    }

    fn push(&mut self, row: impl IntoIterator<Item = f32>) {
        self.values.extend(row);
        debug_assert!(self.values.len().is_multiple_of(self.dimension));
    }

    /// The vector of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimension..(row + 1) * self.dimension]
    }
}

/// Records that can be compared, one a row, and what stands for them.
#[derive(Debug, Default)]
pub struct Rows {
    /// Row of each record of the corpus; none where it cannot be compared.
    pub of_record: Vec<Option<usize>>,
    mean: Block,
    peers: Block,
    random: Block,
    dissimilar: Block,
    kmeans: Block,
    evidence: Block,
    items: Block,
}

/// One item's records.
struct Members<'a> {
    records: Vec<&'a Record>,
    points: Vec<Point<'a>>,
    measured: Vec<Values>,
    /// Seeds what is drawn, as in production.
    key: String,
    k: usize,
}

impl Rows {
    /// `vectors`: of each record of the corpus; only those that the plan needs are looked at.
    pub fn new(
        corpus: &Corpus,
        vectors: &[Vec<f32>],
        plan: &Plan<'_>,
        selector: &SelectorConfig,
    ) -> Self {
        let first = plan.items.first().and_then(|(_, records)| records.first());
        let dimension = first.map_or(0, |&at| vectors[at].len());
        let block = || Block::new(dimension, false);
        let mut rows = Self {
            of_record: vec![None; corpus.records().len()],
            mean: block(),
            peers: block(),
            random: block(),
            dissimilar: block(),
            kmeans: block(),
            evidence: Block::new(FEATURES.len(), true),
            items: block(),
        };
        let mut row = 0;
        for (item, members) in &plan.items {
            let records: Vec<&Record> = members.iter().map(|&at| &corpus.records()[at]).collect();
            let point = |&at: &usize| Point {
                id: id(&corpus.records()[at]),
                vector: &vectors[at],
                serves: true,
            };
            rows.item(&Members {
                points: members.iter().map(point).collect(),
                measured: records
                    .iter()
                    .map(|r| evidence::measure(&sample(r)))
                    .collect(),
                records,
                key: subject::select(TENANT, item),
                k: selector.k,
            });
            for &at in members {
                rows.of_record[at] = Some(row);
                row += 1;
            }
        }
        rows
    }

    fn item(&mut self, item: &Members<'_>) {
        for point in &item.points {
            self.mean.push(point.vector.iter().copied());
            let others = item.points.iter().filter(|other| other.id != point.id);
            let others: Vec<&[f32]> = others.map(|other| other.vector).collect();
            self.peers.push(difference(point.vector, &others));
            self.items.push(mean(point.vector.len(), &others));
        }
        for (strategy, block) in [
            (Strategy::Random, &mut self.random),
            (Strategy::Dissimilar, &mut self.dissimilar),
            (Strategy::Kmeans, &mut self.kmeans),
        ] {
            let chosen = representatives(&item.points, strategy, item.k, item.key.as_bytes());
            for (target, chosen) in chosen.iter().enumerate() {
                let places = item.places(chosen);
                item.check(target, &places);
                let chosen: Vec<&[f32]> = places.iter().map(|&p| item.points[p].vector).collect();
                block.push(difference(item.points[target].vector, &chosen));
                if strategy == Strategy::Kmeans {
                    self.evidence.push(item.evidence(target, &places));
                }
            }
        }
    }

    /// What a method compares: the parts count alike.
    pub fn blocks(&self, method: Method) -> Vec<&Block> {
        match method {
            Method::Mean => vec![&self.mean],
            Method::Peers => vec![&self.peers],
            Method::Random => vec![&self.random],
            Method::Dissimilar => vec![&self.dissimilar],
            Method::Kmeans => vec![&self.kmeans],
            Method::Evidence => vec![&self.evidence],
            Method::KmeansEvidence => vec![&self.kmeans, &self.evidence],
            Method::MeanEvidence => vec![&self.mean, &self.evidence],
            Method::Items => vec![&self.items],
        }
    }
}

impl Members<'_> {
    fn places(&self, chosen: &[Uuid]) -> Vec<usize> {
        let place = |id: &Uuid| {
            let found = self.points.binary_search_by_key(id, |point| point.id);
            found.expect("representatives are among the points, which are sorted by id")
        };
        chosen.iter().map(place).collect()
    }

    /// What a user wrote must not stand on both sides of a difference: it would tell them apart for
    /// a reason that production does not have.
    fn check(&self, target: usize, places: &[usize]) {
        let user = &self.records[target].user;
        let own = places
            .iter()
            .any(|&place| self.records[place].user == *user);
        assert!(!own, "a representative is another user's record");
    }

    /// The z-score of each feature; 0, the item's mean, where there is none.
    fn evidence(&self, target: usize, places: &[usize]) -> [f32; FEATURES.len()] {
        let peers: Vec<Values> = places.iter().map(|&place| self.measured[place]).collect();
        let found = evidence::compare_measured(&self.measured[target], &peers, &self.measured);
        let mut scores = [0.0; FEATURES.len()];
        for evidence in found {
            let at = FEATURES.iter().position(|f| f.name == evidence.feature);
            scores[at.expect("evidence is of a known feature")] = evidence.z_score as f32;
        }
        scores
    }
}

fn sample(record: &Record) -> Sample<'_> {
    Sample {
        text: &record.text,
        rating: record.rating,
    }
}

/// The vector minus the mean of the others; zero without others, which says nothing.
fn difference(own: &[f32], others: &[&[f32]]) -> Vec<f32> {
    if others.is_empty() {
        return vec![0.0; own.len()];
    }
    let mean = mean(own.len(), others);
    own.iter().zip(mean).map(|(x, m)| x - m).collect()
}

/// Zero of none.
fn mean(dimension: usize, vectors: &[&[f32]]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dimension];
    for vector in vectors {
        for (sum, x) in sums.iter_mut().zip(*vector) {
            *sum += f64::from(*x);
        }
    }
    let count = vectors.len().max(1) as f64;
    sums.iter().map(|sum| (sum / count) as f32).collect()
}
