//! What the server has of all that documents speak of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use crate::cli::client::escape;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::scope::path;
use crate::cli::shape;
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::Scope;
use crate::model::workspace::Workspace;
use crate::rbac::builtin;
use crate::resources::Document;

/// The server's state, by resource id in lower case.
#[derive(Debug, Default)]
pub struct Current {
    pub endpoints: BTreeMap<String, (EndpointSpec, Value)>,
    pub deployments: BTreeMap<String, (Deployment, Value)>,
    /// Custom roles, by GUID.
    pub roles: BTreeMap<Uuid, Value>,
    /// Role assignments, by GUID.
    pub grants: BTreeMap<Uuid, Value>,
}

impl Current {
    /// Asks for what the documents speak of, and with `whole` for all of the first workspace.
    pub async fn read(
        context: &Context,
        documents: &[(String, Document)],
        workspaces: &[Workspace],
        whole: bool,
    ) -> Result<Current, Failure> {
        let mut current = Current::default();
        let mut places = BTreeMap::new();
        // Endpoints whose deployments matter, by key.
        let mut named = BTreeSet::new();
        let (mut role_scopes, mut grant_scopes) = (BTreeMap::new(), BTreeMap::new());
        for (_, document) in documents {
            match document {
                Document::Endpoint(spec) => {
                    let scope = spec.workspace.scope()?;
                    named.insert(spec.scope()?.key().to_owned());
                    places.insert(scope.key().to_owned(), scope);
                }
                Document::Deployment(found) => {
                    let scope = found.workspace.scope()?;
                    named.insert(scope.online_endpoint(&found.endpoint).key().to_owned());
                    places.insert(scope.key().to_owned(), scope);
                }
                Document::Role(role) => {
                    role_scopes
                        .extend(role.assignable_scopes.first().map(|s| (s.key().to_owned(), s.clone())));
                }
                Document::Assignment(grant) => {
                    grant_scopes.insert(grant.scope.key().to_owned(), grant.scope.clone());
                    if builtin::by_name(&grant.role).is_none() {
                        role_scopes.insert(grant.scope.key().to_owned(), grant.scope.clone());
                    }
                }
                Document::Denial(_) => {}
            }
        }
        let first = workspaces.first().map(|workspace| workspace.place.scope()).transpose()?;
        if let (true, Some(scope)) = (whole, &first) {
            places.insert(scope.key().to_owned(), scope.clone());
        }
        for place in places.values() {
            let whole = whole && first.as_ref() == Some(place);
            current.endpoints_of(context, place, &named, whole).await?;
        }
        for scope in role_scopes.values() {
            current.roles_at(context, scope).await?;
        }
        for scope in grant_scopes.values() {
            current.grants_at(context, scope).await?;
        }
        Ok(current)
    }

    /// A workspace's endpoints, and the deployments of those that are named, or of all.
    pub async fn endpoints_of(
        &mut self,
        context: &Context,
        workspace: &Scope,
        named: &BTreeSet<String>,
        whole: bool,
    ) -> Result<(), Failure> {
        let list = format!("{}/onlineEndpoints", path(workspace));
        for view in context.client.list(&list).await? {
            let spec = shape::endpoint(&view)?;
            let id = spec.scope()?;
            if whole || named.contains(id.key()) {
                let list = format!("{list}/{}/deployments", escape(&spec.name.to_string()));
                for view in context.client.list(&list).await? {
                    let found = shape::deployment(&view)?;
                    let id = found.scope()?;
                    self.deployments.insert(id.key().to_owned(), (found, view));
                }
            }
            self.endpoints.insert(id.key().to_owned(), (spec, view));
        }
        Ok(())
    }

    /// The custom roles that can be assigned at a scope.
    pub async fn roles_at(&mut self, context: &Context, scope: &Scope) -> Result<(), Failure> {
        let filter = escape("type eq 'CustomRole'");
        let list =
            format!("{}/providers/Microsoft.Authorization/roleDefinitions?$filter={filter}", path(scope));
        for view in context.client.list(&list).await? {
            let custom = view.pointer("/properties/type").and_then(Value::as_str) == Some("CustomRole");
            if let (true, Some(id)) = (custom, guid(&view)) {
                self.roles.insert(id, view);
            }
        }
        Ok(())
    }

    /// The role assignments at a scope and above it.
    pub async fn grants_at(&mut self, context: &Context, scope: &Scope) -> Result<(), Failure> {
        let filter = escape("atScope()");
        let list =
            format!("{}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}", path(scope));
        for view in context.client.list(&list).await? {
            if let Some(id) = guid(&view) {
                self.grants.insert(id, view);
            }
        }
        Ok(())
    }

    /// A custom role's GUID by its name.
    pub fn role_named(&self, name: &str) -> Option<Uuid> {
        let has = |view: &Value| {
            view.pointer("/properties/roleName").and_then(Value::as_str).map(str::to_lowercase)
        };
        self.roles.iter().find(|(_, view)| has(view) == Some(name.to_lowercase())).map(|(id, _)| *id)
    }
}

/// The GUID that a view is named by.
pub fn guid(view: &Value) -> Option<Uuid> {
    view.get("name")?.as_str()?.parse().ok()
}
