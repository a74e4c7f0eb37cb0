//! The figures: means with intervals, and paired tests.

use crate::metrics::bleu::Counts;
use crate::run::{Outcome, Sample};
use crate::stats::{Interval, Paired, interval, mean, paired};

/// One figure of a text.
#[derive(Clone, Copy)]
pub struct Metric {
    /// As in CSV.
    pub key: &'static str,
    /// For a person.
    pub label: &'static str,
    /// More is better; costs are neither compared nor ranked.
    pub scores: bool,
    pub of: fn(&Sample) -> Option<f64>,
}

/// Every metric, in the order of the report.
pub const METRICS: [Metric; 18] = [
    score("rouge_1", "ROUGE-1", |s| Some(s.scores.rouge_1)),
    score("rouge_l", "ROUGE-L", |s| Some(s.scores.rouge_l)),
    score("meteor", "METEOR", |s| Some(s.scores.meteor)),
    score("bleu", "BLEU", |s| Some(s.scores.bleu)),
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
        scores: true,
        of,
    }
}

const fn cost(key: &'static str, label: &'static str, of: fn(&Sample) -> Option<f64>) -> Metric {
    Metric {
        key,
        label,
        scores: false,
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

/// One strategy.
pub struct Row {
    pub strategy: String,
    pub texts: usize,
    /// In the order of [`METRICS`]; none where no text has it.
    pub figures: Vec<Option<Interval>>,
    /// sacreBLEU of all texts together, 0 to 100.
    pub corpus_bleu: f64,
    /// Variance of a single judgement of one text, on average; none without a judge.
    pub judge_variance: Option<f64>,
}

impl Row {
    /// By its key.
    pub fn figure(&self, key: &str) -> Option<Interval> {
        let at = METRICS.iter().position(|metric| metric.key == key)?;
        self.figures[at]
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
        let groups: Vec<(&str, Vec<&Sample>)> = names
            .into_iter()
            .map(|name| {
                let own = outcome.samples.iter().filter(|s| s.strategy == name);
                (name, own.collect())
            })
            .collect();
        Self {
            rows: groups
                .iter()
                .map(|(name, own)| row(name, own, seed))
                .collect(),
            best: best(&groups, seed),
            against: against(&groups, seed),
        }
    }
}

fn row(name: &str, samples: &[&Sample], seed: u64) -> Row {
    let figure = |metric: &Metric| {
        let values: Vec<f64> = samples.iter().filter_map(|s| (metric.of)(s)).collect();
        interval(&values, seed)
    };
    let counts = samples.iter().map(|s| Counts::of(&s.output, &s.reference));
    let judged = samples.iter().filter_map(|s| s.scores.judge.as_ref());
    let variances: Vec<f64> = judged.filter_map(|judge| judge.variance()).collect();
    Row {
        strategy: name.to_owned(),
        texts: samples.len(),
        figures: METRICS.iter().map(figure).collect(),
        corpus_bleu: Counts::corpus(&counts.collect::<Vec<_>>()),
        judge_variance: mean(&variances),
    }
}

fn best(groups: &[(&str, Vec<&Sample>)], seed: u64) -> Vec<Comparison> {
    let groups: Vec<_> = groups
        .iter()
        .filter(|(name, _)| !name.contains(':'))
        .collect();
    let compared = METRICS
        .iter()
        .filter(|metric| metric.scores)
        .filter_map(|metric| {
            let mut ranked: Vec<(f64, usize)> = groups
                .iter()
                .enumerate()
                .filter_map(|(at, (_, own))| {
                    let values: Vec<f64> = own.iter().filter_map(|s| (metric.of)(s)).collect();
                    Some((mean(&values)?, at))
                })
                .collect();
            // Stable: of equals the one named first leads.
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            let (first, second) = (groups[ranked.first()?.1], groups[ranked.get(1)?.1]);
            compare(metric, first, second, seed)
        });
    compared.collect()
}

fn against(groups: &[(&str, Vec<&Sample>)], seed: u64) -> Vec<Comparison> {
    let Some(dpl) = groups.iter().find(|(name, _)| *name == "dpl") else {
        return Vec::new();
    };
    let others = groups.iter().filter(|(name, _)| *name != "dpl");
    let compared = others.flat_map(|group| {
        let scores = METRICS.iter().filter(|metric| metric.scores);
        scores.filter_map(move |metric| compare(metric, group, dpl, seed))
    });
    compared.collect()
}

/// On the targets for which both have a value.
fn compare(
    metric: &'static Metric,
    first: &(&str, Vec<&Sample>),
    second: &(&str, Vec<&Sample>),
    seed: u64,
) -> Option<Comparison> {
    let pairs = first.1.iter().filter_map(|a| {
        let same = |b: &&&Sample| (&b.user, &b.item) == (&a.user, &a.item);
        let other = second.1.iter().find(same)?;
        Some(((metric.of)(a)?, (metric.of)(other)?))
    });
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    Some(Comparison {
        metric,
        first: first.0.to_owned(),
        second: second.0.to_owned(),
        paired: paired(&a, &b, seed)?,
    })
}
