//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::about::About;
use super::plots::Plot;
use super::table::{Comparison, Row, Table, metric};
use crate::run::world::Tally;
use crate::run::{Outcome, Sample, degraded};
use crate::stats::{Interval, holm, mean, probability};

/// Below this a difference is called significant.
const SIGNIFICANT: f64 = 0.05;

/// The whole report.
pub fn report(table: &Table, outcome: &Outcome, about: &About, plots: &[Plot]) -> String {
    let mut text = String::from("# foil eval run\n\n");
    text += &made(outcome, about);
    text += "\nMeans over the targets with 95 % bootstrap intervals.\n";
    text += &alike(table, &outcome.samples);
    text += "\n## Quality\n\n";
    text += &quality(table, outcome);
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
    text += &less_than_asked(table, &outcome.samples);
    if !plots.is_empty() {
        text += "\n## Plots\n";
        for plot in plots {
            let _ = write!(text, "\n![{}]({})\n", plot.title, plot.file);
        }
    }
    text
}

/// How it was made.
fn made(outcome: &Outcome, about: &About) -> String {
    let data = &about.data;
    let mut rows = vec![
        ("date", about.date.clone()),
        ("Foil", about.foil.clone()),
        (
            "data",
            format!(
                "{}: {} records of {} users on {} items; {} of {} targets",
                data.name, data.records, data.users, data.items, outcome.targets, data.targets
            ),
        ),
        ("SHA-256 of the data", data.sha256.clone()),
        ("engine", about.engine.clone()),
        ("model", outcome.model.clone()),
        ("embedder", outcome.embedder.clone()),
    ];
    let set = about
        .set
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    rows.extend(set.map(|set| ("set", set)));
    let mut text = String::from("| | |\n|---|---|\n");
    for (what, value) in rows {
        let _ = writeln!(text, "| {what} | {} |", value.replace('|', "\\|"));
    }
    let _ = writeln!(text, "\n```\n{}\n```", about.command);
    text
}

/// That texts of one user are no independent samples, where there are such.
fn alike(table: &Table, samples: &[Sample]) -> String {
    let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in of_first(table, samples) {
        *texts.entry(&sample.user).or_default() += 1;
    }
    let several = texts.values().filter(|count| **count > 1).count();
    if several == 0 {
        return String::new();
    }
    format!(
        "{several} of the {} users have more than one target. Intervals and tests take every target for \
         an independent sample, so they are narrower than they should be.\n",
        texts.len()
    )
}

/// The texts of the first strategy: one for each target.
fn of_first<'a>(table: &Table, samples: &'a [Sample]) -> Vec<&'a Sample> {
    let first = table.rows.first().map(|row| row.strategy.as_str());
    let once = samples.iter();
    once.filter(|sample| Some(sample.strategy.as_str()) == first)
        .collect()
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

