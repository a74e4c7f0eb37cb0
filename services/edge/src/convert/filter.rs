//! Filters.

use qdrant_client::qdrant as wire;
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, DateTimeWrapper, FieldCondition, Filter, HasIdCondition, JsonPath, Match,
    MatchExcept, Range, RangeInterface,
};
use tonic::Status;
use wire::condition::ConditionOneOf;
use wire::r#match::MatchValue;

use super::{at_most, path, point_ids};
use crate::error::invalid;
use crate::limits;

pub(crate) fn optional(
    field: &str,
    filter: Option<wire::Filter>,
) -> Result<Option<Filter>, Status> {
    filter.map(|filter| required(field, filter)).transpose()
}

pub(crate) fn required(field: &str, filter: wire::Filter) -> Result<Filter, Status> {
    Converter {
        field,
        left: limits::CONDITIONS,
    }
    .filter(filter)
}

struct Converter<'a> {
    /// Name of the filter in its message, for errors.
    field: &'a str,
    /// Conditions still allowed.
    left: usize,
}

impl Converter<'_> {
    fn filter(&mut self, filter: wire::Filter) -> Result<Filter, Status> {
        if filter.min_should.is_some() {
            return Err(self.refused("min_should"));
        }
        Ok(Filter {
            should: self.conditions(filter.should)?,
            must: self.conditions(filter.must)?,
            must_not: self.conditions(filter.must_not)?,
            min_should: None,
        })
    }

    fn conditions(&mut self, list: Vec<wire::Condition>) -> Result<Option<Vec<Condition>>, Status> {
        if list.is_empty() {
            return Ok(None);
        }
        self.left = self.left.checked_sub(list.len()).ok_or_else(|| {
            let most = limits::CONDITIONS;
            invalid(self.field, format!("more than {most} conditions"))
        })?;
        let converted = list.into_iter().map(|condition| self.condition(condition));
        converted.collect::<Result<_, _>>().map(Some)
    }

    fn condition(&mut self, condition: wire::Condition) -> Result<Condition, Status> {
        match condition.condition_one_of {
            Some(ConditionOneOf::Field(field)) => self.field(field).map(Condition::Field),
            Some(ConditionOneOf::IsEmpty(empty)) => {
                Ok(Condition::IsEmpty(self.key(&empty.key)?.into()))
            }
            Some(ConditionOneOf::IsNull(null)) => {
                Ok(Condition::IsNull(self.key(&null.key)?.into()))
            }
            Some(ConditionOneOf::HasId(list)) => {
                let ids = point_ids(&format!("{}.has_id", self.field), list.has_id)?;
                Ok(Condition::HasId(HasIdCondition::from_iter(ids)))
            }
            Some(ConditionOneOf::Filter(filter)) => self.filter(filter).map(Condition::Filter),
            Some(ConditionOneOf::Nested(_)) => Err(self.refused("nested")),
            Some(ConditionOneOf::HasVector(_)) => Err(self.refused("has_vector")),
            Some(ConditionOneOf::Slice(_)) => Err(self.refused("slice")),
            None => Err(invalid(self.field, "an empty condition")),
        }
    }

    fn field(&self, field: wire::FieldCondition) -> Result<FieldCondition, Status> {
        for (present, name) in [
            (field.geo_bounding_box.is_some(), "geo_bounding_box"),
            (field.geo_radius.is_some(), "geo_radius"),
            (field.geo_polygon.is_some(), "geo_polygon"),
            (field.values_count.is_some(), "values_count"),
        ] {
            if present {
                return Err(self.refused(name));
            }
        }
        let kinds = usize::from(field.r#match.is_some())
            + usize::from(field.range.is_some())
            + usize::from(field.datetime_range.is_some())
            + usize::from(field.is_empty.is_some())
            + usize::from(field.is_null.is_some());
        if kinds != 1 {
            let problem = "a field condition holds not exactly one of match, range, \
                           datetime_range, is_empty, is_null";
            return Err(invalid(self.field, problem));
        }
        let range = match (field.range, field.datetime_range) {
            (Some(range), _) => Some(numbers(&range)),
            (None, Some(range)) => Some(self.times(&range)?),
            (None, None) => None,
        };
        Ok(FieldCondition {
            key: self.key(&field.key)?,
            r#match: field.r#match.map(|m| self.matching(m)).transpose()?,
            range,
            geo_bounding_box: None,
            geo_radius: None,
            geo_polygon: None,
            values_count: None,
            is_empty: field.is_empty,
            is_null: field.is_null,
        })
    }

    fn matching(&self, matching: wire::Match) -> Result<Match, Status> {
        let bounded = |count| {
            at_most(
                &format!("{}.match", self.field),
                count,
                limits::IDS_PER_CALL,
            )
        };
        match matching.match_value {
            Some(MatchValue::Keyword(keyword)) => Ok(Match::from(keyword)),
            Some(MatchValue::Integer(integer)) => Ok(Match::from(integer)),
            Some(MatchValue::Boolean(flag)) => Ok(Match::from(flag)),
            Some(MatchValue::Keywords(list)) => {
                bounded(list.strings.len())?;
                Ok(Match::from(list.strings))
            }
            Some(MatchValue::Integers(list)) => {
                bounded(list.integers.len())?;
                Ok(Match::from(list.integers))
            }
            Some(MatchValue::ExceptKeywords(list)) => {
                bounded(list.strings.len())?;
                Ok(Match::Except(MatchExcept::from(list.strings)))
            }
            Some(MatchValue::ExceptIntegers(list)) => {
                bounded(list.integers.len())?;
                Ok(Match::Except(MatchExcept::from(list.integers)))
            }
            Some(MatchValue::Text(_)) => Err(self.refused("match.text")),
            Some(MatchValue::Phrase(_)) => Err(self.refused("match.phrase")),
            Some(MatchValue::TextAny(_)) => Err(self.refused("match.text_any")),
            Some(MatchValue::Prefix(_)) => Err(self.refused("match.prefix")),
            Some(MatchValue::Substring(_)) => Err(self.refused("match.substring")),
            None => Err(invalid(self.field, "an empty match")),
        }
    }

    fn times(&self, range: &wire::DatetimeRange) -> Result<RangeInterface, Status> {
        // A protobuf timestamp prints itself as RFC 3339, which the engine reads.
        let bound = |text: Option<String>| {
            text.map(|text| text.parse::<DateTimeWrapper>())
                .transpose()
                .map_err(|_| invalid(self.field, "datetime_range holds no valid time"))
        };
        Ok(RangeInterface::DateTime(Range {
            lt: bound(range.lt.map(|t| t.to_string()))?,
            gt: bound(range.gt.map(|t| t.to_string()))?,
            gte: bound(range.gte.map(|t| t.to_string()))?,
            lte: bound(range.lte.map(|t| t.to_string()))?,
        }))
    }

    fn key(&self, key: &str) -> Result<JsonPath, Status> {
        path(&format!("{}.key", self.field), key)
    }

    fn refused(&self, condition: &str) -> Status {
        let problem = format!("condition `{condition}` is not served by the embedded Qdrant");
        invalid(self.field, problem)
    }
}

fn numbers(range: &wire::Range) -> RangeInterface {
    RangeInterface::Float(Range {
        lt: range.lt.map(OrderedFloat),
        gt: range.gt.map(OrderedFloat),
        gte: range.gte.map(OrderedFloat),
        lte: range.lte.map(OrderedFloat),
    })
}
