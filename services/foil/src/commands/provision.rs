//! `foil provision`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use foil_store::StoreError;
use foil_store::provision::{ProvisionReport, provision};

use crate::cli::{Global, ProvisionArgs};
use crate::out;
use crate::session::Session;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Creates what is missing, once the servers are there.
///
/// # Errors
/// When a server does not answer in time, or something stands in the way.
pub async fn run(global: &Global, args: &ProvisionArgs) -> Result<ExitCode> {
    let session = Session::open_within(global, args.wait).await?;
    let report = within(&session, args.wait).await?;
    if session.json {
        session.print_json(&report)?;
    } else {
        out::text(&report.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries until it works, fails for good, or `wait` is over: what was done stays, and a further try
/// goes on from there.
async fn within(session: &Session, wait: Duration) -> Result<ProvisionReport, StoreError> {
    let end = Instant::now() + wait;
    let mut told = false;
    loop {
        let error = match provision(&session.store, &session.config.provision).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        // A right that is missing does not come by waiting.
        let may_pass = error.is_transient() && !matches!(error, StoreError::Denied { .. });
        let left = end.saturating_duration_since(Instant::now());
        if !may_pass || left.is_zero() {
            return Err(error);
        }
        if !told {
            note!("foil: {error}; waiting");
            told = true;
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ingest::tests::{provisioned, unprovisioned};

    #[tokio::test]
    async fn it_waits_for_a_qdrant_that_is_away_and_no_longer_than_told() {
        let test = unprovisioned().await;
        let started = Instant::now();
        let failed = within(&test.session, Duration::ZERO).await;
        assert!(failed.is_err_and(|error| error.is_transient()));
        let once = started.elapsed();
        let started = Instant::now();
        let failed = within(&test.session, Duration::from_millis(1_200)).await;
        assert!(failed.is_err());
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(1_200), "{took:?}");
        assert!(took < once + Duration::from_secs(20), "{took:?}");
    }

    #[tokio::test]
    async fn what_is_there_already_is_no_wait() {
        let test = provisioned().await;
        let report = within(&test.session, Duration::from_secs(60)).await;
        let report = report.expect("provisioned");
        assert_eq!(report.count(foil_store::provision::Change::Created), 0);
    }
}
