//! Vectors of texts by the production embedder, kept in a file by content: what was embedded once is
//! read back, and an interrupted run goes on where it was.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use foil_embedder::{EmbedConfig, EmbedEngine, TextEmbedder};
use sha2::{Digest as _, Sha256};

use crate::fingerprint::{add_contents, add_served, hex};
use crate::lock;
use crate::progress::Progress;

/// Texts embedded between two writes.
const BATCH: usize = 32;
/// A batch on a busy machine may take its time.
const PATIENCE: Duration = Duration::from_secs(600);
/// How far the length of a stored vector may be from 1; another one is damage.
const LENGTH_ERROR: f64 = 1e-3;
const KEY_BYTES: usize = 32;

type Key = [u8; KEY_BYTES];

/// Vectors of one model, by the SHA-256 of the text.
///
/// The file holds one entry after another: the key, then the vector as little-endian `f32`. It is
/// named for the model, so another model never reads them.
pub struct Vectors {
    embedder: std::sync::Arc<dyn TextEmbedder>,
    known: HashMap<Key, Vec<f32>>,
    file: File,
    embedded: usize,
}

impl Vectors {
    /// Loads the model and what is kept in `folder`, which is made if missing.
    ///
    /// # Errors
    /// When the model cannot be loaded or the file not be used, as while another process does.
    pub async fn open(config: &EmbedConfig, folder: &Path) -> Result<Self> {
        let config = EmbedConfig {
            timeout: PATIENCE,
            ..config.clone()
        };
        let embedder = foil_embedder::load(&config).await?;
        let name = format!("vectors-{}.bin", fingerprint(&config)?);
        Self::with(embedder, folder.join(name))
    }

    fn with(embedder: std::sync::Arc<dyn TextEmbedder>, path: PathBuf) -> Result<Self> {
        let name = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(name)?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path);
        let mut file = file.with_context(name)?;
        lock::alone(&file).with_context(name)?;
        let (known, whole) = read(&file, embedder.dimension()).with_context(name)?;
        // What an interrupted write left would shift everything behind it.
        file.set_len(whole).with_context(name)?;
        file.seek(SeekFrom::End(0)).with_context(name)?;
        Ok(Self {
            embedder,
            known,
            file,
            embedded: 0,
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        self.embedder.model()
    }

    /// How many texts the model embedded since it was loaded; the others were known.
    pub fn embedded(&self) -> usize {
        self.embedded
    }

    /// One vector of length 1 for each text, in their order.
    ///
    /// # Errors
    /// When the model or the file fails; what was embedded until then is kept.
    pub async fn of(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let keys: Vec<Key> = texts.iter().map(|text| key(text)).collect();
        let mut missing: Vec<(Key, &str)> = keys
            .iter()
            .copied()
            .zip(texts.iter().copied())
            .filter(|(key, _)| !self.known.contains_key(key))
            .collect();
        missing.sort_unstable_by_key(|(key, _)| *key);
        missing.dedup_by_key(|(key, _)| *key);
        // One batch is over at once, and may be a step of work that shows its own progress.
        let many = missing.len() > BATCH;
        let mut progress = many.then(|| Progress::new("embed", missing.len() as u64));
        for batch in missing.chunks(BATCH) {
            self.embed(batch).await?;
            if let Some(progress) = &mut progress {
                progress.advance(batch.len() as u64);
            }
        }
        Ok(keys.iter().map(|key| self.known[key].clone()).collect())
    }

    async fn embed(&mut self, batch: &[(Key, &str)]) -> Result<()> {
        let texts = batch.iter().map(|(_, text)| (*text).to_owned()).collect();
        let vectors = self.embedder.embed(texts).await?;
        ensure!(vectors.len() == batch.len(), "embedding: one is missing");
        let mut bytes = Vec::with_capacity(batch.len() * entry_bytes(self.embedder.dimension()));
        for ((key, _), vector) in batch.iter().zip(&vectors) {
            bytes.extend(key);
            bytes.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
        }
        self.file.write_all(&bytes).context("the file of vectors")?;
        self.embedded += batch.len();
        let keys = batch.iter().map(|(key, _)| *key);
        self.known.extend(keys.zip(vectors));
        Ok(())
    }
}

fn key(text: &str) -> Key {
    Sha256::digest(text.as_bytes()).into()
}

fn entry_bytes(dimension: usize) -> usize {
    KEY_BYTES + dimension * 4
}

/// All whole entries, and how many bytes they take.
fn read(file: &File, dimension: usize) -> std::io::Result<(HashMap<Key, Vec<f32>>, u64)> {
    let mut reader = BufReader::new(file);
    let mut known = HashMap::new();
    let mut entry = vec![0; entry_bytes(dimension)];
    let count = file.metadata()?.len() / entry.len() as u64;
    let mut whole = 0;
    for _ in 0..count {
        reader.read_exact(&mut entry)?;
        let (key, vector) = entry.split_at(KEY_BYTES);
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("chunks of 4"));
        let vector: Vec<f32> = vector.chunks_exact(4).map(number).collect();
        let length: f64 = vector.iter().map(|&x| f64::from(x).powi(2)).sum();
        if !length.is_finite() || (length.sqrt() - 1.0).abs() > LENGTH_ERROR {
            break;
        }
        known.insert(key.try_into().expect("split there"), vector);
        whole += entry.len() as u64;
    }
    Ok((known, whole))
}

