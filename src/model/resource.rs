//! Everything the store keeps, under one roof.

use serde::{Deserialize, Serialize};

use super::deployment::Deployment;
use super::endpoint::Endpoint;
use super::role::{DenyAssignment, RoleAssignment, RoleDefinition};
use super::scope::{Scope, ScopeError};

/// One resource of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Resource {
    /// An online endpoint.
    Endpoint(Endpoint),
    /// An online deployment.
    Deployment(Deployment),
    /// A custom role.
    RoleDefinition(RoleDefinition),
    /// A grant.
    RoleAssignment(RoleAssignment),
    /// A refusal.
    DenyAssignment(DenyAssignment),
}

impl Resource {
    /// Its resource id.
    pub fn id(&self) -> Result<Scope, ScopeError> {
        Ok(match self {
            Resource::Endpoint(endpoint) => endpoint.scope()?,
            Resource::Deployment(deployment) => deployment
                .workspace
                .scope()?
                .online_endpoint(&deployment.endpoint)
                .deployment(&deployment.name),
            Resource::RoleDefinition(role) => {
                Scope::root().authorization("roleDefinitions", &role.id.to_string())
            }
            Resource::RoleAssignment(grant) => {
                grant.scope.authorization("roleAssignments", &grant.id.to_string())
            }
            Resource::DenyAssignment(denial) => {
                denial.scope.authorization("denyAssignments", &denial.id.to_string())
            }
        })
    }
}
