//! What keeps the server from starting, and how the engine's errors become gRPC statuses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use qdrant_edge::OperationError;
use tonic::Status;

/// Why [`crate::start`] failed.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("data directory {} is held by another process", .0.display())]
    Held(PathBuf),
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was done, as in "cannot create".
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the certificate {} and its key cannot be served: {problem}", .certificate.display())]
    Tls {
        certificate: PathBuf,
        problem: String,
    },
    #[error("collection `{name}` cannot be opened: {problem}")]
    Collection { name: String, problem: String },
}

impl EdgeError {
    pub(crate) fn io(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Whether the engine refuses further writes after this error until it is reopened.
pub(crate) fn breaks_the_shard(error: &OperationError) -> bool {
    use OperationError as E;
    matches!(
        error,
        E::ServiceError { .. }
            | E::InconsistentStorage { .. }
            | E::OutOfMemory { .. }
            | E::Cancelled { .. }
            | E::Timeout { .. }
    )
}

/// The status a Qdrant server gives for the same error.
pub(crate) fn status(error: &OperationError) -> Status {
    use OperationError as E;
    match error {
        // The description is all: a backtrace comes beside it.
        E::ServiceError { description, .. } => Status::internal(description.clone()),
        E::InconsistentStorage { .. } | E::Cancelled { .. } => Status::internal(error.to_string()),
        E::OutOfMemory { .. } => Status::resource_exhausted(error.to_string()),
        E::Timeout { .. } => Status::deadline_exceeded(error.to_string()),
        E::PointIdError { .. } => Status::not_found(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// `INVALID_ARGUMENT` that names the field.
pub(crate) fn invalid(field: &str, problem: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {problem}"))
}
