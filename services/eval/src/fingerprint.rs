//! What something is by its content, so that what only shares a name is told apart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use foil_llm::{EngineConfig, EngineKind};
use sha2::{Digest as _, Sha256};

/// SHA-256 of parts, each after its length: other parts are other bytes.
#[derive(Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// One part more.
    pub fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// In hexadecimal.
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Of a language model: its file or folder, or where it is served and by what name.
///
/// # Errors
/// When a file cannot be read.
pub fn of_model(config: &EngineConfig) -> Result<String> {
    let mut hash = Sha256::new();
    match config.engine {
        EngineKind::LlamaCpp | EngineKind::Mistralrs => {
            add_contents(&mut hash, Path::new(&config.model))?;
        }
        EngineKind::Openai => add_served(&mut hash, config.base_url.as_deref(), &config.model),
    }
    Ok(hex(&hash.finalize()))
}

/// The bytes of a file, or the names and bytes of the files of a folder.
///
/// # Errors
/// When one cannot be read.
pub fn add_contents(hash: &mut Sha256, path: &Path) -> Result<()> {
    let name = || path.display().to_string();
    if !path.is_dir() {
        let mut file = File::open(path).with_context(name)?;
        io::copy(&mut file, hash).with_context(name)?;
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(name)?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = paths.with_context(name)?;
    files.retain(|file| file.is_file());
    files.sort();
    for file in &files {
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update([0]);
        add_contents(hash, file)?;
    }
    Ok(())
}

/// Where a model is served, and its name there.
pub fn add_served(hash: &mut Sha256, base_url: Option<&str>, model: &str) {
    hash.update(base_url.unwrap_or_default());
    hash.update([0]);
    hash.update(model);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(engine: EngineKind, model: &Path, base_url: Option<&str>) -> String {
        let config = EngineConfig {
            engine,
            model: model.display().to_string(),
            base_url: base_url.map(str::to_owned),
            ..EngineConfig::default()
        };
        of_model(&config).unwrap()
    }

    #[test]
    fn a_model_is_what_its_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
        std::fs::write(&one, "abc").unwrap();
        std::fs::write(&other, "abc").unwrap();
        let first = model(EngineKind::LlamaCpp, &one, None);
        // As sha256sum says.
        assert!(first.starts_with("ba7816bf8f01cfea"), "{first}");
        assert_eq!(model(EngineKind::LlamaCpp, &other, None), first);
        std::fs::write(&other, "abd").unwrap();
        assert_ne!(model(EngineKind::LlamaCpp, &other, None), first);

        let all = model(EngineKind::Mistralrs, folder.path(), None);
        std::fs::write(&other, "abe").unwrap();
        assert_ne!(model(EngineKind::Mistralrs, folder.path(), None), all);
        assert!(of_model(&EngineConfig::default()).is_err());
    }

    #[test]
    fn a_served_model_is_its_address_and_name() {
        let served = |url, name| model(EngineKind::Openai, Path::new(name), Some(url));
        let first = served("http://one/v1", "qwen");
        assert_eq!(served("http://one/v1", "qwen"), first);
        assert_ne!(served("http://two/v1", "qwen"), first);
        assert_ne!(served("http://one/v1", "qwen-2"), first);
    }

    #[test]
    fn where_a_part_ends_counts() {
        let of = |parts: &[&str]| {
            let mut fingerprint = Fingerprint::default();
            parts.iter().for_each(|part| fingerprint.add(part));
            fingerprint.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
