//! Enough of JSON Schema to check the answers of this suite.

use serde_json::Value;

/// Every place where `value` breaks `schema`. Panics on a keyword it does not know, so that no
/// check passes by not being made.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, "$", &mut faults);
    faults
}

fn check(schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let kept = match keyword.as_str() {
            "type" => has_type(value, rule.as_str().expect("one type")),
            "enum" => rule.as_array().expect("a list").contains(value),
            "const" => rule == value,
            "required" => rule
                .as_array()
                .expect("a list")
                .iter()
                .all(|name| value.get(name.as_str().expect("a name")).is_some()),
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false));
                value.as_object().is_none_or(|fields| {
                    fields
                        .keys()
                        .all(|name| schema["properties"].get(name).is_some())
                })
            }
            "minLength" => length(value).is_none_or(|length| length >= limit(rule)),
            "maxLength" => length(value).is_none_or(|length| length <= limit(rule)),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() >= limit(rule)),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() <= limit(rule)),
            "properties" => {
                for (name, inner) in rule.as_object().expect("an object") {
                    if let Some(field) = value.get(name) {
                        check(inner, field, &format!("{path}.{name}"), faults);
                    }
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{path}[{index}]"), faults);
                }
                true
            }
            other => panic!("keyword {other} is not checked here"),
        };
        if !kept {
            faults.push(format!("{path} breaks {keyword}"));
        }
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("type {other} is not checked here"),
    }
}

fn length(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.chars().count())
}

fn limit(rule: &Value) -> usize {
    usize::try_from(rule.as_u64().expect("a count")).expect("a small count")
}
