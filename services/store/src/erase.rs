//! Erasing a user.

use async_nats::jetstream::stream::{DirectGetErrorKind, PurgeErrorKind};
use foil_proto::names::collection::RECORDS;
use foil_proto::names::{header, stream, subject};
use foil_proto::token::encode;
use uuid::Uuid;

use crate::check_input::check_keys;
use crate::db::{endless, has_ids, of_tenant, pages};
use crate::fence::SEQUENCE;
use crate::ids::erasure_id;
use crate::model::Erased;
use crate::point::{Fields, field};
use crate::{Store, StoreError};

/// Most dead letters of a tenant that are looked through.
const DEAD_MAX: usize = 1_000_000;

impl Store {
    /// Removes everything of a user that came up to `sequence` of FOIL_UPDATES: records with text
    /// and vectors, differences, profiles, activity, their messages in the log, the work queues and
    /// the dead letters, and every other user's difference that rests on one of their records.
    ///
    /// What stays is one point of a hash and the sequence, so that a replay brings nothing back, and
    /// the user's own opt-out, which protects whatever they may write later. Repeating the call
    /// finishes what was interrupted; its counts are those of what was left.
    ///
    /// # Errors
    /// From Qdrant or NATS; call it again.
    pub async fn erase_user(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
    ) -> Result<Erased, StoreError> {
        check_keys(tenant, Some(user), None)?;
        // First: from now on no writer that started earlier leaves anything behind.
        self.put_erasure(tenant, user, sequence).await?;
        let cause = format!("erase:{}:{sequence}", erasure_id(tenant, user));
        let records = self.erase_records(tenant, user, sequence, &cause).await?;
        let recompare = self.cleared_by(tenant, &cause).await?;
        let profiles = self.erase_profiles(tenant, user).await?;
        self.forget_active(tenant, user).await?;
        let messages = self.erase_messages(tenant, user, sequence).await?;
        Ok(Erased {
            records,
            profiles,
            differences_of_others: recompare.len() as u64,
            messages,
            recompare,
        })
    }

    async fn erase_records(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
        cause: &str,
    ) -> Result<u64, StoreError> {
        let mut records = 0;
        for _ in pages() {
            let points = self.erasable(tenant, user, sequence).await?;
            if points.is_empty() {
                return Ok(records);
            }
            for point in &points {
                records += u64::from(!point.bool(field::DELETED)?);
            }
            let ids: Vec<Uuid> = points.iter().map(|point| point.id).collect();
            let these = || of_tenant(tenant, [has_ids(&ids), SEQUENCE.is_at_most(sequence)]);
            // Unusable first, then what rests on them, and gone last: interrupted anywhere, the next
            // call still finds the ids.
            let unusable = Fields::default().with(field::OPTED_OUT, true);
            self.db().set_payload(RECORDS, these(), unusable).await?;
            self.clear_using(tenant, &ids, cause).await?;
            self.db().delete(RECORDS, these()).await?;
        }
        Err(endless("erase records"))
    }

    async fn erase_messages(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
    ) -> Result<u64, StoreError> {
        let of_user = format!("{}.{}", encode(tenant), encode(user));
        // Up to the erasing message, which is still being worked on.
        let mut removed = self
            .purge(
                stream::UPDATES,
                subject::update(tenant, user),
                Some(sequence),
            )
            .await?;
        let extracts = subject::EXTRACT_ALL.replace('>', &format!("{of_user}.>"));
        removed += self.purge(stream::EXTRACT, extracts, None).await?;
        for work in [
            subject::profile_schedule(tenant, user),
            subject::profile(tenant, user),
        ] {
            removed += self.purge(stream::PROFILE, work, None).await?;
        }
        removed += self.erase_dead(tenant, &of_user).await?;
        Ok(removed)
    }

    async fn purge(
        &self,
        name: &'static str,
        subject: String,
        before: Option<u64>,
    ) -> Result<u64, StoreError> {
        let stream = self.stream(name).await?;
        let purge = stream.purge().filter(subject);
        let answer = match before {
            Some(sequence) => purge.sequence(sequence).await,
            None => purge.await,
        };
        let answer = answer.map_err(|error| match error.kind() {
            PurgeErrorKind::JetStream(cause)
                if cause.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND =>
            {
                StoreError::NotProvisioned {
                    what: format!("stream {name}"),
                }
            }
            _ => StoreError::Unavailable {
                operation: "purge",
                cause: error.to_string(),
            },
        })?;
        Ok(answer.purged)
    }

    /// Dead letters stand under stage and tenant, so the user's are told by their original subject.
    async fn erase_dead(&self, tenant: &str, of_user: &str) -> Result<u64, StoreError> {
        let stream = self.stream(stream::DEAD).await?;
        let dead = subject::DEAD_ALL.replace('>', &format!("*.{}", encode(tenant)));
        let mut removed = 0;
        let mut next = 1;
        for _ in 0..DEAD_MAX {
            let found = stream.direct_get_next_for_subject(&dead, Some(next)).await;
            let message = match found {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(removed),
                Err(error) => {
                    return Err(StoreError::Unavailable {
                        operation: "read dead letters",
                        cause: error.to_string(),
                    });
                }
            };
            let original = message.headers.get(header::DEAD_SUBJECT);
            if original.is_some_and(|subject| names_user(subject.as_str(), of_user)) {
                let deleted = stream.delete_message(message.sequence).await;
                deleted.map_err(|error| StoreError::Unavailable {
                    operation: "delete dead letter",
                    cause: error.to_string(),
                })?;
                removed += 1;
            }
            next = message.sequence + 1;
        }
        Err(endless("dead letters"))
    }
}

/// Whether `foil.v1.<kind>.<t>.<u>[.<i>]` is about the user `<t>.<u>`.
fn names_user(subject: &str, of_user: &str) -> bool {
    let kinds = [
        subject::UPDATE_ALL,
        subject::EXTRACT_ALL,
        subject::PROFILE_ALL,
        subject::PROFILE_SCHEDULE_ALL,
    ];
    kinds.iter().any(|all| {
        let rest = subject.strip_prefix(all.trim_end_matches('>'));
        let rest = rest.and_then(|rest| rest.strip_prefix(of_user));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_user_and_no_other() {
        let of_mara = format!("{}.{}", encode("acme"), encode("mara"));
        assert!(names_user(&subject::update("acme", "mara"), &of_mara));
        assert!(names_user(&subject::extract("acme", "mara", "k"), &of_mara));
        assert!(names_user(&subject::profile("acme", "mara"), &of_mara));
        assert!(names_user(
            &subject::profile_schedule("acme", "mara"),
            &of_mara
        ));
        assert!(!names_user(&subject::update("acme", "mara2"), &of_mara));
        assert!(!names_user(&subject::update("other", "mara"), &of_mara));
        assert!(!names_user(&subject::select("acme", "mara"), &of_mara));
    }
}
