//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plots::Plot;
use super::table::{Comparison, Row, Table, metric};
use crate::run::{Outcome, Sample, degraded};
use crate::stats::{Interval, mean};

/// Below this a difference is called significant.
const SIGNIFICANT: f64 = 0.05;

/// The whole report.
pub fn report(table: &Table, outcome: &Outcome, command: &str, plots: &[Plot]) -> String {
    let mut text = String::from("# foil eval run\n\n");
    let _ = writeln!(
        text,
        "{} targets, model {}.\n\n```\n{command}\n```\n",
        outcome.targets, outcome.model
    );
    text += "Means over the targets with 95 % bootstrap intervals.\n\n## Quality\n\n";
    text += &quality(table, outcome.judge.as_deref());
    text += "\n## Whose text it looks like\n\n";
    text += &attribution(table, &outcome.samples);
    text += "\n## Cost of a text\n\n";
    text += &costs(table);
    text += "\n## The best against the runner-up\n\n";
    text += &tests(&table.best);
    if !table.against.is_empty() {
        text += "\n## Each against dpl\n\n";
        text += &against(&table.against);
    }
    text += &less_than_asked(&outcome.samples);
    if !plots.is_empty() {
        text += "\n## Plots\n";
        for plot in plots {
            let _ = write!(text, "\n![{}]({})\n", plot.title, plot.file);
        }
    }
    text
}

