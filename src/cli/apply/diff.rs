//! What differs between two documents, field by field.

use serde_json::{Map, Value};

/// A field that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its path, such as `request_settings.request_timeout_ms`.
    pub field: String,
    /// Null if it was not there.
    pub from: Value,
    /// Null if it is no more.
    pub to: Value,
}

/// Fields in which two documents differ, in order.
pub fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let (mut before, mut after) = (Map::new(), Map::new());
    flatten("", from, &mut before);
    flatten("", to, &mut after);
    let mut fields: Vec<&String> = before.keys().chain(after.keys()).collect();
    fields.sort();
    fields.dedup();
    let value = |of: &Map<String, Value>, field: &String| of.get(field).cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|field| Difference {
            field: field.clone(),
            from: value(&before, field),
            to: value(&after, field),
        })
        .filter(|difference| difference.from != difference.to)
        .collect()
}

fn flatten(path: &str, value: &Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        Value::Null => {}
        single => {
            into.insert(path.to_owned(), single.clone());
        }
    }
}

impl Difference {
    /// In one line.
    pub fn line(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match (&self.from, &self.to) {
            (Value::Null, to) => format!("{}: {}", self.field, text(to)),
            (from, Value::Null) => format!("{}: {} -> (none)", self.field, text(from)),
            (from, to) => format!("{}: {} -> {}", self.field, text(from), text(to)),
        }
    }
}
