//! Records, written under the fences of revision, deletion and erasure.

use foil_proto::names::collection::RECORDS;
use qdrant_client::qdrant::{Condition, Filter, Range};
use uuid::Uuid;

use crate::check_input::{check_keys, check_record};
use crate::db::{Part, endless, has_ids, of_tenant};
use crate::fence::{REVISION, SEQUENCE};
use crate::links::MadeBy;
use crate::model::{Deleted, Erasure, RecordKey, RecordWrite, UserState, Written};
use crate::point::{Fields, Point, field};
use crate::{Store, StoreError};

/// How often a flag is set again because the choice behind it changed meanwhile.
const SETTLE_ROUNDS: usize = 16;

impl Store {
    /// Stores a record unless a newer revision, its deletion or the user's erasure stands there.
    /// Storing another revision drops the difference. Of two different texts under one revision the
    /// first to arrive stays, and the other is [`Written::Stale`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn put_record(&self, record: &RecordWrite) -> Result<Written, StoreError> {
        check_record(record, self.config().dimension)?;
        let key = &record.key;
        let state = self.user_state(&key.tenant, &key.user).await?;
        if state.refuses(record.sequence, Some(record.occurred_at_ms)) {
            self.drop_erased(key, &state).await?;
            return Ok(Written::Stale);
        }
        let write = Uuid::new_v4().to_string();
        let mut fields = names(key)
            .with(field::TEXT, record.text.as_str())
            .with(field::TITLE, record.title.as_str())
            .with(field::OCCURRED_AT, record.occurred_at_ms)
            .with(field::UPDATED_AT, record.updated_at_ms)
            .with(field::OPTED_OUT, state.opted_out);
        if let Some(rating) = record.rating {
            fields.set(field::RATING, rating);
        }
        let fields = MadeBy::Update.note(fields);
        let point = self
            .replace_record(
                key,
                (record.revision, record.sequence),
                (record.vector.clone(), fields.with(field::DELETED, false)),
                (&write, REVISION.is_below(record.revision)),
            )
            .await?;
        let Some(point) = point else {
            return Ok(Written::Stale); // erased between the write and the read
        };
        let occurred = Some(record.occurred_at_ms);
        let settled = self.settle_user(key, (record.sequence, occurred), &point);
        if settled.await? {
            return Ok(Written::Stale);
        }
        if point.opt_str(field::WRITE)? == Some(&write) {
            return Ok(Written::Stored);
        }
        let stored = REVISION.read(&point)?;
        if stored < record.revision {
            return Err(read_behind());
        }
        let same = stored == record.revision && same_content(&point, record)?;
        Ok(if same { Written::Same } else { Written::Stale })
    }

    /// Deletes a record of this revision or an older one, and drops the differences that used it.
    /// What stays is a tombstone without text, so that an older upsert does not bring it back.
    /// None when nothing follows, because the user was erased.
    ///
    /// A record of a higher revision survives, and all the rest is done still: an attempt that died
    /// half-way may have deleted an older one before the newer came.
    ///
    /// `sequence`: of the deleting message in FOIL_UPDATES.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names the field; others come from Qdrant.
    pub async fn delete_record(
        &self,
        key: &RecordKey,
        revision: u64,
        sequence: u64,
    ) -> Result<Option<Deleted>, StoreError> {
        check_keys(&key.tenant, Some(&key.user), Some(&key.item))?;
        let state = self.user_state(&key.tenant, &key.user).await?;
        if state.refuses(sequence, None) {
            self.drop_erased(key, &state).await?;
            return Ok(None);
        }
        let alive = Condition::matches(field::DELETED, false);
        let replaces = Filter::should([
            REVISION.is_below(revision),
            Filter::must([REVISION.is(revision), alive]).into(),
        ]);
        let write = Uuid::new_v4().to_string();
        let nothing = vec![0.0; self.config().dimension as usize];
        // Nothing shall bring the name of an erased user back, and this may be a message from before.
        let names = match state.erased_sequence {
            0 => names(key),
            _ => Fields::default(),
        };
        let fields = names.with(field::DELETED, true);
        let point = self
            .replace_record(
                key,
                (revision, sequence),
                (nothing, fields),
                (&write, replaces.into()),
            )
            .await?;
        let Some(point) = point else { return Ok(None) };
        let written = match (point.bool(field::DELETED)?, point.opt_str(field::WRITE)?) {
            (false, _) if REVISION.read(&point)? <= revision => return Err(read_behind()),
            (false, _) => Written::Stale,
            (true, Some(stored)) if stored == write => Written::Stored,
            (true, _) => Written::Same,
        };
        // Whoever wrote the newer record settled it.
        if written != Written::Stale && self.settle_user(key, (sequence, None), &point).await? {
            return Ok(None);
        }
        let cause = format!("delete:{}", key.id());
        let recompare = self
            .clear_differences_using(&key.tenant, &[key.id()], &cause)
            .await?;
        Ok(Some(Deleted { written, recompare }))
    }

    /// Conditional write of a record's point; then what stands there.
    pub(crate) async fn replace_record(
        &self,
        key: &RecordKey,
        (revision, sequence): (u64, u64),
        (vector, fields): (Vec<f32>, Fields),
        (write, replaces): (&str, Condition),
    ) -> Result<Option<Point>, StoreError> {
        let mut fields = fields
            .with(field::TENANT, key.tenant.as_str())
            .with(field::WRITE, write);
        REVISION.write(&mut fields, revision);
        SEQUENCE.write(&mut fields, sequence);
        self.db()
            .upsert(RECORDS, &key.tenant, key.id(), vector, fields, replaces)
            .await?;
        let point = self
            .db()
            .get_one(RECORDS, &key.tenant, key.id(), Part::Payload)
            .await?;
        if let Some(point) = &point
            && let Some(user) = point.opt_str(field::USER)?
            && (user, point.str(field::ITEM)?) != (&*key.user, &*key.item)
        {
            return Err(point.corrupt(field::ITEM, "user or item is not the one of this id"));
        }
        Ok(point)
    }

    /// After a write: an erasure or an opt-out that ran between the look at the user and the write
    /// missed this record, so it is applied now. True when the user was erased.
    pub(crate) async fn settle_user(
        &self,
        key: &RecordKey,
        (sequence, occurred_at_ms): (u64, Option<i64>),
        point: &Point,
    ) -> Result<bool, StoreError> {
        let mut flagged = point.opt_bool(field::OPTED_OUT)?;
        for _ in 0..SETTLE_ROUNDS {
            let state = self.user_state(&key.tenant, &key.user).await?;
            if state.refuses(sequence, occurred_at_ms) {
                self.drop_erased(key, &state).await?;
                return Ok(true);
            }
            if flagged.is_none_or(|flag| flag == state.opted_out) {
                return Ok(false);
            }
            let fields = Fields::default().with(field::OPTED_OUT, state.opted_out);
            let alive = Condition::matches(field::DELETED, false);
            let this = of_tenant(&key.tenant, [has_ids(&[key.id()]), alive]);
            self.db().set_payload(RECORDS, this, fields).await?;
            flagged = Some(state.opted_out);
        }
        Err(endless("settle opt-out"))
    }

    async fn drop_erased(&self, key: &RecordKey, state: &UserState) -> Result<(), StoreError> {
        let erasure = Erasure {
            sequence: state.erased_sequence,
            at_ms: state.erased_at_ms,
        };
        let this = of_tenant(&key.tenant, [has_ids(&[key.id()]), erased_by(erasure)]);
        self.db().delete(RECORDS, this).await
    }

    /// Whether a text of this revision must neither be stored nor stay anywhere: its user or tenant
    /// was erased after it, or the record was deleted at this revision or a later one.
    ///
    /// `sequence`: of the update in FOIL_UPDATES; `occurred_at_ms`: when the user wrote it.
    ///
    /// # Errors
    /// From Qdrant, or [`StoreError::Corrupt`].
    pub async fn is_erased(
        &self,
        key: &RecordKey,
        revision: u64,
        (sequence, occurred_at_ms): (u64, i64),
    ) -> Result<bool, StoreError> {
        let state = self.user_state(&key.tenant, &key.user).await?;
        if state.refuses(sequence, Some(occurred_at_ms)) {
            return Ok(true);
        }
        let point = self
            .db()
            .get_one(RECORDS, &key.tenant, key.id(), Part::Payload)
            .await?;
        let Some(point) = point else { return Ok(false) };
        Ok(point.bool(field::DELETED)? && REVISION.read(&point)? >= revision)
    }
}

