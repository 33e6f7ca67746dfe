//! From documents and the server's state to changes. Pure: nothing is asked and nothing is done here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::change::{Action, Change, called};
use super::current::{Current, Known};
use super::sent::traffics;
use crate::arm;
use crate::cli::failure::Failure;
use crate::cli::shape::{self, Noun};
use crate::model::role::{RoleAssignment, RoleDefinition};
use crate::model::scope::Scope;
use crate::model::workspace::Workspace;
use crate::rbac::builtin;
use crate::resources::{AssignmentDocument, Document, DocumentKind};

/// Every change.
#[derive(Debug)]
pub struct Plan {
    pub changes: Vec<Change>,
}

/// The changes as they are gathered, and everything that is wrong.
#[derive(Debug)]
pub struct Planner<'a> {
    pub current: &'a Current,
    pub workspaces: &'a [Workspace],
    pub changes: Vec<Change>,
    /// Where each resource is described, by id in lower case.
    pub seen: BTreeMap<String, String>,
    pub mistakes: Vec<String>,
}

impl Plan {
    /// Compares documents with what there is. With `prune`, what of the first workspace no document has is deleted.
    pub fn make(
        documents: Vec<(String, Document)>,
        current: &Current,
        workspaces: &[Workspace],
        prune: bool,
    ) -> Result<Plan, Failure> {
        let mut planner =
            Planner { current, workspaces, changes: Vec::new(), seen: BTreeMap::new(), mistakes: Vec::new() };
        let mut roles = BTreeMap::new();
        for (_, document) in &documents {
            if let Document::Role(role) = document {
                let existing =
                    current.role_named(&role.role_name).filter(|_| !current.roles.contains_key(&role.id));
                roles.insert(role.role_name.to_lowercase(), existing.unwrap_or(role.id));
            }
        }
        let traffic = traffics(&documents);
        for (source, document) in documents {
            let planned = match document {
                Document::Endpoint(found) => planner.whole(&source, &*found, &current.endpoints),
                Document::Deployment(found) => planner.whole(&source, &*found, &current.deployments),
                Document::BatchEndpoint(found) => planner.whole(&source, &*found, &current.batch_endpoints),
                Document::BatchDeployment(found) => {
                    planner.whole(&source, &*found, &current.batch_deployments)
                }
                Document::Datastore(document) => planner.datastore(&source, *document),
                Document::Role(role) => planner.role(&source, role, &roles),
                Document::Assignment(grant) => planner.grant(&source, grant, &roles),
                Document::Denial(denial) => Err(format!(
                    "deny assignment `{}` cannot be made through the API; put it into the gateway's resources directory",
                    denial.name
                )),
            };
            if let Err(problem) = planned {
                planner.mistakes.push(format!("{source}: {problem}"));
            }
        }
        if prune {
            planner.prune();
        }
        planner.contradictions(&traffic);
        if planner.mistakes.is_empty() {
            return Ok(Plan { changes: planner.changes });
        }
        Err(Failure::usage(format!("nothing was changed:\n{}", planner.mistakes.join("\n"))))
    }

    /// For a person: each change with its fields, and how many there are.
    pub fn in_words(&self) -> String {
        let mut lines = Vec::new();
        for change in self.changes.iter().filter(|change| change.action != Action::Keep) {
            let source = change.source.as_ref().map(|source| format!("  ({source})")).unwrap_or_default();
            lines.push(format!("{} {}{source}", change.action.sign(), change.label()));
            lines.extend(change.fields.iter().map(|field| format!("    {}", field.line())));
        }
        let count = |action| self.changes.iter().filter(|change| change.action == action).count();
        lines.push(format!(
            "{} to create, {} to update, {} to delete, {} unchanged",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete),
            count(Action::Keep)
        ));
        lines.join("\n")
    }
}

/// A document without its names, shares by deployment in lower case, as fields are compared.
pub(super) fn compared(document: Value) -> Value {
    let mut fields = shape::object(document);
    for key in ["$schema", "name", "endpoint_name"] {
        fields.remove(key);
    }
    for key in ["traffic", "mirror_traffic"] {
        if let Some(Value::Object(shares)) = fields.get_mut(key) {
            let lower = |(name, share): (String, Value)| (name.to_ascii_lowercase(), share);
            *shares = std::mem::take(shares).into_iter().map(lower).collect::<Map<String, Value>>();
        }
    }
    Value::Object(fields)
}

/// A body with an id and a name, so that it can be read as the server will show it.
fn as_view(mut body: Value, id: &Scope) -> Value {
    let id = id.to_string();
    if let Value::Object(fields) = &mut body {
        fields.insert("name".to_owned(), json!(id.rsplit('/').next()));
        fields.insert("id".to_owned(), json!(id));
    }
    body
}

/// Adds to a noun the properties that there are: leaving one out does not remove it.
pub(super) fn keep_bag<T: Noun>(wanted: &mut T, before: Option<&(T, Value)>) {
    if let Some(mut before) = before.map(|(before, _)| before.clone()) {
        before.bag().append(wanted.bag());
        std::mem::swap(before.bag(), wanted.bag());
    }
}

