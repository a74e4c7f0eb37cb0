//! What is stored, as the stages see it.

use foil_proto::v1;
use uuid::Uuid;

/// Whose text on what: names one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// 1 to 64 bytes.
    pub tenant: String,
    /// 1 to 256 bytes.
    pub user: String,
    /// 1 to 256 bytes.
    pub item: String,
}

/// A record to store.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordWrite {
    pub key: RecordKey,
    /// 1 byte to 64 KiB.
    pub text: String,
    /// At most 1,024 bytes, may be empty.
    pub title: String,
    /// Finite.
    pub rating: Option<f64>,
    /// When the user wrote it: milliseconds since 1970.
    pub occurred_at_ms: i64,
    /// Fences writes; any value, the whole range is compared exactly.
    pub revision: u64,
    /// When the update was published: milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Sequence of the update in FOIL_UPDATES: fences erasures.
    pub sequence: u64,
    /// As long as the collection's dimension, finite. Stored normalised to length 1.
    pub vector: Vec<f32>,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub key: RecordKey,
    /// Point id: follows from the key.
    pub id: Uuid,
    pub text: String,
    /// May be empty.
    pub title: String,
    pub rating: Option<f64>,
    /// When the user wrote it: milliseconds since 1970.
    pub occurred_at_ms: i64,
    pub revision: u64,
    /// When the update was published: milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Sequence of the update in FOIL_UPDATES.
    pub sequence: u64,
    /// Length 1; only where it was asked for.
    pub vector: Option<Vec<f32>>,
    /// What comparing this revision of the text found, once it has been compared.
    pub difference: Option<v1::Difference>,
    /// Fingerprint of the selection that awaits its comparison.
    pub due: Option<String>,
    /// When `due` was set: milliseconds since 1970; 0 when it is not.
    pub due_at_ms: i64,
    /// Whether the user's texts must not serve to compare others with.
    pub opted_out: bool,
}

impl Record {
    /// The first revision of a text, of which nothing else is known.
    pub fn new(key: RecordKey, text: impl Into<String>) -> Self {
        Self {
            id: key.id(),
            key,
            text: text.into(),
            title: String::new(),
            rating: None,
            occurred_at_ms: 1,
            revision: 1,
            updated_at_ms: 1,
            sequence: 1,
            vector: None,
            difference: None,
            due: None,
            due_at_ms: 0,
            opted_out: false,
        }
    }
}

/// What became of a fenced write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is the stored state now.
    Stored,
    /// Something newer stands there; nothing was changed.
    Stale,
    /// It was the stored state already: a message delivered again. What follows from it may still
    /// have to be published.
    Same,
}

/// What follows from deleting a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    /// [`Written::Stale`]: a record of a higher revision is there.
    pub written: Written,
    /// Other users' records whose difference had used the deleted one and was dropped for it: to be
    /// compared anew. A repeated call names them again until they are.
    pub recompare: Vec<RecordKey>,
}

/// One mark for [`crate::Store::mark_due`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Point id of the record.
    pub id: Uuid,
    /// Fingerprint of the selection it is to be compared with.
    pub fingerprint: String,
}

/// The thing written about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// 1 to 256 bytes.
    pub id: String,
    /// At most 1,024 bytes.
    pub title: String,
    /// At most 16 KiB.
    pub description: String,
    /// Fences writes.
    pub revision: u64,
}

/// The message that erases: where and when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// In FOIL_UPDATES.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// What is known of a user beside their records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserState {
    /// Whether their texts must not serve to compare others with.
    pub opted_out: bool,
    /// Revision of that choice; 0 when none was made.
    pub opt_out_revision: u64,
    /// Sequence in FOIL_UPDATES of the latest erasure of the user or of the whole tenant; updates up
    /// to it bring nothing back. 0: none.
    pub erased_sequence: u64,
    /// When the latest erasure was stored there, milliseconds since 1970: what the user wrote then or
    /// before is refused, whenever it arrives. 0: none.
    pub erased_at_ms: i64,
}

impl UserState {
    pub(crate) fn erase(&mut self, erasure: Erasure) {
        self.erased_sequence = self.erased_sequence.max(erasure.sequence);
        self.erased_at_ms = self.erased_at_ms.max(erasure.at_ms);
    }

    /// Whether an erasure stands against an update. `occurred_at_ms`: when the user wrote what it
    /// brings, 0 where it does not say: then nothing tells it from what was erased. None: it brings
    /// no text.
    pub fn refuses(&self, sequence: u64, occurred_at_ms: Option<i64>) -> bool {
        self.erased_sequence > 0
            && (sequence <= self.erased_sequence
                || occurred_at_ms.is_some_and(|at| at <= self.erased_at_ms))
    }
}

/// What follows from an opt-out.
#[derive(Debug, Clone, PartialEq)]
pub struct OptedOut {
    pub written: Written,
    /// The user's own records' keys are not in here; see [`Deleted::recompare`].
    pub recompare: Vec<RecordKey>,
}

/// What erasing a user removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records, tombstones not counted.
    pub records: u64,
    /// Profile versions.
    pub profiles: u64,
    /// Other users' differences that had used a record of this user.
    pub differences_of_others: u64,
    pub removed: v1::Removed,
    /// See [`Deleted::recompare`].
    pub recompare: Vec<RecordKey>,
    /// Other users whose newest profile rested on one of those differences and went: it is to be made
    /// anew. A repeated call names them again until it is.
    pub reprofile: Vec<String>,
    /// Records that stand though their user's queued work went: they came after what was erased, and
    /// what is left to do for them is to be ordered again.
    pub survivors: Vec<RecordKey>,
}

/// What erasing a record removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedRecord {
    /// 1, or 0 where none was stored, or a repeated call found it deleted.
    pub records: u64,
    /// Profile versions that rested on it.
    pub profiles: u64,
    pub removed: v1::Removed,
    /// See [`Deleted::recompare`].
    pub recompare: Vec<RecordKey>,
    /// Other users whose newest profile rested on one of those differences and went: it is to be made
    /// anew. A repeated call names them again until it is.
    pub reprofile: Vec<String>,
    /// See [`Erased::survivors`].
    pub survivors: Vec<RecordKey>,
}

/// What erasing a tenant removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedTenant {
    /// Records, tombstones not counted.
    pub records: u64,
    pub items: u64,
    /// Profile versions.
    pub profiles: u64,
    pub removed: v1::Removed,
    /// Records that came after the erasure and had been compared with one that it removed.
    pub recompare: Vec<RecordKey>,
    /// See [`Erased::survivors`].
    pub survivors: Vec<RecordKey>,
}

/// A profile version as it stands in its bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredProfile {
    pub profile: v1::Profile,
    /// Revision in the bucket: for compare-and-swap.
    pub kv_revision: u64,
}

/// The place of a user's profile, for whoever writes the next version. Read it **before** the
/// records that the version rests on: a removal in between then refuses the write.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileSlot {
    /// The newest version; none before the first and after a removal.
    pub current: Option<v1::Profile>,
    /// The number of the newest version that ever was; it counts on where versions were removed
    /// because a record under them was deleted. 0: the next one is the first.
    pub version: u64,
    /// What [`crate::Store::put_profile`] and [`crate::Store::delete_profile`] expect; 0 where nothing was ever written.
    pub kv_revision: u64,
}
