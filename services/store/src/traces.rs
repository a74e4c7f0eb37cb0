//! What erased users, records and tenants leave in streams.
//!
//! A purge forgets where messages are, but their bytes stay in the server's files until a file is
//! rewritten or removed. Deleting one message by its sequence overwrites it where it lies. So
//! whatever may hold a user's text is deleted one by one; what holds keys alone is purged.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::PurgeErrorKind;
use foil_proto::names::{event, stream, subject};
use foil_proto::token::encode;

use crate::doomed::{Doomed, User};
use crate::model::{Erasure, RecordKey};
use crate::progress::Progress;
use crate::wipe::{overwrite, unavailable};
use crate::{Store, StoreError};

/// Events of a user beside the receipts of their erasures, which stay: they hold counts alone, and
/// a repeated attempt must not remove its own.
const USER_EVENTS: [&str; 4] = [
    event::PROFILE_UPDATED,
    event::DIFFERENCE_STORED,
    event::RECORD_ERASED,
    event::DEAD,
];

impl Store {
    /// Removes an update from FOIL_UPDATES because what it is about is erased. It may come back
    /// there, as a restore publishes it again.
    ///
    /// # Errors
    /// From NATS.
    pub async fn forget_update(&self, sequence: u64) -> Result<(), StoreError> {
        let updates = self.stream(stream::UPDATES).await?;
        overwrite(&updates, sequence).await.map(drop)
    }

    /// Of the log and of its dead letters what came before the erasing message or was written before it.
    pub(crate) async fn erase_traces_of_user(
        &self,
        tenant: &str,
        user: &str,
        erasure: Erasure,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        for kind in USER_EVENTS {
            let of_kind = subject::event(kind, tenant, user);
            progress.purged.events += self.purge(stream::EVENTS, of_kind).await?;
        }
        let updates = subject::update(tenant, user);
        let user_keys = User::new(tenant, user);
        progress.purged.queued += self
            .purge_work(&[
                (
                    stream::EXTRACT,
                    below(subject::EXTRACT_ALL, user_keys.token()),
                ),
                (stream::PROFILE, subject::profile_schedule(tenant, user)),
                (stream::PROFILE, subject::profile(tenant, user)),
            ])
            .await?;
        self.wipe(
            stream::UPDATES,
            &updates,
            &Doomed::Update(erasure),
            progress,
        )
        .await?;
        let letters = Doomed::LetterOfUser(&user_keys, erasure);
        self.wipe(stream::DEAD, &dead_of(tenant), &letters, progress)
            .await
    }

    /// Its texts up to `revision`.
    pub(crate) async fn erase_traces_of_record(
        &self,
        key: &RecordKey,
        revision: u64,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let (tenant, user) = (key.tenant.as_str(), key.user.as_str());
        let updates = subject::update(tenant, user);
        let extract = subject::extract(tenant, user, &key.item);
        progress.purged.queued += self.purge_work(&[(stream::EXTRACT, extract)]).await?;
        let texts = Doomed::TextOf(key, revision);
        self.wipe(stream::UPDATES, &updates, &texts, progress)
            .await?;
        let letters = Doomed::LetterOfRecord(key, revision);
        self.wipe(stream::DEAD, &dead_of(tenant), &letters, progress)
            .await
    }

    /// Of the log and of its dead letters what came before the erasing message or was written before
    /// it; of the rest everything but the tenant's receipts.
    pub(crate) async fn erase_traces_of_tenant(
        &self,
        tenant: &str,
        erasure: Erasure,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let token = encode(tenant);
        for kind in USER_EVENTS.into_iter().chain([event::USER_ERASED]) {
            let of_kind = below(subject::EVENT_ALL, &format!("{kind}.{token}"));
            progress.purged.events += self.purge(stream::EVENTS, of_kind).await?;
        }
        let keys = [
            (stream::SELECT, subject::SELECT_ALL),
            (stream::EXTRACT, subject::EXTRACT_ALL),
            (stream::PROFILE, subject::PROFILE_SCHEDULE_ALL),
            (stream::PROFILE, subject::PROFILE_ALL),
        ]
        .map(|(stream, all)| (stream, below(all, &token)));
        progress.purged.queued += self.purge_work(&keys).await?;
        // A request may hold what its caller wrote.
        let requests = below(subject::GENERATE_ALL, &token);
        self.wipe(stream::GENERATE, &requests, &Doomed::All, progress)
            .await?;
        let updates = below(subject::UPDATE_ALL, &token);
        self.wipe(
            stream::UPDATES,
            &updates,
            &Doomed::Update(erasure),
            progress,
        )
        .await?;
        let letters = Doomed::LetterOfTenant(erasure);
        self.wipe(stream::DEAD, &dead_of(tenant), &letters, progress)
            .await
    }

    async fn purge_work(&self, queues: &[(&'static str, String)]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for (stream, filter) in queues {
            removed += self.purge(stream, filter.clone()).await?;
        }
        Ok(removed)
    }

    async fn purge(&self, name: &'static str, filter: String) -> Result<u64, StoreError> {
        let stream = self.stream(name).await?;
        let answer = stream.purge().filter(filter).await;
        let answer = answer.map_err(|error| match error.kind() {
            PurgeErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                StoreError::NotProvisioned {
                    what: format!("stream {name}"),
                }
            }
            _ => unavailable("purge", &error),
        })?;
        Ok(answer.purged)
    }
}

/// `foil.v1.kind.>` with `tokens` before the `>`.
fn below(all: &str, tokens: &str) -> String {
    all.replace('>', &format!("{tokens}.>"))
}

/// Dead letters stand under stage and tenant.
fn dead_of(tenant: &str) -> String {
    subject::DEAD_ALL.replace('>', &format!("*.{}", encode(tenant)))
}
