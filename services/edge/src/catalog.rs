//! The data directory: who owns it, and which collections it holds.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tonic::Status;
use uuid::Uuid;

use crate::convert::schema::VectorSpec;
use crate::engine::{Engine, sync_dir};
use crate::error::{EdgeError, invalid, status};
use crate::limits;
use crate::shard::{Shard, free_bytes, lock};

const LOCK_FILE: &str = "foil-edge.lock";
const META_FILE: &str = "collection.json";
/// Names that start so are being made or removed; no collection's name does.
const SCRATCH: &str = ".scratch-";
const FORMAT: u32 = 1;

/// What is remembered of a collection beside its points. A file, so its format is fixed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    format: u32,
    vector: Option<VectorSpec>,
}

/// All collections of a data directory.
pub(crate) struct Catalog {
    root: PathBuf,
    free_bytes: u64,
    /// None once closed.
    open: RwLock<Option<BTreeMap<String, Arc<Shard>>>>,
    /// Held while a collection is made or removed.
    changing: Mutex<()>,
    /// The system releases it with the file. None once closed.
    owner: Mutex<Option<File>>,
}

impl Catalog {
    /// `free_bytes`: space that writes leave free.
    pub(crate) fn open(data_dir: &Path, free_bytes: u64) -> Result<Self, EdgeError> {
        let root = data_dir.join("collections");
        fs::create_dir_all(&root).map_err(EdgeError::io("cannot create", &root))?;
        let owner = own(data_dir)?;
        let mut open = BTreeMap::new();
        let entries = fs::read_dir(&root).map_err(EdgeError::io("cannot read", &root))?;
        for entry in entries {
            let path = entry.map_err(EdgeError::io("cannot read", &root))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name.starts_with(SCRATCH) {
                fs::remove_dir_all(&path).map_err(EdgeError::io("cannot remove", &path))?;
                continue;
            }
            let shard = load(name, &path, free_bytes).map_err(|problem| EdgeError::Collection {
                name: name.to_owned(),
                problem,
            })?;
            open.insert(name.to_owned(), shard);
        }
        Ok(Self {
            root,
            free_bytes,
            open: RwLock::new(Some(open)),
            changing: Mutex::new(()),
            owner: Mutex::new(Some(owner)),
        })
    }

