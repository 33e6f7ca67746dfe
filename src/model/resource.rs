//! Everything the store keeps, under one roof.

use serde::{Deserialize, Serialize};

use super::asset::Asset;
use super::batch::{BatchDeployment, BatchEndpoint};
use super::datastore::Datastore;
use super::deployment::Deployment;
use super::endpoint::Endpoint;
use super::role::{DenyAssignment, RoleAssignment, RoleDefinition};
use super::scope::{Scope, ScopeError};
use super::token_key::TokenKey;
use super::workspace::Workspace;

/// What the claims of every grant of a role begin with.
pub fn held(role: uuid::Uuid) -> String {
    format!("held {role} ")
}

/// One resource of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Resource {
    /// A workspace.
    Workspace(Workspace),
    /// An online endpoint.
    Endpoint(Box<Endpoint>),
    /// An online deployment.
    Deployment(Box<Deployment>),
    /// A batch endpoint.
    BatchEndpoint(Box<BatchEndpoint>),
    /// A batch deployment.
    BatchDeployment(Box<BatchDeployment>),
    /// A data store.
    Datastore(Box<Datastore>),
    /// A version of a model or an environment, kept to be referred to.
    Asset(Asset),
    /// A custom role.
    RoleDefinition(RoleDefinition),
    /// A grant.
    RoleAssignment(RoleAssignment),
    /// A refusal.
    DenyAssignment(DenyAssignment),
    /// A key that signs tokens for endpoints.
    TokenKey(TokenKey),
}

/// What of a resource is asked for, if it is that.
macro_rules! as_noun {
    ($($(#[$doc:meta])* $name:ident: $variant:ident => $noun:ty;)*) => {
        impl Resource {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<&$noun> {
                match self {
                    Resource::$variant(noun) => Some(noun),
                    _ => None,
                }
            })*
        }
    };
}

as_noun! {
    /// The workspace.
    workspace: Workspace => Workspace;
    /// The endpoint.
    endpoint: Endpoint => Endpoint;
    /// The deployment.
    deployment: Deployment => Deployment;
    /// The batch endpoint.
    batch_endpoint: BatchEndpoint => BatchEndpoint;
    /// The batch deployment.
    batch_deployment: BatchDeployment => BatchDeployment;
    /// The data store.
    datastore: Datastore => Datastore;
    /// The model or environment.
    asset: Asset => Asset;
    /// The custom role.
    role: RoleDefinition => RoleDefinition;
    /// The grant.
    grant: RoleAssignment => RoleAssignment;
    /// The refusal.
    denial: DenyAssignment => DenyAssignment;
    /// The signing key.
    token_key: TokenKey => TokenKey;
}

impl Resource {
    /// Its resource id.
    pub fn id(&self) -> Result<Scope, ScopeError> {
        Ok(match self {
            Resource::Workspace(workspace) => workspace.place.scope()?,
            Resource::Endpoint(endpoint) => endpoint.scope()?,
            Resource::Deployment(deployment) => deployment.scope()?,
            Resource::BatchEndpoint(endpoint) => endpoint.scope()?,
            Resource::BatchDeployment(deployment) => deployment.scope()?,
            Resource::Datastore(datastore) => datastore.scope()?,
            Resource::Asset(asset) => asset.id.clone(),
            Resource::RoleDefinition(role) => role.scope(),
            Resource::RoleAssignment(grant) => grant.own_scope(),
            Resource::DenyAssignment(denial) => {
                denial.scope.authorization("denyAssignments", &denial.id.to_string())
            }
            Resource::TokenKey(key) => Scope::root().gateway("tokenKeys", &key.id),
        })
    }

    /// What no other resource may have as well: names that are unique beyond their place.
    pub fn claims(&self) -> Vec<String> {
        match self {
            Resource::Endpoint(endpoint) => vec![format!("endpoint {}", endpoint.spec.name.key())],
            Resource::BatchEndpoint(endpoint) => vec![format!("endpoint {}", endpoint.name.key())],
            Resource::RoleDefinition(role) => vec![format!("role {}", role.role_name.to_lowercase())],
            Resource::RoleAssignment(grant) => vec![
                format!("grant {}", grant.id),
                format!("grant {} {} {}", grant.scope.key(), grant.role, grant.principal),
                format!("{}{}", held(grant.role), grant.own_scope().key()),
            ],
            _ => Vec::new(),
        }
    }
}
