//! How well a user is told from others, before anything is generated: no LLM.
//!
//! Each user's records are split in two halves. What stands for a half (the mean of its records, by a
//! [`Method`]) has to find the other half of the same user among those of all users. A method that
//! carries nothing about a person finds it by chance only.
//!
//! What is compared is what production computes: the embedder's vectors, the representatives of
//! [`foil_selector::choose`], the evidence of [`foil_extractor::evidence`].
//!
//! Nothing of one half is in the other: a user has one record an item, and representatives are other
//! users' records. The representatives of both may be the same texts; what they share is taken away
//! from a record, never added to it.

pub mod attribution;
pub mod plan;
pub mod report;
pub mod rows;
pub mod vectors;

use anyhow::{Result, ensure};
use foil_selector::SelectorConfig;
use serde::Serialize;

use crate::data::Prepared;
use attribution::{Halves, Score, Split};
use plan::Plan;
use rows::Rows;

/// What stands for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// (a) The mean embedding of the records.
    Mean,
    /// The embedding minus the mean of all peers': no selection at all.
    Peers,
    /// (b) The embedding minus the mean of representatives chosen at random.
    Random,
    /// (b) Of the least similar.
    Dissimilar,
    /// (b) Of those of k-means.
    Kmeans,
    /// (c) The measured evidence: how many standard deviations from the item's mean.
    Evidence,
    /// (d) `Kmeans` and `Evidence` together.
    KmeansEvidence,
    /// `Mean` and `Evidence` together: what (d) has to beat for the difference to earn its place.
    MeanEvidence,
    /// The mean embedding of the peers, no word of the user: how far a user is told by what they
    /// wrote about alone. `Mean` holds this too, differences do not.
    Items,
}

impl Method {
    /// In the order of the report. The first is what the others are compared with.
    pub const ALL: [Self; 9] = [
        Self::Mean,
        Self::Peers,
        Self::Random,
        Self::Dissimilar,
        Self::Kmeans,
        Self::Evidence,
        Self::KmeansEvidence,
        Self::MeanEvidence,
        Self::Items,
    ];

    /// As in JSON and CSV.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Peers => "peers",
            Self::Random => "random",
            Self::Dissimilar => "dissimilar",
            Self::Kmeans => "kmeans",
            Self::Evidence => "evidence",
            Self::KmeansEvidence => "kmeans-evidence",
            Self::MeanEvidence => "mean-evidence",
            Self::Items => "items",
        }
    }

    /// For a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mean => "(a) mean embedding",
            Self::Peers => "difference from all peers",
            Self::Random => "(b) difference, random",
            Self::Dissimilar => "(b) difference, dissimilar",
            Self::Kmeans => "(b) difference, k-means",
            Self::Evidence => "(c) measured evidence",
            Self::KmeansEvidence => "(d) k-means and evidence",
            Self::MeanEvidence => "(a) and (c)",
            Self::Items => "the items alone",
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the splits, the sample of users, and the intervals.
    pub seed: u64,
    pub split: Split,
    /// Random splits that a user's score is the mean of.
    pub splits: usize,
    /// Fewest records of a user that can be compared: half of them in each half.
    pub records_min: usize,
    /// Fewest other users of an item for a record on it to count.
    pub peers_min: usize,
    /// Most users, drawn by the seed; none: all of them.
    pub limit: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 42,
            split: Split::Random,
            splits: 20,
            records_min: 4,
            peers_min: 4,
            limit: None,
        }
    }
}

/// What a method found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    pub method: Method,
    #[serde(flatten)]
    pub score: Score,
}

/// Attribution from so many records in each half, among the same users throughout.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Records in each half.
    pub records: usize,
    pub methods: Vec<Found>,
}

/// The curve over history length.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Users with enough records for the last step.
    pub users: usize,
    pub chance: Chance,
    pub steps: Vec<Step>,
}

/// What guessing gives.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Chance {
    pub top1: f64,
    pub mrr: f64,
}

impl Chance {
    /// Among so many users.
    fn among(users: usize) -> Self {
        let n = users.max(1);
        Self {
            top1: 1.0 / n as f64,
            mrr: (1..=n).map(|rank| 1.0 / rank as f64).sum::<f64>() / n as f64,
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub users: usize,
    /// Records that were compared.
    pub records: usize,
    pub chance: Chance,
    pub methods: Vec<Found>,
    pub curve: Option<Curve>,
    pub split: Split,
    pub splits: usize,
    pub seed: u64,
    /// The embedding model.
    pub model: String,
}

/// Measures every method on the same users, records and splits. `vectors`: of each record of the
/// corpus; empty for those that [`Plan::needed`] does not name.
///
/// # Errors
/// When fewer than two users have enough records.
pub fn measure(
    prepared: &Prepared,
    vectors: &[Vec<f32>],
    options: &Options,
    selector: &SelectorConfig,
    model: &str,
) -> Result<Report> {
    let plan = Plan::new(&prepared.corpus, options, selector.max_candidates);
    let rows = Rows::new(&prepared.corpus, vectors, &plan, selector);
    let halves = Halves::new(&plan, &rows, options);
    let users = halves.users();
    ensure!(
        users >= 2,
        "users: {users} with {} or more records on items with {} or more other users; at least 2 are needed",
        options.records_min,
        options.peers_min,
    );
    let splits = match options.split {
        Split::Random => options.splits,
        Split::Time => 1,
    };
    Ok(Report {
        users,
        records: halves.records(),
        chance: Chance::among(users),
        methods: found(&rows, &halves, splits, None, options.seed),
        curve: curve(&rows, &halves, splits, options.seed),
        split: options.split,
        splits,
        seed: options.seed,
        model: model.to_owned(),
    })
}

fn found(
    rows: &Rows,
    halves: &Halves,
    splits: usize,
    most: Option<usize>,
    seed: u64,
) -> Vec<Found> {
    let outcomes: Vec<_> = Method::ALL
        .iter()
        .map(|method| halves.attribute(&rows.blocks(*method), splits, most))
        .collect();
    let scores = outcomes.iter().enumerate().map(|(at, outcome)| {
        let reference = (at > 0).then(|| &outcomes[0]);
        outcome.score(reference, seed)
    });
    let both = Method::ALL.iter().zip(scores);
    both.map(|(&method, score)| Found { method, score })
        .collect()
}

/// Fewest users of a curve: below that a step says little.
const CURVE_USERS_MIN: usize = 20;
/// Most records in each half.
const CURVE_RECORDS_MAX: usize = 64;

/// Steps of 1, 2, 4, ... records in each half, as far as enough users have them.
fn curve(rows: &Rows, halves: &Halves, splits: usize, seed: u64) -> Option<Curve> {
    let lengths = std::iter::successors(Some(1_usize), |n| Some(n * 2));
    let lengths: Vec<usize> = lengths
        .take_while(|&n| n <= CURVE_RECORDS_MAX && halves.with(2 * n).users() >= CURVE_USERS_MIN)
        .collect();
    let cohort = halves.with(2 * lengths.last()?);
    let step = |&records: &usize| Step {
        records,
        methods: found(rows, &cohort, splits, Some(records), seed),
    };
    Some(Curve {
        users: cohort.users(),
        chance: Chance::among(cohort.users()),
        steps: lengths.iter().map(step).collect(),
    })
}

#[cfg(test)]
mod tests;
