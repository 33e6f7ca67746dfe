//! One resource of a plan, and what is done to it.

use serde_json::{Value, json};

use super::diff::{Difference, differences};
use crate::model::scope::Scope;
use crate::resources::DocumentKind;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Delete,
    Keep,
}

impl Action {
    pub fn sign(self) -> char {
        match self {
            Action::Create => '+',
            Action::Update => '~',
            Action::Delete => '-',
            Action::Keep => '=',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Keep => "unchanged",
        }
    }

    /// What was done.
    pub fn past(self) -> &'static str {
        match self {
            Action::Create => "created",
            Action::Update => "changed",
            Action::Delete => "deleted",
            Action::Keep => "left",
        }
    }
}

pub fn is_endpoint(kind: DocumentKind) -> bool {
    matches!(kind, DocumentKind::Endpoint | DocumentKind::BatchEndpoint)
}

pub fn is_deployment(kind: DocumentKind) -> bool {
    matches!(kind, DocumentKind::Deployment | DocumentKind::BatchDeployment)
}

/// What people call a resource of a workspace: its name, after that of its endpoint if it has one.
pub fn called(id: &Scope) -> String {
    let text = id.to_string();
    let parts: Vec<&str> = text.rsplit('/').take(3).collect();
    match parts.as_slice() {
        [name, "deployments", endpoint] => format!("{endpoint}/{name}"),
        _ => parts.first().copied().unwrap_or_default().to_owned(),
    }
}

/// One resource, and what is done to it.
#[derive(Debug)]
pub struct Change {
    pub action: Action,
    pub kind: DocumentKind,
    /// Its resource id.
    pub id: Scope,
    pub name: String,
    /// Where the right to do it is needed.
    pub scopes: Vec<Scope>,
    /// The document, by file and line.
    pub source: Option<String>,
    pub fields: Vec<Difference>,
    /// What is sent.
    pub body: Option<Value>,
    /// What is sent first, while deployments are missing: an endpoint without traffic.
    pub first: Option<Value>,
    /// What the server showed when the change was planned.
    pub before: Option<Value>,
}

impl Change {
    /// From what there is, null if nothing, to what there shall be. The right to it is needed at the resource.
    pub fn between(
        kind: DocumentKind,
        name: String,
        id: Scope,
        source: &str,
        old: &Value,
        new: &Value,
    ) -> Change {
        let fields = differences(old, new);
        let action = match (old.is_null(), fields.is_empty()) {
            (true, _) => Action::Create,
            (false, false) => Action::Update,
            (false, true) => Action::Keep,
        };
        Change {
            action,
            kind,
            name,
            scopes: vec![id.clone()],
            id,
            source: Some(source.to_owned()),
            fields,
            body: None,
            first: None,
            before: None,
        }
    }

    /// The end of what no document has.
    pub fn deletion(kind: DocumentKind, id: Scope) -> Change {
        let gone = Change::between(kind, called(&id), id, "", &Value::Null, &Value::Null);
        Change { action: Action::Delete, source: None, ..gone }
    }

    /// Kind and name.
    pub fn label(&self) -> String {
        let kind = match self.kind {
            DocumentKind::Endpoint => "endpoint",
            DocumentKind::Deployment => "deployment",
            DocumentKind::BatchEndpoint => "batch endpoint",
            DocumentKind::BatchDeployment => "batch deployment",
            DocumentKind::Datastore => "data store",
            DocumentKind::Role => "role",
            DocumentKind::Assignment => "role assignment",
            DocumentKind::Denial => "deny assignment",
        };
        format!("{kind} {}", self.name)
    }

    /// For a program.
    pub fn shown(&self) -> Value {
        let field = |found: &Difference| json!({"field": found.field, "from": found.from, "to": found.to});
        json!({
            "action": self.action.word(), "resource": self.label(), "id": self.id.to_string(), "source": self.source,
            "fields": self.fields.iter().map(field).collect::<Vec<_>>(),
        })
    }

    /// What a table has room for: of a change the fields, of what is new only that it is.
    pub fn row(&self) -> Value {
        let fields = self.fields.iter().filter(|_| self.action == Action::Update);
        json!({
            "action": self.action.word(), "resource": self.label(), "source": self.source,
            "fields": fields.map(|found| found.field.as_str()).collect::<Vec<_>>(),
        })
    }
}
