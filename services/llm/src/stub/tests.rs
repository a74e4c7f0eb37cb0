use serde_json::json;

use super::reply::{embedding, tokens};
use super::schema::instance;

#[test]
fn an_instance_obeys_the_schema() {
    let schema = json!({
        "type": "object",
        "required": ["statement", "confidence", "kind", "tags", "inner", "maybe", "flag", "count"],
        "properties": {
            "statement": {"type": "string", "minLength": 20, "maxLength": 25},
            "confidence": {"type": "number", "minimum": 0.0, "maximum": 1.0},
            "kind": {"enum": ["first", "second"]},
            "tags": {"type": "array", "minItems": 2, "items": {"type": "string", "maxLength": 3}},
            "inner": {"$ref": "#/$defs/inner"},
            "maybe": {"anyOf": [{"const": 7}, {"type": "null"}]},
            "flag": {"type": "boolean"},
            "count": {"type": ["null", "integer"], "minimum": 3, "maximum": 6},
            "optional": {"type": "string"},
        },
        "$defs": {"inner": {"type": "object", "properties": {"x": {}}, "required": ["x"]}},
    });
    let value = instance(&schema);
    let statement = value["statement"].as_str().unwrap();
    assert!((20..=25).contains(&statement.len()), "{statement}");
    assert_eq!(
        value,
        json!({
            "statement": statement, "confidence": 0.5, "kind": "first", "tags": ["a s", "a s"],
            "inner": {"x": null}, "maybe": 7, "flag": true, "count": 4,
        })
    );
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({
        "$defs": {"node": {"type": "object", "required": ["next"],
                           "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    });
    assert!(instance(&schema).is_object());
}

#[test]
fn tokens_are_the_text_in_pieces() {
    let text = "Short words, extraordinarily long ones\n and ünïcödé.";
    assert_eq!(tokens(text).concat(), text);
    assert!(tokens(text).iter().all(|token| token.chars().count() <= 8));
    assert!(tokens("").is_empty());
}

#[test]
fn embeddings_are_unit_vectors_of_the_text() {
    for dimensions in [1, 3, 384, 1000] {
        let vector = embedding("a text", dimensions);
        assert_eq!(vector.len(), dimensions);
        let norm: f32 = vector.iter().map(|x| x * x).sum();
        assert!((norm - 1.0).abs() < 1e-4, "{dimensions}: {norm}");
    }
    assert_eq!(embedding("a text", 384), embedding("a text", 384));
    let dot: f32 = std::iter::zip(embedding("a text", 384), embedding("another", 384))
        .map(|(a, b)| a * b)
        .sum();
    assert!(dot.abs() < 0.3, "{dot}");
}
