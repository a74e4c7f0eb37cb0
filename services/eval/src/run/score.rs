//! What a text is worth: the metrics, and whose it looks like.

use std::collections::HashMap;

use foil_extractor::evidence::{self, Values};
use foil_proto::feature::FEATURES;
use serde::{Deserialize, Serialize};

use super::judge::Judgement;
use super::world::World;
use crate::data::{Corpus, Target};
use crate::metrics::attribution::Rank;
use crate::metrics::bleu::Counts;
use crate::metrics::meteor::meteor;
use crate::metrics::rouge::rouge;

/// Users among whom a text's own is looked for.
pub const USERS: usize = 5;
/// Newest texts that stand for a user, at most.
const TEXTS: usize = 32;

/// Every score of one text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub rouge_1: f64,
    pub rouge_l: f64,
    pub meteor: f64,
    /// Of this text alone, 0 to 100.
    pub bleu: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<Judgement>,
}

impl Scores {
    /// Those that need nothing but the two texts.
    pub fn of(text: &str, reference: &str) -> Self {
        let rouge = rouge(text, reference);
        Self {
            rouge_1: rouge.one,
            rouge_l: rouge.l,
            meteor: meteor(text, reference),
            bleu: Counts::of(text, reference).sentence(),
            ..Self::default()
        }
    }
}

/// Where the right user stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub top_1: f64,
    pub mrr: f64,
    pub chance_top_1: f64,
    pub chance_mrr: f64,
}

impl From<Rank> for Place {
    fn from(rank: Rank) -> Self {
        Self {
            top_1: rank.top_1(),
            mrr: rank.reciprocal(),
            chance_top_1: rank.chance_top_1(),
            chance_mrr: rank.chance_reciprocal(),
        }
    }
}

/// By two kinds of distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// Cosine of embeddings: content and manner.
    pub embedding: Place,
    /// Measured features, each in its standard deviations over the corpus: manner alone.
    pub style: Place,
}

/// What stands for each of the users of one target, the right one first.
pub struct Lineup {
    means: Vec<Vec<f64>>,
    styles: Vec<Values>,
}

/// Standard deviation of each feature over the corpus; none where it does not vary.
pub fn deviations(corpus: &Corpus) -> Values {
    let measured: Vec<Values> = corpus.records().iter().map(|r| measure(&r.text)).collect();
    std::array::from_fn(|feature| {
        let values: Vec<f64> = measured.iter().filter_map(|row| row[feature]).collect();
        let mean = crate::stats::mean(&values)?;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some((squares / values.len() as f64).sqrt()).filter(|sd| *sd > 1e-9)
    })
}

/// Among whom the author of a target is looked for, the right one first: the others are those who had
/// written on most of the same things before it, equals by id. With each the indices of the newest
/// records before the target that stand for them, equally many, because a longer history is a better
/// likeness. Texts on the target's item stand for nobody: whose text is about the same thing would be
/// near for that alone. Empty where the user wrote nothing before.
pub fn lineup(corpus: &Corpus, target: &Target<'_>) -> Vec<(String, Vec<usize>)> {
    let own = target.record.user.as_str();
    let mut shared: HashMap<&str, usize> = HashMap::new();
    let history = target.history.iter().map(|record| record.item.as_str());
    for item in history.chain([target.record.item.as_str()]) {
        for &at in corpus.of_item(item) {
            let record = &corpus.records()[at];
            if record.user != own && record.occurred_at_ms < target.record.occurred_at_ms {
                *shared.entry(&record.user).or_default() += 1;
            }
        }
    }
    let mut ranked: Vec<(&str, usize)> = shared.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let others = ranked.into_iter().map(|(user, _)| user);
    let with_texts = |user: &str| (user.to_owned(), newest(corpus, target, user));
    let mut own = vec![with_texts(own)];
    own.retain(|(_, texts)| !texts.is_empty());
    if own.is_empty() {
        return own;
    }
    let others = others
        .map(with_texts)
        .filter(|(_, texts)| !texts.is_empty());
    let mut users: Vec<_> = own.into_iter().chain(others.take(USERS - 1)).collect();
    let fewest = users.iter().map(|(_, texts)| texts.len()).min();
    for (_, texts) in &mut users {
        texts.truncate(fewest.unwrap_or_default());
    }
    users
}

