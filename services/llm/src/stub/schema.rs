//! A minimal instance of a JSON schema, so that a stubbed answer passes the caller's own check.

use serde_json::{Map, Value, json};

const TEXT: &str = "a stub text";
/// What every pattern that Foil asks for allows: that of a statement.
const SENTENCE: &str = "The author writes as a stub does.";
/// The part of that sentence in whose place a quotation stands.
pub(super) const MANNER: &str = "as a stub does";
/// A schema that refers to itself ends here.
const MAX_DEPTH: usize = 32;

/// The smallest plain instance of `schema`: required properties, `minItems` items, the first of
/// `enum` or `anyOf`, the middle of a number's range, a short text within the length limits, one
/// sentence about an author where there is a `pattern`. `format` is not obeyed.
pub(super) fn instance(schema: &Value) -> Value {
    build(schema, schema, 0)
}

fn build(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|path| root.pointer(path));
        return target.map_or(Value::Null, |target| build(target, root, depth + 1));
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for choice in ["enum", "anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(|list| list.get(0)) {
            return match choice {
                "enum" => first.clone(),
                _ => build(first, root, depth + 1),
            };
        }
    }
    match kind(schema) {
        "object" => object(schema, root, depth),
        "array" => {
            let count = uint(schema, "minItems").unwrap_or(0);
            let items = schema.get("items").unwrap_or(&Value::Null);
            (0..count).map(|_| build(items, root, depth + 1)).collect()
        }
        "string" => string(schema).into(),
        "integer" => json!(middle(schema).floor() as i64),
        "number" => json!(middle(schema)),
        "boolean" => Value::Bool(true),
        _ => Value::Null,
    }
}

/// The first type that is not `null`; an untyped schema with properties is an object.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "null",
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").unwrap_or(&Value::Null);
    let mut map = Map::new();
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        let property = properties.get(name).unwrap_or(&Value::Null);
        map.insert(name.into(), build(property, root, depth + 1));
    }
    Value::Object(map)
}

fn string(schema: &Value) -> String {
    if schema.get("pattern").is_some() {
        return SENTENCE.to_owned();
    }
    let min = uint(schema, "minLength").unwrap_or(0);
    let max = uint(schema, "maxLength").unwrap_or(usize::MAX).max(min);
    let mut text = TEXT.to_owned();
    while text.len() < min {
        text.push(' ');
        text.push_str(TEXT);
    }
    text.truncate(max);
    text
}

fn uint(schema: &Value, name: &str) -> Option<usize> {
    usize::try_from(schema.get(name)?.as_u64()?).ok()
}

fn middle(schema: &Value) -> f64 {
    let bound = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| schema.get(name).and_then(Value::as_f64))
    };
    match (
        bound(["minimum", "exclusiveMinimum"]),
        bound(["maximum", "exclusiveMaximum"]),
    ) {
        (Some(min), Some(max)) => f64::midpoint(min, max),
        (Some(min), None) => min + 1.0,
        (None, Some(max)) => max - 1.0,
        (None, None) => 1.0,
    }
}
