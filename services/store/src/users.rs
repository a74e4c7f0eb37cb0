//! Users: who opted out of serving as a peer, and who was erased.
//!
//! A choice and an erasure are two points, each under its own fence, so that neither overwrites the
//! other; a whole tenant's erasure is a third. None of them names a user: their ids are hashes, which
//! is enough to find them by, and what stays of an erased user is no more than that.

use std::collections::HashMap;

use foil_proto::names::collection::{RECORDS, USERS};
use uuid::Uuid;

use crate::check_input::check_keys;
use crate::db::{PAGE, Part, endless, has_ids, of_tenant, pages};
use crate::fence::{REVISION, SEQUENCE};
use crate::ids::{erasure_id, opt_out_id, tenant_erasure_id};
use crate::model::{Erasure, OptedOut, UserState, Written};
use crate::point::{Fields, Point, field};
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
        check_keys(tenant, None, None)?;
        let mut owners = HashMap::with_capacity(2 * users.len());
        let mut states = HashMap::with_capacity(users.len());
        for user in users {
            check_keys(tenant, Some(user), None)?;
            owners.insert(opt_out_id(tenant, user), *user);
            owners.insert(erasure_id(tenant, user), *user);
            states.insert((*user).to_owned(), UserState::default());
        }
        let of_tenant = tenant_erasure_id(tenant);
        let ids: Vec<Uuid> = owners.keys().copied().chain([of_tenant]).collect();
        for point in self.db().get(USERS, tenant, &ids, Part::Payload).await? {
            if point.id == of_tenant {
                let erasure = erasure(&point)?;
                states.values_mut().for_each(|state| state.erase(erasure));
                continue;
            }
            let owner = owners.get(&point.id);
            let state = owner.and_then(|user| states.get_mut(*user));
            let Some(state) = state else {
                return Err(point.corrupt("id", "was not asked for"));
            };
            match point.opt_bool(field::OPTED_OUT)? {
                Some(opted_out) => {
                    state.opted_out = opted_out;
                    state.opt_out_revision = REVISION.read(&point)?;
                }
                None => state.erase(erasure(&point)?),
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

    /// Remembers that everything of a user, or of the tenant where none is named, is erased.
    pub(crate) async fn put_erasure(
        &self,
        tenant: &str,
        user: Option<&str>,
        erasure: Erasure,
    ) -> Result<(), StoreError> {
        let id = match user {
            Some(user) => erasure_id(tenant, user),
            None => tenant_erasure_id(tenant),
        };
        let mut fields = Fields::default()
            .with(field::TENANT, tenant)
            .with(field::ERASED_AT, erasure.at_ms);
        SEQUENCE.write(&mut fields, erasure.sequence);
        let replaces = SEQUENCE.is_below(erasure.sequence);
        self.db()
            .upsert(USERS, tenant, id, NO_VECTOR.to_vec(), fields, replaces)
            .await
    }

    /// Sequence of the tenant's latest erasure; 0: none.
    pub(crate) async fn tenant_erased(&self, tenant: &str) -> Result<u64, StoreError> {
        let id = tenant_erasure_id(tenant);
        let point = self.db().get_one(USERS, tenant, id, Part::Payload).await?;
        point.map_or(Ok(0), |point| SEQUENCE.read(&point))
    }

    /// Removes what the tenant's erasure stands for from now on: the erasures of its users up to it.
    pub(crate) async fn fold_erasures(
        &self,
        tenant: &str,
        sequence: u64,
    ) -> Result<(), StoreError> {
        let mut these = of_tenant(tenant, [SEQUENCE.is_at_most(sequence)]);
        these.must_not.push(has_ids(&[tenant_erasure_id(tenant)]));
        self.db().delete(USERS, these).await
    }
}

fn erasure(point: &Point) -> Result<Erasure, StoreError> {
    Ok(Erasure {
        sequence: SEQUENCE.read(point)?,
        at_ms: point.opt_int(field::ERASED_AT)?.unwrap_or(0),
    })
}
