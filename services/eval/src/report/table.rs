//! The figures: means with intervals, and paired tests.

use std::collections::HashMap;

use crate::metrics::bleu::Counts;
use crate::run::{Outcome, Sample};
use crate::stats::{Interval, Paired, interval, mean, paired, randomised, resampled};

/// What a metric is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text; more is better.
    Score,
    /// All texts together; more is better.
    Corpus,
    /// A text; neither compared nor ranked.
    Cost,
}

/// One figure.
#[derive(Clone, Copy)]
pub struct Metric {
    /// As in CSV.
    pub key: &'static str,
    /// For a person.
    pub label: &'static str,
    pub kind: Kind,
    /// Of a text; none of [`Kind::Corpus`].
    pub of: fn(&Sample) -> Option<f64>,
}

impl Metric {
    /// Whether more of it is better.
    pub fn scores(&self) -> bool {
        self.kind != Kind::Cost
    }
}

/// Every metric, in the order of the report.
pub const METRICS: [Metric; 19] = [
    score("rouge_1", "ROUGE-1", |s| Some(s.scores.rouge_1)),
    score("rouge_l", "ROUGE-L", |s| Some(s.scores.rouge_l)),
    score("meteor", "METEOR", |s| Some(s.scores.meteor)),
    score("bleu", "BLEU", |s| Some(s.scores.bleu)),
    Metric {
        key: "corpus_bleu",
        label: "BLEU of the corpus",
        kind: Kind::Corpus,
        of: |_| None,
    },
    score("judge", "judge", |s| s.scores.judge.as_ref()?.mean()),
    score("embedding_top_1", "embedding, top-1", |s| {
        Some(s.scores.attribution?.embedding.top_1)
    }),
    score("embedding_mrr", "embedding, MRR", |s| {
        Some(s.scores.attribution?.embedding.mrr)
    }),
    score("style_top_1", "style, top-1", |s| {
        Some(s.scores.attribution?.style.top_1)
    }),
    score("style_mrr", "style, MRR", |s| {
        Some(s.scores.attribution?.style.mrr)
    }),
    cost("calls", "calls", |s| Some(s.cost.request.calls as f64)),
    cost("tokens_in", "tokens in", |s| {
        Some(s.cost.request.tokens_in as f64)
    }),
    cost("tokens_out", "tokens out", |s| {
        Some(s.cost.request.tokens_out as f64)
    }),
    cost("seconds", "seconds", |s| Some(s.cost.request.seconds)),
    cost("ahead_calls", "calls ahead", |s| {
        Some(s.cost.ahead.calls as f64)
    }),
    cost("ahead_tokens_in", "tokens in ahead", |s| {
        Some(s.cost.ahead.tokens_in as f64)
    }),
    cost("ahead_tokens_out", "tokens out ahead", |s| {
        Some(s.cost.ahead.tokens_out as f64)
    }),
    cost("ahead_seconds", "seconds ahead", |s| {
        Some(s.cost.ahead.seconds)
    }),
    cost("words", "words", |s| {
        Some(s.output.split_whitespace().count() as f64)
    }),
];

const fn score(key: &'static str, label: &'static str, of: fn(&Sample) -> Option<f64>) -> Metric {
    Metric {
        key,
        label,
        kind: Kind::Score,
        of,
    }
}

const fn cost(key: &'static str, label: &'static str, of: fn(&Sample) -> Option<f64>) -> Metric {
    Metric {
        key,
        label,
        kind: Kind::Cost,
        of,
    }
}

/// The metric of this key.
///
/// # Panics
/// When there is none.
pub fn metric(key: &str) -> &'static Metric {
    let found = METRICS.iter().find(|metric| metric.key == key);
    found.expect("a key of this table")
}

/// A metric of one strategy.
#[derive(Clone, Copy)]
pub struct Figure {
    /// Texts that have it.
    pub texts: usize,
    pub interval: Interval,
}

/// One strategy.
pub struct Row {
    pub strategy: String,
    pub texts: usize,
    /// In the order of [`METRICS`]; none where no text has it.
    pub figures: Vec<Option<Figure>>,
    /// Variance of a single judgement of one text, on average; none without a judge.
    pub judge_variance: Option<f64>,
}

impl Row {
    /// By its key.
    pub fn figure(&self, key: &str) -> Option<Interval> {
        let at = METRICS.iter().position(|metric| metric.key == key)?;
        self.figures[at].map(|figure| figure.interval)
    }
}

/// Two strategies on the same targets.
pub struct Comparison {
    pub metric: &'static Metric,
    pub first: String,
    pub second: String,
    pub paired: Paired,
}

/// Everything that is in the report.
pub struct Table {
    pub rows: Vec<Row>,
    /// By metric, the best of those that are no ablations against the runner-up.
    pub best: Vec<Comparison>,
    /// Every other row against `dpl`, by metric.
    pub against: Vec<Comparison>,
}

impl Table {
    /// Intervals and tests are drawn from the seed.
    pub fn of(outcome: &Outcome, seed: u64) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for sample in &outcome.samples {
            if !names.contains(&sample.strategy.as_str()) {
                names.push(&sample.strategy);
            }
        }
        let group = |name| Group::of(name, &outcome.samples);
        let groups: Vec<Group<'_>> = names.into_iter().map(group).collect();
        Self {
            rows: groups.iter().map(|group| row(group, seed)).collect(),
            best: best(&groups, seed),
            against: against(&groups, seed),
        }
    }
}

