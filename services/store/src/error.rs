//! What can go wrong with the store.

use std::time::Duration;

use foil_runtime::{Reason, StageError};

/// Nothing failed, so there is nothing to wait for.
const GO_ON_AFTER: Duration = Duration::from_millis(100);

/// Why a call to the store failed. No variant holds a user's text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server does not answer, is overloaded, or timed out; the same call may work later.
    #[error("{operation}: {cause}")]
    Unavailable {
        operation: &'static str,
        cause: String,
    },
    /// The time that was allowed is over. The same call goes on where it was left.
    #[error("{operation}: goes on in the next attempt")]
    Unfinished { operation: &'static str },
    /// `foil provision` has not created it yet.
    #[error("{what} does not exist; run `foil provision`")]
    NotProvisioned { what: String },
    /// The credentials do not allow this call.
    #[error("{operation}: not allowed: {cause}")]
    Denied {
        operation: &'static str,
        cause: String,
    },
    /// The server understood the call and refused it.
    #[error("{operation}: refused: {cause}")]
    Refused {
        operation: &'static str,
        cause: String,
    },
    /// The caller's value cannot be stored.
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
    /// What is stored is not what this version writes.
    #[error("{place}: {field}: {problem}")]
    Corrupt {
        /// Point id or bucket key.
        place: String,
        field: &'static str,
        problem: String,
    },
    /// An answer belongs to another tenant than the one asked for. A bug, or someone wrote past Foil.
    #[error("{place} belongs to another tenant")]
    TenantMismatch {
        /// Point id or bucket key.
        place: String,
    },
    /// What exists is incompatible with what the configuration asks for.
    #[error("{what}: {problem}")]
    Incompatible { what: String, problem: String },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing its input.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Unfinished { .. }
            | Self::NotProvisioned { .. }
            | Self::Denied { .. } => true,
            Self::Refused { .. }
            | Self::Invalid { .. }
            | Self::Corrupt { .. }
            | Self::TenantMismatch { .. }
            | Self::Incompatible { .. } => false,
        }
    }

    /// The usual verdict for a stage: a value that cannot be stored is the input's fault, all else
    /// is retried and dead-lettered after the last attempt; what is unfinished goes on at once.
    pub fn into_stage(self) -> StageError {
        match self {
            Self::Invalid { .. } => StageError::Reject {
                reason: Reason::Invalid,
                cause: Box::new(self),
            },
            Self::Unfinished { .. } => StageError::Unfinished {
                after: GO_ON_AFTER,
                cause: Box::new(self),
            },
            _ => StageError::Retry {
                after: None,
                cause: Box::new(self),
            },
        }
    }
}

/// [`StoreError::into_stage`] on a result. Called by name, so that no error becomes a verdict unseen.
pub trait OrStage<T> {
    /// # Errors
    /// The usual verdict on the store's error.
    fn or_stage(self) -> Result<T, StageError>;
}

impl<T> OrStage<T> for Result<T, StoreError> {
    fn or_stage(self) -> Result<T, StageError> {
        self.map_err(StoreError::into_stage)
    }
}