    pub(crate) fn names(&self) -> Result<Vec<String>, Status> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        Ok(open.keys().cloned().collect())
    }

    pub(crate) fn find(&self, name: &str) -> Result<Option<Arc<Shard>>, Status> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(open.as_ref().ok_or_else(closed)?.get(name).cloned())
    }

    pub(crate) fn shard(&self, name: &str) -> Result<Arc<Shard>, Status> {
        let text = || format!("Not found: Collection `{name}` doesn't exist!");
        self.find(name)?.ok_or_else(|| Status::not_found(text()))
    }

    /// Makes a collection; after a crash it is there whole or not at all. Blocks.
    pub(crate) fn create(&self, name: &str, vector: Option<VectorSpec>) -> Result<(), Status> {
        check_name(name)?;
        let _changing = lock(&self.changing);
        if self.find(name)?.is_some() {
            let text = format!("Wrong input: Collection `{name}` already exists!");
            return Err(Status::already_exists(text));
        }
        if self.names()?.len() >= limits::COLLECTIONS {
            let most = limits::COLLECTIONS;
            let text = format!("collection_name: {most} collections exist already");
            return Err(Status::resource_exhausted(text));
        }
        let free = free_bytes(&self.root).map_err(|error| failed("create", &error))?;
        if free < self.free_bytes {
            let text = format!("data directory: the disk is full: only {free} bytes are free");
            return Err(Status::resource_exhausted(text));
        }
        let scratch = self.scratch();
        let path = self.root.join(name);
        let made = self.make(&scratch, vector).and_then(|()| {
            fs::rename(&scratch, &path).map_err(|error| failed("create", &error))?;
            sync_dir(&self.root).map_err(|error| failed("create", &error))?;
            load(name, &path, self.free_bytes).map_err(Status::internal)
        });
        match made {
            Ok(shard) => self.put(name, shard),
            Err(error) => {
                for left in [&scratch, &path] {
                    let _ = fs::remove_dir_all(left);
                }
                Err(error)
            }
        }
    }

    /// False where there is none of that name. Blocks.
    pub(crate) fn delete(&self, name: &str) -> Result<bool, Status> {
        let _changing = lock(&self.changing);
        let shard = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.as_mut().ok_or_else(closed)?.remove(name)
        };
        let Some(shard) = shard else {
            return Ok(false);
        };
        shard.close();
        let path = self.root.join(name);
        let scratch = self.scratch();
        if let Err(error) = fs::rename(&path, &scratch).and_then(|()| sync_dir(&self.root)) {
            // It is still there, so it has to be served again.
            match load(name, &path, self.free_bytes) {
                Ok(shard) => self.put(name, shard)?,
                Err(problem) => tracing::error!(collection = name, problem, "cannot reopen"),
            }
            return Err(failed("delete", &error));
        }
        // The next start removes what stays behind here.
        if let Err(error) = fs::remove_dir_all(&scratch) {
            tracing::warn!(%error, "files of a deleted collection are left");
        }
        Ok(true)
    }

    /// Flushes and closes everything, and gives the data directory up. Blocks.
    pub(crate) fn close(&self) {
        let shards = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.take()
        };
        for shard in shards.iter().flat_map(BTreeMap::values) {
            shard.close();
        }
        drop(lock(&self.owner).take());
    }

    fn make(&self, scratch: &Path, vector: Option<VectorSpec>) -> Result<(), Status> {
        fs::create_dir(scratch).map_err(|error| failed("create", &error))?;
        Engine::create(scratch, vector).map_err(|error| status(&error))?;
        let meta = Meta {
            format: FORMAT,
            vector,
        };
        write_meta(scratch, &meta)
            // The engine does not sync each file that it makes.
            .and_then(|()| Ok(rustix::fs::syncfs(File::open(scratch)?)?))
            .map_err(|error| failed("create", &error))
    }

    fn put(&self, name: &str, shard: Arc<Shard>) -> Result<(), Status> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match open.as_mut() {
            Some(open) => {
                open.insert(name.to_owned(), shard);
                Ok(())
            }
            None => {
                shard.close();
                Err(closed())
            }
        }
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(format!("{SCRATCH}{}", Uuid::new_v4()))
    }
}

fn own(data_dir: &Path) -> Result<File, EdgeError> {
    let path = data_dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(EdgeError::io("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EdgeError::Held(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(EdgeError::io("cannot lock", &path)(error)),
    }
}

fn load(name: &str, path: &Path, free_bytes: u64) -> Result<Arc<Shard>, String> {
    let text = fs::read(path.join(META_FILE)).map_err(|error| format!("{META_FILE}: {error}"))?;
    let meta: Meta =
        serde_json::from_slice(&text).map_err(|error| format!("{META_FILE}: {error}"))?;
    if meta.format != FORMAT {
        let found = meta.format;
        return Err(format!("{META_FILE}: format {found} is not {FORMAT}"));
    }
    Shard::open(name, meta.vector, path.to_owned(), free_bytes).map_err(|error| error.to_string())
}

fn write_meta(dir: &Path, meta: &Meta) -> std::io::Result<()> {
    let mut file = File::create_new(dir.join(META_FILE))?;
    file.write_all(&serde_json::to_vec_pretty(meta)?)?;
    file.sync_all()?;
    sync_dir(dir)
}

/// A name is a directory's name too. Qdrant's own rule, and no hidden files.
fn check_name(name: &str) -> Result<(), Status> {
    let field = "collection_name";
    if name.is_empty() || name.len() > 255 {
        return Err(invalid(field, "is not 1 to 255 bytes long"));
    }
    let banned = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    if name.starts_with('.') || name.contains(banned) {
        return Err(invalid(
            field,
            "holds a character that a name must not hold",
        ));
    }
    Ok(())
}

fn closed() -> Status {
    Status::unavailable("the server is shutting down")
}

fn failed(what: &str, error: &std::io::Error) -> Status {
    Status::internal(format!("cannot {what} the collection: {error}"))
}
