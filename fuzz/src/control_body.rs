//! Bodies of the control plane: what is read is written as a body that reads as the same.

use scoregate::arm;
use scoregate::forms::{Form, Reading, parse_json};
use scoregate::model::asset::Routes;
use scoregate::model::scope::{Scope, WorkspaceRef};
use serde_json::Value;
use uuid::Uuid;

/// The first byte says what it is a body of.
pub fn check(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let name = "score".parse().unwrap();
    let id = Uuid::from_u128(7);
    let scope: Scope = "/subscriptions/s".parse().unwrap();
    match kind % 5 {
        0 => reads_again(
            body,
            |form| arm::endpoint::read(form, &name, &workspace(), None).map(|(spec, _)| spec),
            |spec| arm::endpoint::body(spec, "local"),
        ),
        1 => {
            let place = || arm::deployment::Place {
                workspace: workspace(),
                endpoint: "score".parse().unwrap(),
                name: "blue".parse().unwrap(),
            };
            reads_again(
                body,
                |form| arm::deployment::read(form, place(), None, |_| Routes::default()),
                |deployment| arm::deployment::body(deployment, "local"),
            );
        }
        2 => reads_again(body, |form| arm::role::read_definition(form, id), arm::role::definition_body),
        3 => reads_again(body, |form| arm::role::read_assignment(form, id, &scope), arm::role::assignment_body),
        _ => {
            if let Some(workspace) = read(body, |form| Some(arm::workspace::read(form, &workspace()))) {
                let view = arm::workspace::view(&workspace, &scope, None, String::new());
                let again = read(&bytes(&serde_json::to_value(view).unwrap()), |form| {
                    Some(arm::workspace::read(form, &self::workspace()))
                });
                let again = again.unwrap();
                assert_eq!((again.location, again.tags), (workspace.location, workspace.tags));
            }
        }
    }
}

fn workspace() -> WorkspaceRef {
    let subscription = "00000000-0000-0000-0000-000000000001".to_owned();
    WorkspaceRef { subscription, resource_group: "rg".to_owned(), name: "ws".to_owned() }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// What is read of a body with nothing wrong in it.
fn read<T>(body: &[u8], reader: impl FnOnce(&Form<'_>) -> Option<T>) -> Option<T> {
    let node = parse_json(body).ok()?;
    let reading = Reading::of_body();
    let form = reading.form(Some(&node));
    let found = reader(&form);
    form.close();
    let mistakes = reading.finish();
    assert!(found.is_some() || !mistakes.is_empty(), "nothing is read, and nothing is said to be wrong");
    found.filter(|_| mistakes.is_empty())
}

fn reads_again<T: std::fmt::Debug>(
    body: &[u8],
    reader: impl Fn(&Form<'_>) -> Option<T>,
    written: impl Fn(&T) -> Value,
) {
    let Some(first) = read(body, &reader) else { return };
    // What was not said may be shown as what it is by default.
    let shown = written(&first);
    let again = read(&bytes(&shown), &reader).unwrap_or_else(|| panic!("{shown} is not read"));
    assert_eq!(written(&again), shown);
}