/// Indices of the newest records before the target that can stand for a user.
fn newest(corpus: &Corpus, target: &Target<'_>, user: &str) -> Vec<usize> {
    let mut texts = corpus.before(user, target.record);
    texts.retain(|&at| corpus.records()[at].item != target.record.item);
    texts.truncate(TEXTS);
    texts
}

impl Lineup {
    /// `vector`: of a record, by its index. None with fewer than two users.
    pub fn new(
        world: &World<'_>,
        target: &Target<'_>,
        vector: impl Fn(usize) -> Option<Vec<f32>>,
    ) -> Option<Self> {
        let corpus = world.corpus;
        let users = lineup(corpus, target);
        let mut lineup = Self {
            means: Vec::new(),
            styles: Vec::new(),
        };
        for (_, texts) in &users {
            let vectors: Vec<Vec<f32>> = texts.iter().filter_map(|&at| vector(at)).collect();
            lineup.means.push(mean_vector(&vectors));
            let measured = texts.iter().map(|&at| measure(&corpus.records()[at].text));
            lineup
                .styles
                .push(mean_values(&measured.collect::<Vec<_>>()));
        }
        (users.len() > 1).then_some(lineup)
    }

    /// Whose text it looks like. `vector`: of the text; none of an empty one.
    pub fn attribute(
        &self,
        text: &str,
        vector: Option<&[f32]>,
        deviations: &Values,
    ) -> Option<Attribution> {
        let near = |mean: &Vec<f64>| vector.map_or(f64::INFINITY, |v| 1.0 - cosine(v, mean));
        let embedding: Vec<f64> = self.means.iter().map(near).collect();
        let measured = measure(text);
        let style = self.styles.iter().map(|s| apart(&measured, s, deviations));
        Some(Attribution {
            embedding: Rank::of_first(&embedding)?.into(),
            style: Rank::of_first(&style.collect::<Vec<_>>())?.into(),
        })
    }
}

/// Features of the text alone: a rating says nothing of how it is written.
fn measure(text: &str) -> Values {
    evidence::measure(&evidence::Sample { text, rating: None })
}

fn mean_values(rows: &[Values]) -> Values {
    std::array::from_fn(|feature| {
        let values: Vec<f64> = rows.iter().filter_map(|row| row[feature]).collect();
        crate::stats::mean(&values)
    })
}

/// Root of the mean square, over the features that both have; infinite without any.
fn apart(a: &Values, b: &Values, deviations: &Values) -> f64 {
    let squares = (0..FEATURES.len()).filter_map(|i| {
        let difference = (a[i]? - b[i]?) / deviations[i]?;
        Some(difference.powi(2))
    });
    let squares: Vec<f64> = squares.collect();
    crate::stats::mean(&squares).map_or(f64::INFINITY, f64::sqrt)
}

fn mean_vector(vectors: &[Vec<f32>]) -> Vec<f64> {
    let dimension = vectors.first().map_or(0, Vec::len);
    let mut sum = vec![0.0; dimension];
    for vector in vectors {
        for (sum, x) in sum.iter_mut().zip(vector) {
            *sum += f64::from(*x);
        }
    }
    sum
}

/// Not a number where one of the two has no direction.
fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * y).sum();
    let length = |squares: f64| squares.sqrt();
    let a: f64 = a.iter().map(|x| f64::from(*x).powi(2)).sum();
    let b: f64 = b.iter().map(|y| y.powi(2)).sum();
    dot / (length(a) * length(b))
}

#[cfg(test)]
mod tests;