fn names(key: &RecordKey) -> Fields {
    Fields::default()
        .with(field::USER, key.user.as_str())
        .with(field::ITEM, key.item.as_str())
}

/// What an erasure removes: what came before it, and what was written before it and came later.
#[allow(clippy::cast_precision_loss)] // times stay below 2^53 for 285,000 years
pub(crate) fn erased_by(erasure: Erasure) -> Condition {
    let written_before = Range {
        lte: Some(erasure.at_ms as f64),
        ..Range::default()
    };
    Filter::should([
        SEQUENCE.is_at_most(erasure.sequence),
        Condition::range(field::OCCURRED_AT, written_before),
    ])
    .into()
}

/// A replica that lags: the write was acknowledged, so a later read shows it.
fn read_behind() -> StoreError {
    StoreError::Unavailable {
        operation: "get",
        cause: "the read lags behind the write".to_owned(),
    }
}

fn same_content(point: &Point, record: &RecordWrite) -> Result<bool, StoreError> {
    if point.bool(field::DELETED)? {
        return Ok(false);
    }
    Ok(point.str(field::TEXT)? == record.text
        && point.str(field::TITLE)? == record.title
        && point.opt_float(field::RATING)? == record.rating
        && point.int(field::OCCURRED_AT)? == record.occurred_at_ms)
}
