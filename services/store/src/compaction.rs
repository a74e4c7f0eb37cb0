//! Whether what was removed from Qdrant is gone from its files too.

use foil_proto::names::collection;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{CollectionInfo, CollectionStatus};

use crate::{Store, StoreError};

/// Metadata of a collection of the embedded Qdrant: writes since it was opened that removed
/// something, and how many of those are gone from its files.
const REMOVALS: &str = "foil_edge_removals";
const COMPACTED: &str = "foil_edge_compacted";

/// How far one collection's files are rid of what was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    pub collection: &'static str,
    /// Qdrant's status is green: nothing is left that it would compact.
    pub green: bool,
    /// Removals so far, and those that are gone from the files; none of a Qdrant that does not count
    /// them, which is any but the embedded one.
    pub counted: Option<(u64, u64)>,
}

impl Compaction {
    /// Whether everything that had been removed at `since` is gone by now: an earlier look at the
    /// same collection.
    pub fn reaches(&self, since: &Self) -> bool {
        let counted = |(removed, _): (u64, u64)| {
            self.counted.is_some_and(|(now, compacted)| {
                // Fewer than before: it was opened anew meanwhile, and counts from there.
                now >= removed && compacted >= removed
            })
        };
        self.green || since.counted.is_some_and(counted)
    }
}

impl Store {
    /// How far each collection is.
    ///
    /// # Errors
    /// From Qdrant.
    pub async fn compactions(&self) -> Result<Vec<Compaction>, StoreError> {
        let mut found = Vec::new();
        for name in [collection::RECORDS, collection::ITEMS, collection::USERS] {
            let info = self.collection_info(name).await?;
            found.push(Compaction {
                collection: name,
                green: info.status() == CollectionStatus::Green,
                counted: count(&info, REMOVALS).zip(count(&info, COMPACTED)),
            });
        }
        Ok(found)
    }
}

fn count(info: &CollectionInfo, name: &str) -> Option<u64> {
    let config = info.config.as_ref()?;
    match config.metadata.get(name)?.kind.as_ref()? {
        Kind::IntegerValue(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(green: bool, counted: Option<(u64, u64)>) -> Compaction {
        Compaction {
            collection: collection::RECORDS,
            green,
            counted,
        }
    }

    #[test]
    fn what_came_later_need_not_be_waited_for() {
        let since = look(false, Some((5, 2)));
        assert!(!look(false, Some((5, 4))).reaches(&since));
        assert!(look(false, Some((9, 5))).reaches(&since));
        assert!(look(true, Some((9, 9))).reaches(&since));
        // Opened anew: what it removed before is not known to be gone.
        assert!(!look(false, Some((1, 1))).reaches(&since));
        assert!(look(true, Some((0, 0))).reaches(&since));
        // One that does not count says it by its status alone.
        let other = look(false, None);
        assert!(!other.reaches(&other));
        assert!(look(true, None).reaches(&other));
    }
}
