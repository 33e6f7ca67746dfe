//! From documents and the server's state to changes. Pure: nothing is asked and nothing is done here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::change::{Action, Change, Kind};
use super::check::traffics;
use super::current::Current;
use super::diff::{Difference, differences};
use crate::arm;
use crate::cli::failure::Failure;
use crate::cli::shape;
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::role::{RoleAssignment, RoleDefinition};
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::traffic::Traffic;
use crate::model::workspace::Workspace;
use crate::rbac::builtin;
use crate::resources::{AssignmentDocument, Document, written};

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
                Document::Endpoint(spec) => planner.endpoint(&source, &spec),
                Document::Deployment(deployment) => planner.deployment(&source, &deployment),
                Document::BatchEndpoint(endpoint) => planner.batch_endpoint(&source, &endpoint),
                Document::BatchDeployment(deployment) => planner.batch_deployment(&source, &deployment),
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
pub(super) fn as_view(mut body: Value, id: &Scope, name: &str) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.insert("id".to_owned(), json!(id.to_string()));
        fields.insert("name".to_owned(), json!(name));
    }
    body
}

impl Planner<'_> {
    /// Notes a resource; a second document about it is a mistake.
    pub fn once(&mut self, id: &Scope, source: &str) -> Result<(), String> {
        match self.seen.insert(id.key().to_owned(), source.to_owned()) {
            Some(first) => Err(format!("describes what {first} describes already")),
            None => Ok(()),
        }
    }

    pub fn location(&self, place: &WorkspaceRef) -> String {
        let found = self.workspaces.iter().find(|workspace| super::same(workspace, place));
        found.map_or_else(|| "local".to_owned(), |workspace| workspace.location.clone())
    }

    pub fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn endpoint(&mut self, source: &str, spec: &EndpointSpec) -> Result<(), String> {
        let id = spec.scope().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let location = self.location(&spec.workspace);
        let before = self.current.endpoints.get(id.key());
        // What is compared has gone the way that it will go: into a body, and back out of it.
        let view = as_view(arm::endpoint::body(spec, &location), &id, &spec.name.to_string());
        let mut wanted = shape::endpoint(&view).map_err(|error| error.to_string())?;
        let bag = before.map(|(before, _)| before.properties.clone()).unwrap_or_default();
        wanted.properties = bag.into_iter().chain(std::mem::take(&mut wanted.properties)).collect();
        let old = before.map_or(Value::Null, |(before, _)| compared(written::endpoint(before)));
        let fields = differences(&old, &compared(written::endpoint(&wanted)));
        let quiet = EndpointSpec { traffic: Traffic::default(), mirror: None, ..wanted.clone() };
        let waits = before.is_none() && quiet != wanted;
        self.push(Change {
            action: action(before.is_some(), &fields),
            kind: Kind::Endpoint,
            name: spec.name.to_string(),
            scopes: vec![id.clone()],
            id,
            source: Some(source.to_owned()),
            fields,
            body: Some(arm::endpoint::body(&wanted, &location)),
            first: waits.then(|| arm::endpoint::body(&quiet, &location)),
            before: before.map(|(_, view)| view.clone()),
        });
        Ok(())
    }

    fn deployment(&mut self, source: &str, deployment: &Deployment) -> Result<(), String> {
        let id = deployment.scope().map_err(|error| error.to_string())?;
        self.once(&id, source)?;
        let location = self.location(&deployment.workspace);
        let before = self.current.deployments.get(id.key());
        let view = as_view(arm::deployment::body(deployment, &location), &id, &deployment.name.to_string());
        let mut wanted = shape::deployment(&view).map_err(|error| error.to_string())?;
        let bag = before.map(|(before, _)| before.properties.clone()).unwrap_or_default();
        wanted.properties = bag.into_iter().chain(std::mem::take(&mut wanted.properties)).collect();
        let old = before.map_or(Value::Null, |(before, _)| compared(written::deployment(before)));
        let fields = differences(&old, &compared(written::deployment(&wanted)));
        self.push(Change {
            action: action(before.is_some(), &fields),
            kind: Kind::Deployment,
            name: format!("{}/{}", deployment.endpoint, deployment.name),
            scopes: vec![id.clone()],
            id,
            source: Some(source.to_owned()),
            fields,
            body: Some(arm::deployment::body(&wanted, &location)),
            first: None,
            before: before.map(|(_, view)| view.clone()),
        });
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
        let fields = differences(
            &before.map_or(Value::Null, |view| {
                facts(view, &["roleName", "description", "permissions", "assignableScopes"])
            }),
            &facts(&body, &["roleName", "description", "permissions", "assignableScopes"]),
        );
        self.push(Change {
            action: action(before.is_some(), &fields),
            kind: Kind::Role,
            name: role.role_name,
            scopes: role.assignable_scopes,
            id: scope,
            source: Some(source.to_owned()),
            fields,
            body: Some(body),
            first: None,
            before: None,
        });
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
        let fields = differences(&existing.map_or(Value::Null, |view| facts(view, &of)), &facts(&body, &of));
        self.push(Change {
            action: action(existing.is_some(), &fields),
            kind: Kind::Grant,
            name: label,
            id: scope,
            scopes: vec![grant.scope],
            source: Some(source.to_owned()),
            fields,
            body: Some(body),
            first: None,
            before: None,
        });
        Ok(())
    }
}

pub(super) fn action(exists: bool, fields: &[Difference]) -> Action {
    match (exists, fields.is_empty()) {
        (false, _) => Action::Create,
        (true, false) => Action::Update,
        (true, true) => Action::Keep,
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