impl Planner<'_> {
    /// Notes a resource; a second document about it is a mistake.
    pub fn once(&mut self, id: &Scope, source: &str) -> Result<(), String> {
        match self.seen.insert(id.key().to_owned(), source.to_owned()) {
            Some(first) => Err(format!("describes what {first} describes already")),
            None => Ok(()),
        }
    }

    /// Where the workspace of a resource is.
    fn location(&self, id: &Scope) -> &str {
        let around =
            |workspace: &&Workspace| workspace.place.scope().is_ok_and(|workspace| workspace.contains(id));
        self.workspaces.iter().find(around).map_or("local", |workspace| &workspace.location)
    }

    /// A noun whose document says all that is sent.
    fn whole<T: Noun>(&mut self, source: &str, described: &T, known: &Known<T>) -> Result<(), String> {
        let id = described.id().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let location = self.location(&id);
        let before = known.get(id.key());
        // What is compared has gone the way that it will go: into a body, and back out of it.
        let view = as_view(described.body(location), &id);
        let mut wanted = T::seen(&view).map_err(|error| error.to_string())?;
        keep_bag(&mut wanted, before);
        // A new endpoint has no deployments yet.
        let first = Some(wanted.quiet()).filter(|quiet| before.is_none() && *quiet != wanted);
        let old = before.map_or(Value::Null, |(before, _)| compared(before.written()));
        let change = Change {
            body: Some(wanted.body(location)),
            first: first.map(|quiet| quiet.body(location)),
            before: before.map(|(_, view)| view.clone()),
            ..Change::between(T::KIND, called(&id), id, source, &old, &compared(wanted.written()))
        };
        self.changes.push(change);
        Ok(())
    }

    fn role(
        &mut self,
        source: &str,
        role: RoleDefinition,
        roles: &BTreeMap<String, Uuid>,
    ) -> Result<(), String> {
        let id = roles.get(&role.role_name.to_lowercase()).copied().unwrap_or(role.id);
        let role = RoleDefinition { id, ..role };
        let place = role.assignable_scopes.first().cloned().unwrap_or_else(Scope::root);
        let scope = place.authorization("roleDefinitions", &id.to_string());
        self.once(&role.scope(), source)?;
        let body = arm::role::definition_body(&role);
        let before = self.current.roles.get(&id);
        let of = ["roleName", "description", "permissions", "assignableScopes"];
        let old = before.map_or(Value::Null, |view| facts(view, &of));
        let new = facts(&body, &of);
        let change = Change {
            scopes: role.assignable_scopes,
            body: Some(body),
            ..Change::between(DocumentKind::Role, role.role_name, scope, source, &old, &new)
        };
        self.changes.push(change);
        Ok(())
    }

    fn grant(
        &mut self,
        source: &str,
        document: AssignmentDocument,
        roles: &BTreeMap<String, Uuid>,
    ) -> Result<(), String> {
        let name = &document.role;
        let role = roles
            .get(&name.to_lowercase())
            .copied()
            .or_else(|| builtin::by_name(name))
            .or_else(|| self.current.role_named(name))
            .or_else(|| arm::role::role_guid(name))
            .ok_or_else(|| format!("there is no role `{name}`"))?;
        let same = |view: &&Value| {
            let text = |field: &str| {
                view.pointer(&format!("/properties/{field}")).and_then(Value::as_str).unwrap_or_default()
            };
            text("scope").parse::<Scope>().ok().as_ref() == Some(&document.scope)
                && text("principalId").parse() == Ok(document.principal.0)
                && arm::role::role_guid(text("roleDefinitionId")) == Some(role)
        };
        let existing = self.current.grants.values().find(same);
        let derived = format!("grant:{}#{role}#{}", document.scope.key(), document.principal);
        let id = existing.and_then(super::current::guid).or(document.id);
        let id = id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, derived.as_bytes()));
        let scope = document.scope.authorization("roleAssignments", &id.to_string());
        self.once(&scope, source)?;
        let label = format!("of {name} to {} at {}", document.principal, document.scope);
        let grant = RoleAssignment {
            id,
            role,
            scope: document.scope,
            principal: document.principal,
            principal_type: document.principal_type,
            condition: document.condition,
            description: document.description,
        };
        let body = arm::role::assignment_body(&grant);
        let of = ["principalType", "description", "condition"];
        let old = existing.map_or(Value::Null, |view| facts(view, &of));
        let new = facts(&body, &of);
        let change = Change {
            scopes: vec![grant.scope],
            body: Some(body),
            ..Change::between(DocumentKind::Assignment, label, scope, source, &old, &new)
        };
        self.changes.push(change);
        Ok(())
    }
}

/// These properties of a body or a view; what is empty says nothing.
fn facts(of: &Value, names: &[&str]) -> Value {
    let properties = of.get("properties");
    let kept = names.iter().filter_map(|name| {
        let value = properties?.get(*name)?;
        let empty = value.is_null() || value.as_str() == Some("");
        (!empty).then(|| ((*name).to_owned(), value.clone()))
    });
    Value::Object(kept.collect())
}
