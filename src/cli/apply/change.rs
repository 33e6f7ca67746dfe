//! One resource of a plan, and what is done to it.

use serde_json::{Value, json};

use super::diff::Difference;
use crate::model::scope::Scope;

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

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Endpoint,
    Deployment,
    BatchEndpoint,
    BatchDeployment,
    Datastore,
    Role,
    Grant,
}

impl Kind {
    pub fn is_endpoint(self) -> bool {
        matches!(self, Kind::Endpoint | Kind::BatchEndpoint)
    }

    pub fn is_deployment(self) -> bool {
        matches!(self, Kind::Deployment | Kind::BatchDeployment)
    }
}

/// One resource, and what is done to it.
#[derive(Debug)]
pub struct Change {
    pub action: Action,
    pub kind: Kind,
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
    /// Kind and name.
    pub fn label(&self) -> String {
        let kind = match self.kind {
            Kind::Endpoint => "endpoint",
            Kind::Deployment => "deployment",
            Kind::BatchEndpoint => "batch endpoint",
            Kind::BatchDeployment => "batch deployment",
            Kind::Datastore => "data store",
            Kind::Role => "role",
            Kind::Grant => "role assignment",
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
}