/// Of the model and what changes its vectors.
fn fingerprint(config: &EmbedConfig) -> Result<String> {
    let mut hash = Sha256::new();
    match config.engine {
        EmbedEngine::LlamaCpp => add_contents(&mut hash, Path::new(&config.model))?,
        EmbedEngine::Openai => add_served(&mut hash, config.base_url.as_deref(), &config.model),
    }
    hash.update(config.max_tokens.to_le_bytes());
    Ok(hex(&hash.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use foil_embedder::EmbedError;
    use futures::future::BoxFuture;

    use super::*;

    /// A vector that follows from the text.
    struct Letters;

    impl TextEmbedder for Letters {
        fn dimension(&self) -> usize {
            2
        }

        fn model(&self) -> &str {
            "letters"
        }

        fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EmbedError>> {
            let vector = |text: &String| {
                let angle = text.len() as f32;
                vec![angle.cos(), angle.sin()]
            };
            Box::pin(async move { Ok(texts.iter().map(vector).collect()) })
        }
    }

    async fn embedded(path: &Path, texts: &[&str]) -> (Vec<Vec<f32>>, usize) {
        let mut vectors = Vectors::with(Arc::new(Letters), path.to_owned()).unwrap();
        let found = vectors.of(texts).await.unwrap();
        (found, vectors.embedded())
    }

    #[tokio::test]
    async fn a_text_is_embedded_once_and_an_interrupted_write_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("there/vectors.bin");
        let (first, count) = embedded(&path, &["a", "bcd", "a"]).await;
        assert_eq!(
            (first[0] == first[2], first[0] == first[1], count),
            (true, false, 2)
        );
        let (second, count) = embedded(&path, &["bcd", "a", "ef"]).await;
        assert_eq!((&second[0], &second[1], count), (&first[1], &first[0], 1));

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * entry_bytes(2));
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let (third, count) = embedded(&path, &["a", "bcd", "ef"]).await;
        assert_eq!(
            (&third[0], &third[1], &third[2], count),
            (&first[0], &first[1], &second[2], 1)
        );

        // Damage in the middle: what stands behind it is not trusted either.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[entry_bytes(2) + KEY_BYTES..][..4].copy_from_slice(&7.0_f32.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let (fourth, count) = embedded(&path, &["a", "bcd", "ef"]).await;
        assert_eq!((fourth, count), (third, 2));
    }

    #[test]
    fn another_model_or_cut_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, "one").unwrap();
        let config = EmbedConfig {
            model: path.display().to_string(),
            ..EmbedConfig::default()
        };
        let first = fingerprint(&config).unwrap();
        assert_eq!(fingerprint(&config).unwrap(), first);
        let cut = EmbedConfig {
            max_tokens: 64,
            ..config.clone()
        };
        assert_ne!(fingerprint(&cut).unwrap(), first);
        std::fs::write(&path, "two").unwrap();
        assert_ne!(fingerprint(&config).unwrap(), first);
    }
}
