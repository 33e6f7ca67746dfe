//! What tests of this module's readers begin with.

use serde_json::Value;

use crate::forms::{Form, Reading, parse_json};
use crate::model::scope::WorkspaceRef;

/// A workspace.
pub(super) fn workspace() -> WorkspaceRef {
    WorkspaceRef { subscription: "s".into(), resource_group: "g".into(), name: "w".into() }
}

/// What is read from a body, or all that is wrong with it.
pub(super) fn read_body<T>(body: &Value, read: impl FnOnce(&Form<'_>) -> Option<T>) -> Result<T, String> {
    let node = parse_json(body.to_string().as_bytes()).unwrap();
    let reading = Reading::of_body();
    let found = read(&reading.form(Some(&node)));
    let mistakes: Vec<String> = reading.finish().iter().map(ToString::to_string).collect();
    if mistakes.is_empty() { Ok(found.unwrap()) } else { Err(mistakes.join("\n")) }
}