fn quality(table: &Table, outcome: &Outcome) -> String {
    let judge = outcome.judge.as_deref();
    let keys = ["rouge_1", "rouge_l", "meteor", "bleu", "corpus_bleu"];
    let mut head = vec!["strategy", "texts"];
    head.extend(keys.map(|key| metric(key).label));
    if judge.is_some() {
        head.extend(["judge", "its variance"]);
    }
    let row = |row: &Row| {
        let mut cells = vec![row.strategy.clone(), row.texts.to_string()];
        let digits = |key: &str| if key.ends_with("bleu") { 2 } else { 4 };
        cells.extend(keys.map(|key| figure(row, key, digits(key))));
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
             is the latter. The corpus' interval is over resampled texts.\n";
    if let Some(judge) = judge {
        let judged = outcome.samples.iter();
        let judged: Vec<_> = judged.filter_map(|s| s.scores.judge.as_ref()).collect();
        let invalid: usize = judged.iter().map(|judged| judged.invalid).sum();
        let valid: usize = judged.iter().map(|judged| judged.scores.len()).sum();
        let _ = writeln!(
            text,
            "\nThe judge is {judge}, on the paper's scale of 0 to 10, divided by 10; its variance is that \
             of a single answer about one text. Invalid judgements, left out: {invalid} of {}.",
            invalid + valid
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
    let once = of_first(table, samples).into_iter();
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
        "\nAmong at most {} users who had written on the same items before: is the text nearest to the \
         history of the one it was written for? Equally many texts stand for each of them. By the \
         embedding of the text, and by what is measured of its style alone. Known for {} targets.",
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
            format!("{}{mark}", probability(p)),
        ]
    };
    let head = ["metric", "first", "second", "difference", "p"];
    let mut text = lines(&head, comparisons.iter().map(row));
    text += "\nPaired by target; p by a two-sided randomisation test, which for BLEU of the corpus swaps \
             texts between the two; * below 0.05. No correction is made for the number of tests.\n";
    text
}

/// A line for each row of the table, a column for each metric.
fn against(comparisons: &[Comparison]) -> String {
    let of_first = |found: &&Comparison| found.first == comparisons[0].first;
    let metrics: Vec<_> = comparisons.iter().filter(of_first).collect();
    let mut head = vec!["less dpl"];
    head.extend(metrics.iter().map(|found| found.metric.label));
    let p: Vec<f64> = comparisons.iter().map(|found| found.paired.p).collect();
    let corrected = holm(&p);
    let mark = |at: usize| match (p[at] < SIGNIFICANT, corrected[at] < SIGNIFICANT) {
        (_, true) => " **",
        (true, false) => " *",
        (false, false) => "",
    };
    let cell = |(at, found): (usize, &Comparison)| {
        let difference = found.paired.difference.mean;
        format!("{difference:+.4} ({}){}", probability(p[at]), mark(at))
    };
    let cells: Vec<(usize, &Comparison)> = comparisons.iter().enumerate().collect();
    let rows = cells.chunk_by(|(_, a), (_, b)| a.first == b.first);
    let row = |of_one: &[(usize, &Comparison)]| {
        let name = of_one.first().map(|(_, found)| found.first.clone());
        let cells = of_one.iter().map(|&one| cell(one));
        name.into_iter().chain(cells).collect()
    };
    let mut text = lines(&head, rows.map(row));
    let below = |values: &[f64]| values.iter().filter(|p| **p < SIGNIFICANT).count();
    let _ = writeln!(
        text,
        "\nMean difference from dpl on the same targets, and p as above; below 0 where dpl is better. The \
         intervals are in `paired.csv`. Of these {} tests {:.0} are below 0.05 by chance alone, were \
         nothing different; {} are (*), and {} still with Holm's correction for all of them (**).",
        p.len(),
        SIGNIFICANT * p.len() as f64,
        below(&p),
        below(&corrected),
    );
    text
}

fn less_than_asked(table: &Table, samples: &[Sample]) -> String {
    let mut found = Vec::new();
    let counts: BTreeMap<_, _> = degraded(samples).into_iter().collect();
    for ((strategy, why), count) in counts {
        found.push(format!("{strategy}: {count} texts, {why}"));
    }
    for row in &table.rows {
        let name = &row.strategy;
        let own: Vec<&Sample> = samples.iter().filter(|s| s.strategy == *name).collect();
        let mut tally = Tally::default();
        own.iter().for_each(|sample| tally.add(sample.tally));
        for (what, failed, all) in [
            ("comparisons", tally.comparisons_failed, tally.comparisons),
            ("profiles", tally.profiles_failed, tally.profiles),
        ] {
            if failed > 0 {
                found.push(format!("{name}: {failed} of {all} {what} failed"));
            }
        }
        let mut refusals = own.iter().filter_map(|sample| sample.refusal.as_deref());
        if let Some(first) = refusals.next() {
            let count = 1 + refusals.count();
            found.push(format!("{name}: {count} texts refused, such as: {first}"));
        }
    }
    let empty = |sample: &&Sample| sample.output.trim().is_empty();
    let silent = samples.iter().filter(empty).count();
    if silent > 0 {
        found.push(format!("empty texts: {silent}"));
    }
    if found.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Less than was asked for\n\n");
    for line in found {
        let _ = writeln!(text, "- {line}");
    }
    text += "\nA comparison or a profile fails where no answer of the model holds, and is left out; it is \
             counted for each text that rests on it. An empty text scores as one.\n";
    text
}
