//! The schema agrees with the parser: what is accepted also validates. A validator of just the words
//! that the schema uses; it fails on any other, so that nothing goes unchecked.

use meridian_spec::schema;
use serde_json::{Value, json};

/// The first thing about `value` that `schema` forbids.
pub(crate) fn fault(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let schema = schema.as_object()?;
    schema.iter().find_map(|(word, rule)| match word.as_str() {
        "$schema" | "title" | "description" | "examples" => None,
        "type" => {
            (!types(rule).iter().any(|t| is_type(t, value))).then(|| format!("{at}: not {rule}: {value}"))
        }
        "properties" => rule
            .as_object()?
            .iter()
            .find_map(|(name, rule)| fault(rule, value.get(name)?, &format!("{at}.{name}"))),
        "required" => rule.as_array()?.iter().find_map(|name| {
            let missing = value.is_object() && value.get(name.as_str()?).is_none();
            missing.then(|| format!("{at}: {name} is missing"))
        }),
        "additionalProperties" => {
            let known = schema.get("properties").and_then(Value::as_object);
            let extra =
                value.as_object()?.iter().filter(|(name, _)| known.is_none_or(|k| !k.contains_key(*name)));
            extra.into_iter().find_map(|(name, value)| match rule {
                Value::Bool(false) => Some(format!("{at}: unknown {name}")),
                rule => fault(rule, value, &format!("{at}.{name}")),
            })
        }
        "items" => {
            value.as_array()?.iter().enumerate().find_map(|(i, v)| fault(rule, v, &format!("{at}[{i}]")))
        }
        "enum" => (!rule.as_array()?.contains(value)).then(|| format!("{at}: {value} is none of {rule}")),
        "const" => (rule != value).then(|| format!("{at}: {value} is not {rule}")),
        "anyOf" | "oneOf" => {
            let faults: Vec<_> = rule.as_array()?.iter().map(|r| fault(r, value, at)).collect();
            let fitting = faults.iter().filter(|f| f.is_none()).count();
            let fits = if word == "oneOf" { fitting == 1 } else { fitting >= 1 };
            (!fits).then(|| format!("{at}: {fitting} of {word} fit: {faults:?}"))
        }
        "minimum" => (value.as_f64()? < rule.as_f64()?).then(|| format!("{at}: {value} < {rule}")),
        "maximum" => (value.as_f64()? > rule.as_f64()?).then(|| format!("{at}: {value} > {rule}")),
        "minLength" => (value.as_str()?.len() < rule.as_u64()? as usize).then(|| format!("{at}: too short")),
        "pattern" => None, // shapes of single values: the parser's own tests
        other => Some(format!("{at}: the test does not know `{other}`")),
    })
}

fn types(rule: &Value) -> Vec<&str> {
    match rule {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

#[test]
fn the_schema_describes_every_field() {
    fn described(schema: &Value, at: &str) {
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let text = field.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(text.len() > 5, "{at}.{name} has no description");
            described(field, &format!("{at}.{name}"));
            described(field.get("items").unwrap_or(&Value::Null), &format!("{at}.{name}[]"));
        }
    }
    let schema = schema();
    let kinds = schema["oneOf"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 5);
    kinds.iter().for_each(|kind| described(kind, kind["title"].as_str().expect("a title")));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let document = |kind: &str, spec: Value| json!({ "apiVersion": "meridian.dev/v1alpha1", "kind": kind, "metadata": { "name": "x" }, "spec": spec });
    let schema = schema();
    let good = document("Service", json!({ "hosts": ["a.b"] }));
    assert_eq!(fault(&schema, &good, ""), None);
    for bad in [
        document("Service", json!({ "hosts": ["a.b"], "colour": "red" })),
        document("Service", json!({})),
        document("Servise", json!({ "hosts": ["a.b"] })),
        document("Database", json!({ "replication": "sometimes" })),
        document("Service", json!({ "hosts": "a.b" })),
    ] {
        assert!(fault(&schema, &bad, "").is_some(), "{bad}");
    }
}
