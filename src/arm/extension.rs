//! What the gateway adds to Azure's resources: in YAML fields of their own, in ARM entries `scoregate.{field}` of the
//! property bag, each with the field's value as JSON.

pub mod backend;
pub mod batch;
pub mod deployment;
pub mod endpoint;
pub mod place;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::forms::{Form, Kind, Node, Reading, parse_json};

/// Fields by name. One that is as by default has a value that says nothing.
pub type Fields = Map<String, Value>;

/// What our entries in the property bag begin with.
pub const PREFIX: &str = "scoregate.";
/// Entries of ours that are shown only: clients send them back.
const SHOWN_ONLY: &[&str] = &["instances"];

/// Whether a value differs from what is so by default.
pub fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Takes our entries out of a property bag and reads them as the fields that they are in YAML; what is not there stays
/// as it was `before`.
fn take<T>(
    form: &Form<'_>,
    bag: &mut BTreeMap<String, String>,
    before: &Fields,
    read: impl FnOnce(&Form<'_>) -> T,
) -> T {
    let mut fields: BTreeMap<String, Node> = before
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), node(&value.to_string()).ok()?)))
        .collect();
    let ours = |key: &str| key.strip_prefix(PREFIX).map(str::to_owned);
    for (field, text) in bag.iter().filter_map(|(key, text)| Some((ours(key)?, text))) {
        if SHOWN_ONLY.contains(&field.as_str()) {
            continue;
        }
        match node(text) {
            Ok(node) => drop(fields.insert(field, node)),
            Err(problem) => form.wrong("properties", format!("`{PREFIX}{field}`: {problem}"), None),
        }
    }
    bag.retain(|key, _| ours(key).is_none());
    let entries = fields.into_iter().map(|(key, node)| (key, (0, 0), node)).collect();
    let node = Node { at: (0, 0), kind: Kind::Map(entries) };
    let reading = Reading::of("properties");
    let inner = reading.form(Some(&node));
    let own = read(&inner);
    inner.close();
    for mistake in reading.finish() {
        let problem = format!("`{PREFIX}{}`: {}", mistake.field, mistake.problem);
        form.wrong("properties", problem, mistake.hint.as_deref());
    }
    own
}

/// An entry's value: JSON, or a text that needs no quotes.
fn node(text: &str) -> Result<Node, String> {
    if text.starts_with(['{', '[', '"']) {
        return parse_json(text.as_bytes()).map_err(|error| error.to_string());
    }
    Ok(Node { at: (0, 0), kind: Kind::Scalar { text: text.to_owned(), plain: true } })
}

/// Puts our fields into a property bag. `whole` puts in those that say nothing, too, so that they replace others.
fn put(bag: &mut BTreeMap<String, String>, fields: Fields, whole: bool) {
    for (key, value) in fields.into_iter().filter(|(_, value)| whole || says_something(value)) {
        let text = match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        bag.insert(format!("{PREFIX}{key}"), text);
    }
}
