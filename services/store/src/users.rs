//! Users: who opted out of serving as a peer, and who was erased.
//!
//! A choice and an erasure are two points, each under its own fence, so that neither overwrites the
//! other. The erasure's point names no user: its id is a hash, which is enough to find it by.

use std::collections::HashMap;

use foil_proto::names::collection::{RECORDS, USERS};
use uuid::Uuid;

use crate::check_input::check_keys;
use crate::db::{PAGE, Part, endless, is, of_tenant, pages};
use crate::fence::{REVISION, SEQUENCE};
use crate::ids::{erasure_id, opt_out_id};
use crate::model::{OptedOut, UserState, Written};
use crate::point::{Fields, field};
use crate::records::of_user;
use crate::store::NO_VECTOR;
use crate::{Store, StoreError};

/// How often the records are flagged again because the choice changed meanwhile.
const SETTLE_ROUNDS: usize = 16;

impl Store {
    /// What is known of a user beside their records.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn user_state(&self, tenant: &str, user: &str) -> Result<UserState, StoreError> {
        let states = self.user_states(tenant, &[user]).await?;
        Ok(states.get(user).copied().unwrap_or_default())
    }

    /// The same of many users; each of them is in the answer.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn user_states(
        &self,
        tenant: &str,
        users: &[&str],
    ) -> Result<HashMap<String, UserState>, StoreError> {
        let mut owners = HashMap::with_capacity(2 * users.len());
        let mut states = HashMap::with_capacity(users.len());
        for user in users {
            check_keys(tenant, Some(user), None)?;
            owners.insert(opt_out_id(tenant, user), *user);
            owners.insert(erasure_id(tenant, user), *user);
            states.insert((*user).to_owned(), UserState::default());
        }
        let ids: Vec<Uuid> = owners.keys().copied().collect();
        for point in self.db().get(USERS, tenant, &ids, Part::Payload).await? {
            let owner = owners.get(&point.id);
            let state = owner.and_then(|user| states.get_mut(*user));
            let Some(state) = state else {
                return Err(point.corrupt(field::USER, "was not asked for"));
            };
            match point.opt_bool(field::OPTED_OUT)? {
                Some(opted_out) => {
                    state.opted_out = opted_out;
                    state.opt_out_revision = REVISION.read(&point)?;
                }
                None => state.erased_sequence = SEQUENCE.read(&point)?,
            }
        }
        Ok(states)
    }

    /// Stores whether a user's texts may serve to compare others with, unless a newer choice stands
    /// there, and flags the user's records with it. Opting out drops the differences that rest on
    /// them. Of two different choices under one revision the first to arrive stays.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn put_opt_out(
        &self,
        tenant: &str,
        user: &str,
        opted_out: bool,
        revision: u64,
    ) -> Result<OptedOut, StoreError> {
        check_keys(tenant, Some(user), None)?;
        let id = opt_out_id(tenant, user);
        let write = Uuid::new_v4().to_string();
        let mut fields = Fields::default()
            .with(field::TENANT, tenant)
            .with(field::USER, user)
            .with(field::OPTED_OUT, opted_out)
            .with(field::WRITE, write.as_str());
        REVISION.write(&mut fields, revision);
        let replaces = REVISION.is_below(revision);
        self.db()
            .upsert(USERS, tenant, id, NO_VECTOR.to_vec(), fields, replaces)
            .await?;
        let point = self.db().get_one(USERS, tenant, id, Part::Payload).await?;
        let Some(point) = point else {
            return Err(StoreError::Unavailable {
                operation: "get",
                cause: "the read lags behind the write".to_owned(),
            });
        };
        let stored = (point.bool(field::OPTED_OUT)?, REVISION.read(&point)?);
        let written = if point.opt_str(field::WRITE)? == Some(&write) {
            Written::Stored
        } else if stored == (opted_out, revision) {
            Written::Same
        } else {
            Written::Stale
        };
        // Whoever wrote the newer choice flags the records; here that would only be done twice.
        if written == Written::Stale || !self.flag_records(tenant, user).await? {
            let recompare = Vec::new();
            return Ok(OptedOut { written, recompare });
        }
        let cause = format!("opt-out:{id}");
        self.clear_using_user(tenant, user, &cause).await?;
        let recompare = self.cleared_by(tenant, &cause).await?;
        Ok(OptedOut { written, recompare })
    }

    /// Flags the user's records with the choice that stands, until it stands still: of two that run
    /// at once, whoever flags last looks again after it. Gives that choice.
    async fn flag_records(&self, tenant: &str, user: &str) -> Result<bool, StoreError> {
        let mut state = self.user_state(tenant, user).await?;
        for _ in 0..SETTLE_ROUNDS {
            let fields = Fields::default().with(field::OPTED_OUT, state.opted_out);
            self.db()
                .set_payload(RECORDS, of_user(tenant, user), fields)
                .await?;
            let now = self.user_state(tenant, user).await?;
            if now.opted_out == state.opted_out {
                return Ok(now.opted_out);
            }
            state = now;
        }
        Err(endless("settle opt-out"))
    }

    async fn clear_using_user(
        &self,
        tenant: &str,
        user: &str,
        cause: &str,
    ) -> Result<(), StoreError> {
        let mut from = None;
        for _ in pages() {
            let filter = of_user(tenant, user);
            let (points, next) = self
                .db()
                .page(RECORDS, tenant, filter, Part::Fields(&[]), (from, PAGE))
                .await?;
            let ids: Vec<Uuid> = points.iter().map(|point| point.id).collect();
            self.clear_using(tenant, &ids, cause).await?;
            if next.is_none() {
                return Ok(());
            }
            from = next;
        }
        Err(endless("user's records"))
    }

    /// Remembers that everything of the user up to `sequence` is erased.
    pub(crate) async fn put_erasure(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
    ) -> Result<(), StoreError> {
        let id = erasure_id(tenant, user);
        let mut fields = Fields::default().with(field::TENANT, tenant);
        SEQUENCE.write(&mut fields, sequence);
        let replaces = SEQUENCE.is_below(sequence);
        self.db()
            .upsert(USERS, tenant, id, NO_VECTOR.to_vec(), fields, replaces)
            .await
    }

    /// Up to a page of the user's points up to `sequence`, tombstones among them.
    pub(crate) async fn erasable(
        &self,
        tenant: &str,
        user: &str,
        sequence: u64,
    ) -> Result<Vec<crate::point::Point>, StoreError> {
        let user = is(field::USER, user);
        let filter = of_tenant(tenant, [user, SEQUENCE.is_at_most(sequence)]);
        let part = Part::Fields(&[field::DELETED]);
        let (points, _) = self
            .db()
            .page(RECORDS, tenant, filter, part, (None, PAGE))
            .await?;
        Ok(points)
    }
}
