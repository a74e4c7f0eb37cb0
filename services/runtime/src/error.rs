//! What a failed attempt means. Classification is an act: nothing converts into [`StageError`]
//! silently, so a bare `?` on a foreign error does not compile.

use std::time::Duration;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an input never will work. The only error text that may stand in metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not the message it should be: truncated, or of another type.
    Undecodable,
    /// A field is missing, out of range or too long.
    Invalid,
    /// The engine keeps giving output that does not satisfy the schema.
    BadOutput,
    /// All attempts failed.
    Exhausted,
    /// Delivered too often without a verdict: it kills the process, or hangs it.
    Poison,
    /// NATS itself gave it up: no worker ever came to the check for [`Reason::Poison`].
    GivenUp,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Undecodable,
        Self::Invalid,
        Self::BadOutput,
        Self::Exhausted,
        Self::Poison,
        Self::GivenUp,
    ];

    /// As in headers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
            Self::BadOutput => "bad_output",
            Self::Exhausted => "exhausted",
            Self::Poison => "poison",
            Self::GivenUp => "given_up",
        }
    }
}

/// What to do with a failed attempt.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// May succeed later; `after` overrides the backoff.
    #[error("{cause}")]
    Retry {
        after: Option<Duration>,
        #[source]
        cause: BoxError,
    },
    /// The attempt got on and ran out of time: the next one, after `after`, goes on from there. It does
    /// not count towards the input's limit; NATS's own, `provision.max_deliver`, is the end.
    #[error("{cause}")]
    Unfinished {
        after: Duration,
        #[source]
        cause: BoxError,
    },
    /// This input never will work.
    #[error("{cause}")]
    Reject {
        reason: Reason,
        #[source]
        cause: BoxError,
    },
    /// This process cannot serve.
    #[error("{cause}")]
    Fatal {
        #[source]
        cause: BoxError,
    },
}

/// Classifies an error where it is understood.
pub trait Classify<T> {
    /// May succeed later.
    fn retry(self) -> Result<T, StageError>;
    /// May succeed after `after`.
    fn retry_after(self, after: Duration) -> Result<T, StageError>;
    /// Never will work.
    fn reject(self, reason: Reason) -> Result<T, StageError>;
    /// This process cannot serve.
    fn fatal(self) -> Result<T, StageError>;
}

impl<T, E: Into<BoxError>> Classify<T> for Result<T, E> {
    fn retry(self) -> Result<T, StageError> {
        self.map_err(|cause| StageError::Retry {
            after: None,
            cause: cause.into(),
        })
    }
    fn retry_after(self, after: Duration) -> Result<T, StageError> {
        self.map_err(|cause| StageError::Retry {
            after: Some(after),
            cause: cause.into(),
        })
    }
    fn reject(self, reason: Reason) -> Result<T, StageError> {
        self.map_err(|cause| StageError::Reject {
            reason,
            cause: cause.into(),
        })
    }
    fn fatal(self) -> Result<T, StageError> {
        self.map_err(|cause| StageError::Fatal {
            cause: cause.into(),
        })
    }
}
