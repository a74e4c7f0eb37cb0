//! Whether Qdrant has room to write. One with a full disk answers every read, so whoever asks it only
//! whether it is there takes up work that it cannot store.

use std::sync::atomic::{AtomicBool, Ordering};

use tonic::{Code, Status};

/// Doubted from a refusal for want of room until a write succeeds.
#[derive(Debug, Default)]
pub(crate) struct Room {
    doubted: AtomicBool,
}

impl Room {
    /// Looks at why a call failed.
    pub(crate) fn note(&self, status: &Status) {
        // The embedded Qdrant has a code for it; Qdrant itself says it in words only.
        let full = status.code() == Code::ResourceExhausted
            || status
                .message()
                .to_ascii_lowercase()
                .contains("no space left");
        if full {
            self.doubted.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// A write succeeded.
    pub(crate) fn found(&self) {
        self.doubted.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_a_full_disk() {
        let full = [
            Status::resource_exhausted("data directory: the disk is full"),
            Status::internal(
                "Service internal error: No space left on device: WAL buffer size exceeds \
                 available disk space",
            ),
        ];
        for status in full {
            let room = Room::default();
            room.note(&status);
            assert!(room.is_doubted(), "{status}");
            room.found();
            assert!(!room.is_doubted());
        }
        for status in [Status::internal("else"), Status::unavailable("away")] {
            let room = Room::default();
            room.note(&status);
            assert!(!room.is_doubted(), "{status}");
        }
    }
}
