//! Payload values between protobuf and JSON, both ways without loss.

use std::collections::HashMap;

use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{ListValue, Struct, Value};
use qdrant_edge::Payload;
use tonic::Status;

use crate::error::invalid;

type Fields = HashMap<String, Value>;

pub(crate) fn to_edge(fields: Fields) -> Result<Payload, Status> {
    Ok(Payload(object(fields)?))
}

pub(crate) fn from_edge(payload: Payload) -> Fields {
    payload.0.into_iter().map(|(k, v)| (k, value(v))).collect()
}

fn object(fields: Fields) -> Result<serde_json::Map<String, serde_json::Value>, Status> {
    fields
        .into_iter()
        .map(|(key, value)| Ok((key, json(value)?)))
        .collect()
}

// Nesting is bounded by the decoder: prost refuses messages deeper than 100 levels.
fn json(value: Value) -> Result<serde_json::Value, Status> {
    use serde_json::Value as Json;
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(v)) => Json::Bool(v),
        Some(Kind::IntegerValue(v)) => Json::from(v),
        Some(Kind::DoubleValue(v)) => serde_json::Number::from_f64(v)
            .map(Json::Number)
            .ok_or_else(|| invalid("payload", "a number is not finite"))?,
        Some(Kind::StringValue(v)) => Json::String(v),
        Some(Kind::StructValue(v)) => Json::Object(object(v.fields)?),
        Some(Kind::ListValue(v)) => {
            Json::Array(v.values.into_iter().map(json).collect::<Result<_, _>>()?)
        }
    })
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(v) => Kind::BoolValue(v),
        Json::Number(v) => match v.as_i64() {
            Some(integer) => Kind::IntegerValue(integer),
            // Above i64 only what was never written through this server.
            None => Kind::DoubleValue(v.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(v) => Kind::StringValue(v),
        Json::Array(v) => Kind::ListValue(ListValue {
            values: v.into_iter().map(value).collect(),
        }),
        Json::Object(v) => Kind::StructValue(Struct {
            fields: v.into_iter().map(|(k, v)| (k, value(v))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            any::<bool>().prop_map(Kind::BoolValue),
            any::<i64>().prop_map(Kind::IntegerValue),
            prop::num::f64::NORMAL.prop_map(Kind::DoubleValue),
            Just(Kind::DoubleValue(3.0)),
            any::<String>().prop_map(Kind::StringValue),
        ]
        .prop_map(|kind| Value { kind: Some(kind) });
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6)
                    .prop_map(|values| Kind::ListValue(ListValue { values })),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| Kind::StructValue(Struct { fields })),
            ]
            .prop_map(|kind| Value { kind: Some(kind) })
        })
    }

    proptest! {
        #[test]
        fn every_payload_survives_the_round_trip(
            fields in prop::collection::hash_map(any::<String>(), any_value(), 0..6)
        ) {
            let payload = to_edge(fields.clone()).unwrap();
            prop_assert_eq!(from_edge(payload), fields);
        }
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let value = Value {
                kind: Some(Kind::DoubleValue(number)),
            };
            let refused = to_edge(HashMap::from([("n".to_owned(), value)])).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().starts_with("payload:"));
        }
    }
}
