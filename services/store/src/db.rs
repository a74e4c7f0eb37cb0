//! Calls to Qdrant: bounded, tenant-filtered, with its errors put into ours.

use std::time::{Duration, Instant};

use foil_proto::names::collection;
use foil_runtime::telemetry::semconv::{ERROR_TYPE, db as semconv};
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    Condition, CountPoints, DeletePoints, Filter, GetPoints, PayloadIncludeSelector, PointId,
    PointStruct, PointsSelector, ReadConsistency, ReadConsistencyType, ScrollPoints,
    SetPayloadPoints, UpsertPoints, WithPayloadSelector, WriteOrdering, WriteOrderingType,
    read_consistency,
};
use tonic::{Code, Response, Status};
use tracing::Instrument;
use tracing::field::Empty;
use uuid::Uuid;

use crate::metrics;
use crate::point::{Fields, Point, field, point_ids};
use crate::qdrant::{Clients, may_be_broken, words};
use crate::room::Room;
use crate::{StoreConfig, StoreError};

/// Most points in one answer.
pub(crate) const PAGE: usize = 256;
/// Most pages of one walk: 16 million points. More is a loop that does not end.
const PAGES_MAX: usize = 65_536;

/// The part of a point to read.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// These payload fields; the tenant always.
    Fields(&'static [&'static str]),
    Payload,
    PayloadAndVector,
}

pub(crate) struct Db {
    clients: Clients,
    /// For errors.
    url: String,
    room: Room,
    timeout: Duration,
    ordering: Option<WriteOrdering>,
    consistency: Option<ReadConsistency>,
}

impl Db {
    pub(crate) fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        let majority = read_consistency::Value::Type(ReadConsistencyType::Majority.into());
        Ok(Self {
            clients: Clients::new(config)?,
            url: config.qdrant_url.clone(),
            room: Room::default(),
            timeout: config.timeout,
            ordering: config.replicated.then(|| WriteOrdering {
                r#type: WriteOrderingType::Strong.into(),
            }),
            consistency: config.replicated.then_some(ReadConsistency {
                value: Some(majority),
            }),
        })
    }

    pub(crate) fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Runs one call with the configured bound; twice, if the connection broke under it: every call
    /// of this crate may be made again.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &'static str,
        collection: &'static str,
        call: impl Fn(Clients) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let span = tracing::info_span!(
            "qdrant",
            otel.name = format_args!("{operation} {collection}"),
            otel.kind = "client",
            otel.status_code = Empty,
            { ERROR_TYPE } = Empty,
            { semconv::SYSTEM_NAME } = semconv::QDRANT,
            { semconv::OPERATION_NAME } = operation,
            { semconv::COLLECTION_NAME } = collection,
        );
        let started = Instant::now();
        let attempts = async {
            match call(self.clients()).await {
                Err(status) if may_be_broken(&status) => call(self.clients()).await,
                answer => answer,
            }
        };
        let attempts = attempts.instrument(span.clone());
        let answer = tokio::time::timeout(self.timeout, attempts).await;
        let outcome = match &answer {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "error",
            Err(_) => "timeout",
        };
        metrics::called(operation, collection, outcome, started.elapsed());
        if outcome != "ok" {
            span.record("otel.status_code", "ERROR");
            span.record(ERROR_TYPE, outcome);
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => {
                self.room.note(&status);
                let cause = words(&status, &self.url);
                Err(failed(operation, collection, (&status, cause)))
            }
            Err(_) => Err(StoreError::Unavailable {
                operation,
                cause: format!(
                    "qdrant did not answer within {:?} (store.qdrant_url: {})",
                    self.timeout, self.url
                ),
            }),
        }
    }

    /// After a refusal for want of room: writes nothing, to see whether there is some again.
    pub(crate) async fn check_room(&self) -> Result<(), StoreError> {
        if self.room.is_doubted() {
            let nothing = Filter::must([has_ids(&[Uuid::nil()])]);
            self.delete(collection::USERS, nothing).await?;
            self.room.found();
        }
        Ok(())
    }

    /// Writes the point if none is there, or if the one there belongs to the tenant and satisfies
    /// `replaces`.
    pub(crate) async fn upsert(
        &self,
        collection: &'static str,
        tenant: &str,
        id: Uuid,
        vector: Vec<f32>,
        fields: Fields,
        replaces: Condition,
    ) -> Result<(), StoreError> {
        let call = UpsertPoints {
            collection_name: collection.to_owned(),
            wait: Some(true),
            points: vec![PointStruct::new(id, vector, fields.into_map())],
            ordering: self.ordering,
            update_filter: Some(of_tenant(tenant, [replaces])),
            ..UpsertPoints::default()
        };
        self.call("upsert", collection, |mut clients: Clients| {
            let call = call.clone();
            async move { clients.points.upsert(call).await }
        })
        .await
        .map(drop)
    }

    pub(crate) async fn set_payload(
        &self,
        collection: &'static str,
        filter: Filter,
        fields: Fields,
    ) -> Result<(), StoreError> {
        let call = SetPayloadPoints {
            collection_name: collection.to_owned(),
            wait: Some(true),
            payload: fields.into_map(),
            points_selector: Some(selector(filter)),
            ordering: self.ordering,
            ..SetPayloadPoints::default()
        };
        self.call("set_payload", collection, |mut clients: Clients| {
            let call = call.clone();
            async move { clients.points.set_payload(call).await }
        })
        .await
        .map(drop)
    }

    pub(crate) async fn delete(
        &self,
        collection: &'static str,
        filter: Filter,
    ) -> Result<(), StoreError> {
        let call = DeletePoints {
            collection_name: collection.to_owned(),
            wait: Some(true),
            points: Some(selector(filter)),
            ordering: self.ordering,
            ..DeletePoints::default()
        };
        self.call("delete", collection, |mut clients: Clients| {
            let call = call.clone();
            async move { clients.points.delete(call).await }
        })
        .await
        .map(drop)
    }

    /// Missing ones are left out; any order.
    pub(crate) async fn get(
        &self,
        collection: &'static str,
        tenant: &str,
        ids: &[Uuid],
        part: Part,
    ) -> Result<Vec<Point>, StoreError> {
        let mut points = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let call = GetPoints {
                collection_name: collection.to_owned(),
                ids: point_ids(page),
                with_payload: Some(with_payload(part)),
                with_vectors: Some(matches!(part, Part::PayloadAndVector).into()),
                read_consistency: self.consistency,
                ..GetPoints::default()
            };
            let answer = self
                .call("get", collection, |mut clients: Clients| {
                    let call = call.clone();
                    async move { clients.points.get(call).await }
                })
                .await?;
            for point in answer.result {
                points.push(Point::of(tenant, point)?);
            }
        }
        Ok(points)
    }

    pub(crate) async fn get_one(
        &self,
        collection: &'static str,
        tenant: &str,
        id: Uuid,
        part: Part,
    ) -> Result<Option<Point>, StoreError> {
        let mut points = self.get(collection, tenant, &[id], part).await?;
        Ok(points.pop())
    }

    /// One page in the order of ids, and where the next one starts.
    pub(crate) async fn page(
        &self,
        collection: &'static str,
        tenant: &str,
        filter: Filter,
        part: Part,
        (from, limit): (Option<PointId>, usize),
    ) -> Result<(Vec<Point>, Option<PointId>), StoreError> {
        let call = ScrollPoints {
            collection_name: collection.to_owned(),
            filter: Some(filter),
            offset: from,
            limit: u32::try_from(limit.min(PAGE)).ok(),
            with_payload: Some(with_payload(part)),
            with_vectors: Some(matches!(part, Part::PayloadAndVector).into()),
            read_consistency: self.consistency,
            ..ScrollPoints::default()
        };
        let answer = self
            .call("scroll", collection, |mut clients: Clients| {
                let call = call.clone();
                async move { clients.points.scroll(call).await }
            })
            .await?;
        let points: Result<Vec<Point>, StoreError> = answer
            .result
            .into_iter()
            .map(|point| Point::of(tenant, point))
            .collect();
        Ok((points?, answer.next_page_offset))
    }

    /// The `limit` points of the lowest ids.
    pub(crate) async fn scroll(
        &self,
        collection: &'static str,
        tenant: &str,
        filter: &Filter,
        part: Part,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        let mut points = Vec::new();
        let mut from = None;
        for _ in 0..PAGES_MAX {
            let wanted = limit - points.len();
            if wanted == 0 {
                return Ok(points);
            }
            let (page, next) = self
                .page(collection, tenant, filter.clone(), part, (from, wanted))
                .await?;
            points.extend(page);
            if next.is_none() {
                points.truncate(limit);
                return Ok(points);
            }
            from = next;
        }
        Err(endless("scroll"))
    }

    pub(crate) async fn count(
        &self,
        collection: &'static str,
        filter: Filter,
    ) -> Result<u64, StoreError> {
        let call = CountPoints {
            collection_name: collection.to_owned(),
            filter: Some(filter),
            exact: Some(true),
            read_consistency: self.consistency,
            ..CountPoints::default()
        };
        let answer = self
            .call("count", collection, |mut clients: Clients| {
                let call = call.clone();
                async move { clients.points.count(call).await }
            })
            .await?;
        Ok(answer.result.map_or(0, |result| result.count))
    }
}

