//! How a run was made: what a reader needs to judge it, and to make it again.

use std::path::Path;

use serde::Serialize;

use crate::data::Prepared;

/// What stands above a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// As it can be typed again.
    pub command: String,
    /// The day it ended, as 2026-11-24.
    pub date: String,
    /// Foil's version.
    pub foil: String,
    pub data: Data,
    /// `llama-cpp`, `mistralrs` or `openai`.
    pub engine: String,
    /// What `--set` changed.
    pub set: Vec<(String, String)>,
}

/// What was evaluated on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Data {
    /// The folder's, without those that it is in: they differ from machine to machine.
    pub name: String,
    pub records: usize,
    pub users: usize,
    pub items: usize,
    pub targets: usize,
    /// As [`Prepared::fingerprint`].
    pub sha256: String,
}

impl Data {
    /// Counts what is in the folder.
    pub fn of(prepared: &Prepared, folder: &Path) -> Self {
        let corpus = &prepared.corpus;
        Self {
            name: name(folder),
            records: corpus.records().len(),
            users: corpus.users().count(),
            items: corpus.written_about().count(),
            targets: prepared.held_out.len(),
            sha256: prepared.fingerprint(),
        }
    }
}

fn name(folder: &Path) -> String {
    let named = folder.file_name().map(ToOwned::to_owned);
    // As of `.`.
    let named = named.or_else(|| Some(folder.canonicalize().ok()?.file_name()?.to_owned()));
    named.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_by_its_last_name() {
        for folder in ["music", "/data/music", "../music/", "music/."] {
            assert_eq!(name(Path::new(folder)), "music", "{folder}");
        }
        assert!(!name(Path::new(".")).is_empty());
    }
}
