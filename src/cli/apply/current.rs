//! What the server has of all that documents speak of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::change::Kind;
use crate::cli::client::escape;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::scope::path;
use crate::cli::shape;
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::datastore::Datastore;
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::{Scope, ScopeError};
use crate::model::workspace::Workspace;
use crate::rbac::builtin;
use crate::resources::Document;

/// The server's state, by resource id in lower case.
#[derive(Debug, Default)]
pub struct Current {
    pub endpoints: BTreeMap<String, (EndpointSpec, Value)>,
    pub deployments: BTreeMap<String, (Deployment, Value)>,
    pub batch_endpoints: BTreeMap<String, (BatchEndpoint, Value)>,
    pub batch_deployments: BTreeMap<String, (BatchDeployment, Value)>,
    pub datastores: BTreeMap<String, (Datastore, Value)>,
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
        let mut stores = BTreeMap::new();
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
                Document::BatchEndpoint(endpoint) => {
                    let scope = endpoint.workspace.scope()?;
                    named.insert(endpoint.scope()?.key().to_owned());
                    places.insert(scope.key().to_owned(), scope);
                }
                Document::BatchDeployment(found) => {
                    let scope = found.serving.workspace.scope()?;
                    named.insert(scope.batch_endpoint(&found.serving.endpoint).key().to_owned());
                    places.insert(scope.key().to_owned(), scope);
                }
                Document::Datastore(document) => {
                    let scope = document.store.workspace.scope()?;
                    stores.insert(scope.key().to_owned(), scope);
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
            stores.insert(scope.key().to_owned(), scope.clone());
        }
        for place in places.values() {
            let whole = whole && first.as_ref() == Some(place);
            // Who may look at one kind only describes that kind only.
            let of = |kind: &str| whole || named.iter().any(|id| id.contains(kind));
            if of("/onlineendpoints/") {
                current.endpoints_of(context, place, &named, whole).await?;
            }
            if of("/batchendpoints/") {
                current.batch_endpoints_of(context, place, &named, whole).await?;
            }
        }
        for place in stores.values() {
            current.datastores_of(context, place).await?;
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

    /// A workspace's batch endpoints, and the deployments of those that are named, or of all.
    async fn batch_endpoints_of(
        &mut self,
        context: &Context,
        workspace: &Scope,
        named: &BTreeSet<String>,
        whole: bool,
    ) -> Result<(), Failure> {
        let list = format!("{}/batchEndpoints", path(workspace));
        for view in context.client.list(&list).await? {
            let endpoint = shape::batch_endpoint(&view)?;
            let id = endpoint.scope()?;
            if whole || named.contains(id.key()) {
                let list = format!("{list}/{}/deployments", escape(&endpoint.name.to_string()));
                for view in context.client.list(&list).await? {
                    let found = shape::batch_deployment(&view)?;
                    let id = found.scope()?;
                    self.batch_deployments.insert(id.key().to_owned(), (found, view));
                }
            }
            self.batch_endpoints.insert(id.key().to_owned(), (endpoint, view));
        }
        Ok(())
    }

    /// A workspace's data stores, without the one that nobody made.
    async fn datastores_of(&mut self, context: &Context, workspace: &Scope) -> Result<(), Failure> {
        for view in context.client.list(&format!("{}/datastores", path(workspace))).await? {
            if shape::is_made(&view) {
                let store = shape::datastore(&view)?;
                let id = store.scope()?;
                self.datastores.insert(id.key().to_owned(), (store, view));
            }
        }
        Ok(())
    }

    /// What the server showed under an id in lower case.
    pub fn view(&self, id: &str) -> Option<&Value> {
        let online = self.endpoints.get(id).map(|(_, view)| view);
        let online = online.or_else(|| self.deployments.get(id).map(|(_, view)| view));
        let batch = online.or_else(|| self.batch_endpoints.get(id).map(|(_, view)| view));
        let batch = batch.or_else(|| self.batch_deployments.get(id).map(|(_, view)| view));
        batch.or_else(|| self.datastores.get(id).map(|(_, view)| view))
    }

    /// Endpoints, deployments and data stores: id in lower case, kind, name, id. Deployments come after endpoints.
    pub fn all(&self) -> Vec<(&String, Kind, String, Result<Scope, ScopeError>)> {
        let endpoints = self
            .endpoints
            .iter()
            .map(|(id, (spec, _))| (id, Kind::Endpoint, spec.name.to_string(), spec.scope()));
        let batch_endpoints = self.batch_endpoints.iter().map(|(id, (endpoint, _))| {
            (id, Kind::BatchEndpoint, endpoint.name.to_string(), endpoint.scope())
        });
        let of = |deployment: &Deployment| format!("{}/{}", deployment.endpoint, deployment.name);
        let deployments = self
            .deployments
            .iter()
            .map(move |(id, (found, _))| (id, Kind::Deployment, of(found), found.scope()));
        let batch_deployments = self
            .batch_deployments
            .iter()
            .map(move |(id, (found, _))| (id, Kind::BatchDeployment, of(&found.serving), found.scope()));
        let stores = self
            .datastores
            .iter()
            .map(|(id, (store, _))| (id, Kind::Datastore, store.name.to_string(), store.scope()));
        let endpoints = endpoints.chain(batch_endpoints);
        endpoints.chain(deployments).chain(batch_deployments).chain(stores).collect()
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
