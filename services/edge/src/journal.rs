//! What was done since the last flush, on disk before anyone is told. The engine has a log of its
//! own but does not read it back: after a crash a point could hold the vector of a write that was
//! under way and the payload of the one before. Doing everything again since the flush mends that.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use qdrant_edge::UpdateOperation;

/// Length and checksum, each 8 bytes, little endian.
const HEADER: usize = 16;

/// A file of operations, in the order in which they were done. Each names its points by id, so that
/// doing them all again ends where it ended the first time.
pub(crate) struct Journal {
    file: File,
    /// Bytes of whole entries.
    len: u64,
    entries: usize,
}

impl Journal {
    /// Opens the journal, made if missing, and reads what is in it. A torn entry at the end is of a
    /// write that nobody was told of.
    pub(crate) fn open(path: &Path) -> std::io::Result<(Self, Vec<UpdateOperation>)> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut operations = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((body, after)) = next(rest) {
            operations.push(serde_json::from_slice(body)?);
            rest = after;
        }
        let mut journal = Self {
            file,
            len: 0,
            entries: operations.len(),
        };
        journal.rewind((bytes.len() - rest.len()) as u64)?;
        Ok((journal, operations))
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Operations in it.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Survives the end of the process from here on, and a power cut after [`Journal::sync`].
    pub(crate) fn append(&mut self, operation: &UpdateOperation) -> std::io::Result<()> {
        let mut entry = vec![0; HEADER];
        serde_json::to_writer(&mut entry, operation)?;
        let body = (entry.len() - HEADER) as u64;
        let sum = checksum(&entry[HEADER..]);
        entry[..8].copy_from_slice(&body.to_le_bytes());
        entry[8..HEADER].copy_from_slice(&sum.to_le_bytes());
        if let Err(error) = self.file.write_all(&entry) {
            // Part of it may be there, and the next entry must not come after that.
            self.rewind(self.len)?;
            return Err(error);
        }
        self.len += entry.len() as u64;
        self.entries += 1;
        Ok(())
    }

    /// Takes back the newest entry, which began at `len`.
    pub(crate) fn take_back(&mut self, len: u64) -> std::io::Result<()> {
        self.rewind(len)?;
        self.entries -= 1;
        Ok(())
    }

    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// For after a flush, when nothing has to be done again.
    pub(crate) fn clear(&mut self) -> std::io::Result<()> {
        self.rewind(0)?;
        self.entries = 0;
        self.sync()
    }

    fn rewind(&mut self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        self.len = len;
        Ok(())
    }
}

/// The body of the first entry and what follows it; none at the end or at a torn entry.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (len, sum) = header.split_at_checked(8)?;
    let len = u64::from_le_bytes(len.try_into().ok()?);
    let sum = u64::from_le_bytes(sum.try_into().ok()?);
    let (body, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    (len > 0 && checksum(body) == sum).then_some((body, after))
}

/// FNV-1a: it has to tell a torn entry from a whole one, nothing more.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use qdrant_edge::{
        CreateIndex, DeletePayloadOp, FieldIndexOperations, PayloadFieldSchema, PayloadOps,
        PayloadSchemaType, PointId, PointInsertOperations, PointOperations, PointStructPersisted,
        SetPayloadOp, VectorStructPersisted,
    };
    use serde_json::json;

    use super::*;

    fn payload() -> qdrant_edge::Payload {
        let value = json!({"i": i64::MAX, "d": 0.1, "w": 2.0, "n": null, "o": {"l": [1, "é"]}});
        serde_json::from_value(value).unwrap()
    }

    fn every_kind() -> Vec<UpdateOperation> {
        let ids = vec![
            PointId::NumId(u64::MAX),
            PointId::Uuid(uuid::Uuid::from_u128(7)),
        ];
        let point = |id, vector| PointStructPersisted {
            id,
            vector,
            payload: Some(payload()),
        };
        let points = vec![
            point(
                ids[0],
                VectorStructPersisted::Single(vec![0.1, -1e-20, 3e30]),
            ),
            point(ids[1], VectorStructPersisted::Named([].into())),
        ];
        let set = |key: Option<&str>| SetPayloadOp {
            payload: payload(),
            points: Some(ids.clone()),
            filter: None,
            key: key.map(|key| key.try_into().unwrap()),
        };
        vec![
            UpdateOperation::PointOperation(PointOperations::UpsertPoints(
                PointInsertOperations::PointsList(points),
            )),
            UpdateOperation::PointOperation(PointOperations::DeletePoints { ids: ids.clone() }),
            UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set(Some("a.b[0]")))),
            UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set(None))),
            UpdateOperation::PayloadOperation(PayloadOps::OverwritePayload(set(None))),
            UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(DeletePayloadOp {
                keys: vec!["a.b".try_into().unwrap(), "c".try_into().unwrap()],
                points: Some(ids),
                filter: None,
            })),
            UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(CreateIndex {
                field_name: "user".try_into().unwrap(),
                field_schema: Some(PayloadFieldSchema::FieldType(PayloadSchemaType::Keyword)),
            })),
        ]
    }

    #[test]
    fn every_kind_of_operation_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, nothing) = Journal::open(&path).unwrap();
        assert!(nothing.is_empty());
        for operation in every_kind() {
            journal.append(&operation).unwrap();
        }
        let (journal, read) = Journal::open(&path).unwrap();
        assert_eq!(read, every_kind());
        assert_eq!(journal.entries(), read.len());
    }

    #[test]
    fn a_torn_tail_is_cut_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let operations = every_kind();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&operations[0]).unwrap();
        let whole = journal.len();
        journal.append(&operations[1]).unwrap();
        for cut in whole..journal.len() {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(cut).unwrap();
            let (mut journal, read) = Journal::open(&path).unwrap();
            assert_eq!(read, operations[..1]);
            assert_eq!(journal.len(), whole);
            journal.append(&operations[1]).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1, operations[..2]);
        }
    }

    #[test]
    fn the_newest_entry_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let operations = every_kind();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&operations[0]).unwrap();
        let mark = journal.len();
        journal.append(&operations[1]).unwrap();
        journal.take_back(mark).unwrap();
        journal.append(&operations[2]).unwrap();
        let (mut journal, read) = Journal::open(&path).unwrap();
        assert_eq!(read, [operations[0].clone(), operations[2].clone()]);
        journal.clear().unwrap();
        assert!(Journal::open(&path).unwrap().1.is_empty());
    }
}