/// The texts of one strategy.
struct Group<'a> {
    name: &'a str,
    samples: Vec<&'a Sample>,
    /// Of each sample.
    counts: Vec<Counts>,
}

impl<'a> Group<'a> {
    fn of(name: &'a str, samples: &'a [Sample]) -> Self {
        let own = samples.iter().filter(|sample| sample.strategy == name);
        let samples: Vec<&Sample> = own.collect();
        let counts = samples.iter().map(|s| Counts::of(&s.output, &s.reference));
        Self {
            name,
            counts: counts.collect(),
            samples,
        }
    }

    fn values(&self, metric: &Metric) -> Vec<f64> {
        self.samples.iter().filter_map(|s| (metric.of)(s)).collect()
    }

    fn value(&self, metric: &Metric) -> Option<f64> {
        match metric.kind {
            Kind::Corpus => Some(Counts::corpus(&self.counts)),
            Kind::Score | Kind::Cost => mean(&self.values(metric)),
        }
    }

    fn figure(&self, metric: &Metric, seed: u64) -> Option<Figure> {
        let (texts, interval) = match metric.kind {
            Kind::Corpus => {
                let bleu = |at: &[usize]| Counts::corpus(at.iter().map(|&i| &self.counts[i]));
                let texts = self.counts.len();
                (texts, resampled(texts, seed, bleu))
            }
            Kind::Score | Kind::Cost => {
                let values = self.values(metric);
                (values.len(), interval(&values, seed))
            }
        };
        Some(Figure {
            texts,
            interval: interval?,
        })
    }
}

fn row(group: &Group<'_>, seed: u64) -> Row {
    let samples = group.samples.iter();
    let judged = samples.filter_map(|s| s.scores.judge.as_ref());
    let variances: Vec<f64> = judged.filter_map(|judge| judge.variance()).collect();
    let figures = METRICS.iter().map(|metric| group.figure(metric, seed));
    Row {
        strategy: group.name.to_owned(),
        texts: group.samples.len(),
        figures: figures.collect(),
        judge_variance: mean(&variances),
    }
}

fn best(groups: &[Group<'_>], seed: u64) -> Vec<Comparison> {
    let groups: Vec<&Group<'_>> = groups.iter().filter(|g| !g.name.contains(':')).collect();
    let compared = METRICS
        .iter()
        .filter(|metric| metric.scores())
        .filter_map(|metric| {
            let mut ranked: Vec<(f64, &Group<'_>)> = groups
                .iter()
                .filter_map(|&group| Some((group.value(metric)?, group)))
                .collect();
            // Stable: of equals the one named first leads.
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            compare(metric, ranked.first()?.1, ranked.get(1)?.1, seed)
        });
    compared.collect()
}

fn against(groups: &[Group<'_>], seed: u64) -> Vec<Comparison> {
    let Some(dpl) = groups.iter().find(|group| group.name == "dpl") else {
        return Vec::new();
    };
    let others = groups.iter().filter(|group| group.name != "dpl");
    let compared = others.flat_map(|group| {
        let scores = METRICS.iter().filter(|metric| metric.scores());
        scores.filter_map(move |metric| compare(metric, group, dpl, seed))
    });
    compared.collect()
}

/// On the targets for which both have a value.
fn compare(
    metric: &'static Metric,
    first: &Group<'_>,
    second: &Group<'_>,
    seed: u64,
) -> Option<Comparison> {
    let pairs = pairs(first, second);
    let paired = match metric.kind {
        Kind::Corpus => corpora(first, second, &pairs, seed)?,
        Kind::Score | Kind::Cost => {
            let both = |&(a, b): &(usize, usize)| {
                let (a, b) = (first.samples[a], second.samples[b]);
                Some(((metric.of)(a)?, (metric.of)(b)?))
            };
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().filter_map(both).unzip();
            paired(&a, &b, seed)?
        }
    };
    Some(Comparison {
        metric,
        first: first.name.to_owned(),
        second: second.name.to_owned(),
        paired,
    })
}

/// Places of the texts for the same target.
fn pairs(first: &Group<'_>, second: &Group<'_>) -> Vec<(usize, usize)> {
    let places = second.samples.iter().zip(0..);
    let places: HashMap<(&str, &str), usize> = places.map(|(s, at)| (target(s), at)).collect();
    let own = first.samples.iter().zip(0..);
    own.filter_map(|(s, at)| Some((at, *places.get(&target(s))?)))
        .collect()
}

fn target(sample: &Sample) -> (&str, &str) {
    (&sample.user, &sample.item)
}

/// By BLEU over resampled texts, and over texts swapped between the two.
fn corpora(
    first: &Group<'_>,
    second: &Group<'_>,
    pairs: &[(usize, usize)],
    seed: u64,
) -> Option<Paired> {
    let pairs = pairs.iter();
    let counts: Vec<[Counts; 2]> = pairs
        .map(|&(a, b)| [first.counts[a], second.counts[b]])
        .collect();
    let resample = |at: &[usize]| {
        let [a, b] = [0_usize, 1].map(|side| Counts::corpus(at.iter().map(|&i| &counts[i][side])));
        a - b
    };
    let swap = |kept: &[bool]| {
        let [a, b] = [true, false].map(|first| {
            let sides = counts.iter().zip(kept);
            Counts::corpus(sides.map(|(pair, &kept)| &pair[usize::from(kept != first)]))
        });
        a - b
    };
    Some(Paired {
        difference: resampled(counts.len(), seed, resample)?,
        p: randomised(counts.len(), seed, swap),
    })
}
