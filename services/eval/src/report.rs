//! What a run shows: tables in Markdown and CSV, and plots. The same samples of the same run
//! give the same bytes.

pub mod about;
pub mod csv;
pub mod markdown;
pub mod plots;
pub mod table;

use std::path::Path;

use anyhow::{Context as _, Result};

pub use about::{About, Data};
pub use table::Table;

use crate::run::Outcome;

/// Writes `report.md`, `report.csv`, `paired.csv` and the plots into the folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(outcome: &Outcome, seed: u64, about: &About, folder: &Path) -> Result<()> {
    let table = Table::of(outcome, seed);
    let plots = plots::draw(&table, &outcome.samples, seed)?;
    let mut files = vec![
        (
            "report.md".to_owned(),
            markdown::report(&table, outcome, about, &plots),
        ),
        ("report.csv".to_owned(), csv::scores(&table)?),
        ("paired.csv".to_owned(), csv::paired(&table)?),
    ];
    files.extend(
        plots
            .into_iter()
            .map(|plot| (plot.file.to_owned(), plot.svg)),
    );
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
