//! What Foil exports, as the code has it. deploy/metrics.md is compared with this.

use anyhow::Result;
use foil_runtime::metrics::Metric;
use serde_json::json;

use crate::out;

/// Every crate's list.
fn all() -> Vec<Metric> {
    let lists = [
        foil_runtime::metrics::ALL,
        foil_store::metrics::ALL,
        foil_mover::metrics::ALL,
        foil_llm::metrics::ALL,
        foil_embedder::metrics::ALL,
        foil_extractor::metrics::ALL,
        foil_profiler::metrics::ALL,
        foil_generator::metrics::ALL,
    ];
    lists.concat()
}

/// Prints them.
///
/// # Errors
/// None but those of writing JSON.
pub fn run(as_json: bool) -> Result<()> {
    let all = all();
    if as_json {
        let list: Vec<_> = all
            .iter()
            .map(|metric| {
                json!({
                    "name": metric.name,
                    "kind": metric.kind.as_str(),
                    "labels": metric.labels,
                    "about": metric.about,
                })
            })
            .collect();
        out::text(&format!("{}\n", serde_json::to_string_pretty(&list)?));
        return Ok(());
    }
    for Metric {
        name, kind, labels, ..
    } in all
    {
        say!("{name:<42} {:<9} {}", kind.as_str(), labels.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const TABLE: &str = include_str!("../../../../deploy/metrics.md");

    /// Name to kind and labels, of the rows of the tables.
    fn documented() -> BTreeMap<String, (String, Vec<String>)> {
        let rows = TABLE.lines().filter(|line| line.starts_with("| `foil_"));
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let labels = cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`'));
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
            let name = cells[1].trim_matches('`').to_owned();
            (name, (cells[2].to_owned(), labels.collect()))
        };
        rows.map(row).collect()
    }

    #[test]
    fn the_table_of_metrics_is_the_codes() {
        let documented = documented();
        let exported: BTreeMap<_, _> = all()
            .iter()
            .map(|metric| {
                let labels: Vec<String> = metric.labels.iter().map(|&l| l.to_owned()).collect();
                (
                    metric.name.to_owned(),
                    (metric.kind.as_str().to_owned(), labels),
                )
            })
            .collect();
        assert_eq!(exported.len(), all().len(), "two metrics of one name");
        assert_eq!(documented, exported);
    }

    #[test]
    fn names_say_unit_and_kind_and_labels_are_explained() {
        let mut labels = BTreeSet::new();
        for metric in all() {
            let is_counter = metric.kind.as_str() == "counter";
            assert_eq!(
                metric.name.ends_with("_total"),
                is_counter,
                "{}",
                metric.name
            );
            assert!(metric.name.starts_with("foil_") && !metric.about.is_empty());
            labels.extend(metric.labels);
        }
        for label in labels {
            let explained = format!("\n| `{label}`");
            assert!(
                TABLE.contains(&explained),
                "{label} has no row in deploy/metrics.md"
            );
            assert!(
                !["user", "item"].contains(&label),
                "{label} has no closed set"
            );
        }
    }
}
