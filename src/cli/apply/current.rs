//! What the server has of all that documents speak of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::http::escape;
use crate::cli::scope::path;
use crate::cli::shape::{Noun, is_made};
use crate::model::batch::{BatchDeployment, BatchEndpoint};
use crate::model::deployment::Deployment;
use crate::model::endpoint::EndpointSpec;
use crate::model::scope::{Scope, ScopeError};
use crate::model::workspace::Workspace;
use crate::rbac::builtin;
use crate::resources::{DatastoreDocument, Document, DocumentKind};

/// Resources of a kind by id in lower case, each with what the server showed.
pub type Known<T> = BTreeMap<String, (T, Value)>;

/// The server's state.
#[derive(Debug, Default)]
pub struct Current {
    pub endpoints: Known<EndpointSpec>,
    pub deployments: Known<Deployment>,
    pub batch_endpoints: Known<BatchEndpoint>,
    pub batch_deployments: Known<BatchDeployment>,
    pub datastores: Known<DatastoreDocument>,
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
        let mut speak_of = |place: Scope, endpoint: Scope| {
            named.insert(endpoint.key().to_owned());
            places.insert(place.key().to_owned(), place);
        };
        for (_, document) in documents {
            match document {
                Document::Endpoint(spec) => speak_of(spec.workspace.scope()?, spec.scope()?),
                Document::Deployment(found) => {
                    let place = found.workspace.scope()?;
                    let endpoint = place.online_endpoint(&found.endpoint);
                    speak_of(place, endpoint);
                }
                Document::BatchEndpoint(endpoint) => {
                    speak_of(endpoint.workspace.scope()?, endpoint.scope()?);
                }
                Document::BatchDeployment(found) => {
                    let place = found.serving.workspace.scope()?;
                    let endpoint = place.batch_endpoint(&found.serving.endpoint);
                    speak_of(place, endpoint);
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
            let wanted = |id: &Scope| whole || named.contains(id.key());
            if of("/onlineendpoints/") {
                let list = format!("{}/onlineEndpoints", path(place));
                let into = (&mut current.endpoints, &mut current.deployments);
                endpoints(context, &list, wanted, into).await?;
            }
            if of("/batchendpoints/") {
                let list = format!("{}/batchEndpoints", path(place));
                let into = (&mut current.batch_endpoints, &mut current.batch_deployments);
                endpoints(context, &list, wanted, into).await?;
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

    /// A workspace's data stores, without the one that nobody made.
    async fn datastores_of(&mut self, context: &Context, workspace: &Scope) -> Result<(), Failure> {
        for view in context.client.list(&format!("{}/datastores", path(workspace))).await? {
            if is_made(&view) {
                insert(&mut self.datastores, DatastoreDocument::seen(&view)?, view)?;
            }
        }
        Ok(())
    }

    /// What the server showed under an id in lower case.
    pub fn view(&self, id: &str) -> Option<&Value> {
        fn of<'a, T>(known: &'a Known<T>, id: &str) -> Option<&'a Value> {
            known.get(id).map(|(_, view)| view)
        }
        let endpoints = of(&self.endpoints, id).or_else(|| of(&self.batch_endpoints, id));
        let deployments = || of(&self.deployments, id).or_else(|| of(&self.batch_deployments, id));
        endpoints.or_else(deployments).or_else(|| of(&self.datastores, id))
    }

    /// Endpoints, deployments and data stores: id in lower case, kind, id. Deployments come after endpoints.
    pub fn all(&self) -> Vec<(&String, DocumentKind, Result<Scope, ScopeError>)> {
        fn of<T: Noun>(
            known: &Known<T>,
        ) -> impl Iterator<Item = (&String, DocumentKind, Result<Scope, ScopeError>)> {
            known.iter().map(|(id, (noun, _))| (id, T::KIND, noun.id()))
        }
        let endpoints = of(&self.endpoints).chain(of(&self.batch_endpoints));
        let deployments = of(&self.deployments).chain(of(&self.batch_deployments));
        endpoints.chain(deployments).chain(of(&self.datastores)).collect()
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

fn insert<T: Noun>(known: &mut Known<T>, noun: T, view: Value) -> Result<(), ScopeError> {
    known.insert(noun.id()?.key().to_owned(), (noun, view));
    Ok(())
}

/// The endpoints of a list, and the deployments of those that are wanted.
async fn endpoints<E: Noun, D: Noun>(
    context: &Context,
    list: &str,
    wanted: impl Fn(&Scope) -> bool,
    into: (&mut Known<E>, &mut Known<D>),
) -> Result<(), Failure> {
    for view in context.client.list(list).await? {
        let endpoint = E::seen(&view)?;
        let id = endpoint.id()?;
        if wanted(&id) {
            for view in context.client.list(&format!("{}/deployments", path(&id))).await? {
                insert(into.1, D::seen(&view)?, view)?;
            }
        }
        insert(into.0, endpoint, view)?;
    }
    Ok(())
}

/// The GUID that a view is named by.
pub fn guid(view: &Value) -> Option<Uuid> {
    view.get("name")?.as_str()?.parse().ok()
}