/// A walk that found more pages than there can be.
pub(crate) fn endless(operation: &'static str) -> StoreError {
    StoreError::Unavailable {
        operation,
        cause: "found no end".to_owned(),
    }
}

/// Page numbers of a walk that removes what it finds from its own filter.
pub(crate) fn pages() -> std::ops::Range<usize> {
    0..PAGES_MAX
}

/// The tenant's points that satisfy all of `conditions`.
pub(crate) fn of_tenant(tenant: &str, conditions: impl IntoIterator<Item = Condition>) -> Filter {
    Filter::must(std::iter::once(is(field::TENANT, tenant)).chain(conditions))
}

/// `field` is exactly `text`. The client would make a search for words of a text with white space.
pub(crate) fn is(field: &str, text: &str) -> Condition {
    Condition::matches(field, MatchValue::Keyword(text.to_owned()))
}

/// Any of `ids`.
pub(crate) fn has_ids(ids: &[Uuid]) -> Condition {
    Condition::has_id(point_ids(ids))
}

fn selector(filter: Filter) -> PointsSelector {
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
    }
}

fn with_payload(part: Part) -> WithPayloadSelector {
    match part {
        Part::Fields(fields) => {
            let mut include: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
            include.push(field::TENANT.to_owned());
            SelectorOptions::Include(PayloadIncludeSelector { fields: include }).into()
        }
        Part::Payload | Part::PayloadAndVector => true.into(),
    }
}

fn failed(
    operation: &'static str,
    collection: &'static str,
    (status, cause): (&Status, String),
) -> StoreError {
    match status.code() {
        Code::NotFound => StoreError::NotProvisioned {
            what: format!("collection {collection}"),
        },
        Code::Unauthenticated | Code::PermissionDenied => StoreError::Denied { operation, cause },
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::Unimplemented => StoreError::Refused { operation, cause },
        _ => StoreError::Unavailable { operation, cause },
    }
}
