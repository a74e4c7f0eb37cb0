//! Filters select what they say, with and without an index.

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::{
    Condition, CreateFieldIndexCollectionBuilder, DatetimeRange, FieldCondition, FieldType, Filter,
    MinShould, Range, RepeatedIntegers, RepeatedStrings, ScrollPointsBuilder, Timestamp,
    ValuesCount,
};
use serde_json::json;
use tonic::Code;

use crate::support::{C, matching, point, put, refused, server};

fn points() -> Vec<qdrant_client::qdrant::PointStruct> {
    vec![
        point(
            1,
            json!({"k": "a", "n": 1, "b": true, "t": "2026-01-01T00:00:00Z", "tags": ["x", "y"]}),
        ),
        point(
            2,
            json!({"k": "b", "n": 2, "b": false, "t": "2026-02-01T00:00:00Z", "tags": []}),
        ),
        point(
            3,
            json!({"k": "c", "n": 3, "b": true, "t": "2026-03-01T00:00:00Z", "tags": null}),
        ),
        point(4, json!({"k": "a", "n": -4, "o": {"deep": "z"}})),
        point(5, json!({"f": 2.5})),
    ]
}

fn range(range: Range) -> Filter {
    Filter::must([Condition::range("n", range)])
}

fn field(field: FieldCondition) -> Condition {
    Condition {
        condition_one_of: Some(ConditionOneOf::Field(field)),
    }
}

fn matches(key: &str, value: MatchValue) -> Filter {
    Filter::must([Condition::matches(key, value)])
}

fn cases() -> Vec<(&'static str, Filter, Vec<u64>)> {
    let keyword = |k: &str| Condition::matches("k", k.to_owned());
    let strings = |list: &[&str]| RepeatedStrings {
        strings: list.iter().map(|s| (*s).to_owned()).collect(),
    };
    let integers = |list: &[i64]| RepeatedIntegers {
        integers: list.to_vec(),
    };
    let february = Timestamp {
        seconds: 1_769_904_000,
        nanos: 0,
    };
    let from = DatetimeRange {
        gte: Some(february),
        ..Default::default()
    };
    vec![
        ("no condition", Filter::default(), vec![1, 2, 3, 4, 5]),
        ("keyword", Filter::must([keyword("a")]), vec![1, 4]),
        (
            "keyword in a list",
            matches("tags", MatchValue::Keyword("y".into())),
            vec![1],
        ),
        (
            "keyword below a key",
            matches("o.deep", MatchValue::Keyword("z".into())),
            vec![4],
        ),
        (
            "keywords",
            matches("k", MatchValue::Keywords(strings(&["b", "c", "q"]))),
            vec![2, 3],
        ),
        (
            "except keywords",
            matches("k", MatchValue::ExceptKeywords(strings(&["a"]))),
            vec![2, 3],
        ),
        ("integer", matches("n", MatchValue::Integer(-4)), vec![4]),
        (
            "integers",
            matches("n", MatchValue::Integers(integers(&[1, 3]))),
            vec![1, 3],
        ),
        (
            "except integers",
            matches("n", MatchValue::ExceptIntegers(integers(&[1, 3]))),
            vec![2, 4],
        ),
        ("bool", matches("b", MatchValue::Boolean(false)), vec![2]),
        (
            "gt and lte",
            range(Range {
                gt: Some(1.0),
                lte: Some(3.0),
                ..Default::default()
            }),
            vec![2, 3],
        ),
        (
            "gte and lt",
            range(Range {
                gte: Some(-4.0),
                lt: Some(2.0),
                ..Default::default()
            }),
            vec![1, 4],
        ),
        (
            "range of a double",
            Filter::must([Condition::range(
                "f",
                Range {
                    gt: Some(2.4),
                    ..Default::default()
                },
            )]),
            vec![5],
        ),
        (
            "datetime",
            Filter::must([Condition::datetime_range("t", from)]),
            vec![2, 3],
        ),
        (
            "empty: missing, null or no value",
            Filter::must([Condition::is_empty("tags")]),
            vec![2, 3, 4, 5],
        ),
        ("null", Filter::must([Condition::is_null("tags")]), vec![3]),
        (
            "not empty",
            Filter::must_not([Condition::is_empty("k")]),
            vec![1, 2, 3, 4],
        ),
        (
            "is_empty on a field",
            Filter::must([field(FieldCondition {
                key: "f".into(),
                is_empty: Some(false),
                ..Default::default()
            })]),
            vec![5],
        ),
        (
            "ids",
            Filter::must([Condition::has_id([2, 5, 99])]),
            vec![2, 5],
        ),
        (
            "must and must_not",
            Filter {
                must: vec![keyword("a")],
                must_not: vec![Condition::has_id([1])],
                ..Default::default()
            },
            vec![4],
        ),
        (
            "should",
            Filter::should([keyword("b"), keyword("c")]),
            vec![2, 3],
        ),
        (
            "nested",
            Filter::must([
                Filter::should([keyword("a"), keyword("b")]).into(),
                Filter::must_not([Condition::matches("b", false)]).into(),
            ]),
            vec![1, 4],
        ),
        ("nothing", Filter::must([keyword("")]), vec![]),
    ]
}

#[tokio::test]
async fn every_condition_selects_the_same_with_and_without_an_index() {
    let server = server().await;
    put(&server.client, points()).await;
    for (name, filter, expected) in cases() {
        assert_eq!(matching(&server.client, filter).await, expected, "{name}");
    }
    let indexes = [
        ("k", FieldType::Keyword),
        ("n", FieldType::Integer),
        ("b", FieldType::Bool),
        ("t", FieldType::Datetime),
        ("f", FieldType::Float),
        ("tags", FieldType::Keyword),
        ("o.deep", FieldType::Keyword),
    ];
    for (key, kind) in indexes {
        let index = CreateFieldIndexCollectionBuilder::new(C, key, kind).wait(true);
        server.client.create_field_index(index).await.unwrap();
    }
    for (name, filter, expected) in cases() {
        assert_eq!(
            matching(&server.client, filter).await,
            expected,
            "{name}, indexed"
        );
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let server = server().await;
    let one = |name: &'static str, condition: Condition| (name, Filter::must([condition]));
    let cases = [
        one("match.text", Condition::matches_text("k", "a")),
        one("match.phrase", Condition::matches_phrase("k", "a")),
        one(
            "values_count",
            Condition::values_count(
                "tags",
                ValuesCount {
                    gt: Some(1),
                    ..Default::default()
                },
            ),
        ),
        one("has_vector", Condition::has_vector("")),
        one("nested", Condition::nested("o", Filter::default())),
        one(
            "not exactly one",
            field(FieldCondition {
                key: "k".into(),
                ..Default::default()
            }),
        ),
        one("filter.key", Condition::is_empty("a[")),
        one("empty condition", Condition::default()),
        (
            "min_should",
            Filter {
                min_should: Some(MinShould::default()),
                ..Default::default()
            },
        ),
        (
            "1024 conditions",
            Filter::must(vec![Condition::is_empty("k"); 1025]),
        ),
    ];
    for (name, filter) in cases {
        let scroll = ScrollPointsBuilder::new(C).filter(filter);
        let refusal = refused(server.client.scroll(scroll).await);
        assert_eq!(refusal.code(), Code::InvalidArgument, "{name}");
        let text = refusal.message();
        assert!(
            text.starts_with("filter") && text.contains(name),
            "{name}: {text}"
        );
    }
}
