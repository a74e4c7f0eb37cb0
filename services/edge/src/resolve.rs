//! From what a call asks for to what is done: filters and conditions become the points that they
//! match at that moment. Done again later, against a newer state, they would match others.

use std::collections::HashSet;

use qdrant_edge::{
    Condition, ConditionalInsertOperation, EdgeShard, Filter, HasIdCondition, OperationResult,
    PayloadOps, PointId, PointOperations, ScrollRequest, SetPayloadOp, UpdateMode, UpdateOperation,
    WithPayloadInterface, WithVector,
};

/// Only the writer may call it: nothing changes between this and the operation itself.
pub(crate) fn resolve(
    shard: &EdgeShard,
    operation: UpdateOperation,
) -> OperationResult<UpdateOperation> {
    use UpdateOperation as U;
    Ok(match operation {
        U::PointOperation(PointOperations::UpsertPointsConditional(upsert)) => {
            U::PointOperation(conditional(shard, upsert)?)
        }
        U::PointOperation(PointOperations::DeletePointsByFilter(filter)) => {
            let ids = all_matching(shard, filter)?;
            U::PointOperation(PointOperations::DeletePoints { ids })
        }
        U::PayloadOperation(PayloadOps::SetPayload(set)) => {
            U::PayloadOperation(PayloadOps::SetPayload(by_ids(shard, set)?))
        }
        U::PayloadOperation(PayloadOps::OverwritePayload(set)) => {
            U::PayloadOperation(PayloadOps::OverwritePayload(by_ids(shard, set)?))
        }
        U::PayloadOperation(PayloadOps::DeletePayload(mut delete)) => {
            if let Some(filter) = delete.filter.take() {
                delete.points = Some(all_matching(shard, filter)?);
            }
            U::PayloadOperation(PayloadOps::DeletePayload(delete))
        }
        other => other,
    })
}

/// An existing point is overwritten only where it matches the condition; a missing one is inserted.
fn conditional(
    shard: &EdgeShard,
    upsert: ConditionalInsertOperation,
) -> OperationResult<PointOperations> {
    let ConditionalInsertOperation {
        mut points_op,
        condition,
        update_mode,
    } = upsert;
    let mode = update_mode.unwrap_or_default();
    let ids = points_op.point_ids();
    let existing = match mode {
        UpdateMode::Upsert => HashSet::new(),
        UpdateMode::InsertOnly | UpdateMode::UpdateOnly => existing(shard, &ids)?,
    };
    let fenced: HashSet<PointId> = match mode {
        UpdateMode::InsertOnly => HashSet::new(),
        UpdateMode::Upsert | UpdateMode::UpdateOnly => {
            let most = ids.len();
            let filter = Filter {
                must: Some(vec![Condition::HasId(HasIdCondition::from_iter(ids))]),
                must_not: Some(vec![Condition::Filter(condition)]),
                ..Default::default()
            };
            matching(shard, filter, most)?.into_iter().collect()
        }
    };
    points_op.retain_point_ids(|id| match mode {
        UpdateMode::Upsert => !fenced.contains(id),
        UpdateMode::InsertOnly => !existing.contains(id),
        UpdateMode::UpdateOnly => existing.contains(id) && !fenced.contains(id),
    });
    Ok(PointOperations::UpsertPoints(points_op))
}

fn by_ids(shard: &EdgeShard, mut set: SetPayloadOp) -> OperationResult<SetPayloadOp> {
    if let Some(filter) = set.filter.take() {
        set.points = Some(all_matching(shard, filter)?);
    }
    Ok(set)
}

fn existing(shard: &EdgeShard, ids: &[PointId]) -> OperationResult<HashSet<PointId>> {
    let nothing = WithPayloadInterface::Bool(false);
    let found = shard.retrieve(ids, Some(nothing), Some(WithVector::Bool(false)))?;
    Ok(found.into_iter().map(|record| record.id).collect())
}

fn all_matching(shard: &EdgeShard, filter: Filter) -> OperationResult<Vec<PointId>> {
    matching(shard, filter, shard.info().points_count)
}

fn matching(shard: &EdgeShard, filter: Filter, most: usize) -> OperationResult<Vec<PointId>> {
    let all = ScrollRequest {
        offset: None,
        limit: Some(most.max(1)),
        filter: Some(filter),
        with_payload: Some(WithPayloadInterface::Bool(false)),
        with_vector: WithVector::Bool(false),
        order_by: None,
    };
    let (records, _) = shard.scroll(all)?;
    Ok(records.into_iter().map(|record| record.id).collect())
}

/// Whether the operation, resolved, may leave dead bytes behind: it takes away or replaces something
/// that is there.
pub(crate) fn removes(shard: &EdgeShard, operation: &UpdateOperation) -> OperationResult<bool> {
    use UpdateOperation as U;
    let ids = match operation {
        U::PointOperation(PointOperations::UpsertPoints(points)) => points.point_ids(),
        U::PointOperation(PointOperations::DeletePoints { ids }) => ids.clone(),
        U::FieldIndexOperation(_) => return Ok(false),
        // A payload set on points that are there; whatever else there may be.
        _ => return Ok(true),
    };
    Ok(!existing(shard, &ids)?.is_empty())
}