/// A table of Markdown; the first column is words, the others are numbers.
fn lines(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|---", head.join(" | "));
    for _ in 1..head.len() {
        text += "|--:";
    }
    text += "|\n";
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn figure(row: &Row, key: &str, digits: usize) -> String {
    row.figure(key)
        .map_or("–".to_owned(), |found| spread(found, digits))
}

fn spread(found: Interval, digits: usize) -> String {
    let Interval { mean, low, high } = found;
    format!("{mean:.digits$} [{low:.digits$}, {high:.digits$}]")
}

fn quality(table: &Table, judge: Option<&str>) -> String {
    let keys = ["rouge_1", "rouge_l", "meteor", "bleu"];
    let mut head = vec!["strategy", "texts"];
    head.extend(keys.map(|key| metric(key).label));
    head.push("BLEU of the corpus");
    if judge.is_some() {
        head.extend(["judge", "its variance"]);
    }
    let row = |row: &Row| {
        let mut cells = vec![row.strategy.clone(), row.texts.to_string()];
        let digits = |key| if key == "bleu" { 2 } else { 4 };
        cells.extend(keys.map(|key| figure(row, key, digits(key))));
        cells.push(format!("{:.2}", row.corpus_bleu));
        if judge.is_some() {
            cells.push(figure(row, "judge", 3));
            let variance = row.judge_variance;
            cells.push(variance.map_or("–".to_owned(), |v| format!("{v:.4}")));
        }
        cells
    };
    let mut text = lines(&head, table.rows.iter().map(row));
    text += "\nROUGE is F1 without stemming. METEOR matches equal words and equal stems, no synonyms. BLEU \
             is sacreBLEU's (0 to 100), as the mean over texts and of all texts as one corpus; the paper's \
             is the latter.\n";
    if let Some(judge) = judge {
        let _ = writeln!(
            text,
            "\nThe judge is {judge}, on the paper's scale of 0 to 10, divided by 10; its variance is that \
             of a single answer about one text."
        );
    }
    text
}

fn attribution(table: &Table, samples: &[Sample]) -> String {
    let keys = [
        "embedding_top_1",
        "embedding_mrr",
        "style_top_1",
        "style_mrr",
    ];
    let mut head = vec!["strategy"];
    head.extend(keys.map(|key| metric(key).label));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for row in &table.rows {
        let mut cells = vec![row.strategy.clone()];
        cells.extend(keys.map(|key| figure(row, key, 3)));
        rows.push(cells);
    }
    let first = table.rows.first().map(|row| row.strategy.as_str());
    let once = samples
        .iter()
        .filter(|s| Some(s.strategy.as_str()) == first);
    let owns: Vec<_> = once.filter_map(|sample| sample.own).collect();
    let average = |of: fn(&crate::run::score::Attribution) -> f64| {
        let values: Vec<f64> = owns.iter().map(of).collect();
        mean(&values).map_or("–".to_owned(), |value| format!("{value:.3}"))
    };
    rows.push(vec![
        "*the user's own text*".to_owned(),
        average(|own| own.embedding.top_1),
        average(|own| own.embedding.mrr),
        average(|own| own.style.top_1),
        average(|own| own.style.mrr),
    ]);
    rows.push(vec![
        "*chance*".to_owned(),
        average(|own| own.embedding.chance_top_1),
        average(|own| own.embedding.chance_mrr),
        average(|own| own.style.chance_top_1),
        average(|own| own.style.chance_mrr),
    ]);
    let mut text = lines(&head, rows);
    let _ = writeln!(
        text,
        "\nAmong {} users who wrote on similar items: is the text nearest to the history of the one it was \
         written for? By the embedding of the text, and by what is measured of its style alone. Known for \
         {} targets.",
        crate::run::score::USERS,
        owns.len()
    );
    text
}

fn costs(table: &Table) -> String {
    let keys = [
        "calls",
        "tokens_in",
        "tokens_out",
        "seconds",
        "ahead_calls",
        "ahead_tokens_in",
        "ahead_tokens_out",
        "ahead_seconds",
        "words",
    ];
    let mut head = vec!["strategy"];
    head.extend(keys.map(|key| metric(key).label));
    let row = |row: &Row| {
        let mut cells = vec![row.strategy.clone()];
        let figure = |key| {
            let digits = usize::from(matches!(
                key,
                "calls" | "ahead_calls" | "seconds" | "ahead_seconds"
            ));
            let found = row.figure(key);
            found.map_or("–".to_owned(), |f| format!("{:.digits$}", f.mean))
        };
        cells.extend(keys.map(figure));
        cells
    };
    let mut text = lines(&head, table.rows.iter().map(row));
    text += "\nWhat is spent ahead is spent when updates arrive, and shared by all later texts of the user; \
             here it is counted whole for each text. Answers read back from an earlier run count what they \
             cost then.\n";
    text
}

fn tests(comparisons: &[Comparison]) -> String {
    let row = |found: &Comparison| {
        let p = found.paired.p;
        let mark = if p < SIGNIFICANT { " *" } else { "" };
        vec![
            found.metric.label.to_owned(),
            found.first.clone(),
            found.second.clone(),
            spread(found.paired.difference, 4),
            format!("{p:.4}{mark}"),
        ]
    };
    let head = ["metric", "first", "second", "difference", "p"];
    let mut text = lines(&head, comparisons.iter().map(row));
    text += "\nPaired by target; p by a two-sided randomisation test, * below 0.05. No correction is made \
             for the number of tests.\n";
    text
}

/// A line for each row of the table, a column for each metric.
fn against(comparisons: &[Comparison]) -> String {
    let of_first = |found: &&Comparison| found.first == comparisons[0].first;
    let metrics: Vec<_> = comparisons.iter().filter(of_first).collect();
    let mut head = vec!["less dpl"];
    head.extend(metrics.iter().map(|found| found.metric.label));
    let rows = comparisons.chunk_by(|a, b| a.first == b.first);
    let row = |of_one: &[Comparison]| {
        let cell = |found: &Comparison| {
            let p = found.paired.p;
            let mark = if p < SIGNIFICANT { " *" } else { "" };
            format!("{:+.4} ({p:.3}){mark}", found.paired.difference.mean)
        };
        let name = of_one.first().map(|found| found.first.clone());
        name.into_iter().chain(of_one.iter().map(cell)).collect()
    };
    let mut text = lines(&head, rows.map(row));
    text += "\nMean difference from dpl on the same targets, and p as above; below 0 where dpl is better. \
             The intervals are in `paired.csv`.\n";
    text
}

fn less_than_asked(samples: &[Sample]) -> String {
    let counts: BTreeMap<_, _> = degraded(samples).into_iter().collect();
    let silent = samples
        .iter()
        .filter(|s| s.output.trim().is_empty())
        .count();
    if counts.is_empty() && silent == 0 {
        return String::new();
    }
    let mut text = String::from("\n## Less than was asked for\n\n");
    for ((strategy, why), count) in counts {
        let _ = writeln!(text, "- {strategy}: {count} texts, {why}");
    }
    if silent > 0 {
        let _ = writeln!(text, "- empty texts: {silent}");
    }
    text
}
