//! Role definitions, role assignments and deny assignments, as Azure RBAC defines them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scope::Scope;

/// The object id of a user, group, service principal or managed identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrincipalId(pub Uuid);

impl PrincipalId {
    /// Azure's marker for "all principals" in a deny assignment.
    pub const EVERYONE: PrincipalId = PrincipalId(Uuid::nil());
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Patterns of actions that are granted, less those that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Permission {
    /// Granted control-plane actions; scoring is one of them.
    pub actions: Vec<String>,
    /// Taken out of `actions`, in this permission only.
    pub not_actions: Vec<String>,
    /// Granted data actions.
    pub data_actions: Vec<String>,
    /// Taken out of `data_actions`, in this permission only.
    pub not_data_actions: Vec<String>,
}

/// A named set of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDefinition {
    /// The definition's GUID, the same in every scope.
    pub id: Uuid,
    /// The name shown to people.
    pub role_name: String,
    /// What the role is for.
    #[serde(default)]
    pub description: String,
    /// The role grants what any of these grants.
    pub permissions: Vec<Permission>,
    /// Where the role may be assigned; not consulted when access is judged.
    pub assignable_scopes: Vec<Scope>,
}

impl RoleDefinition {
    /// Its own resource id.
    pub fn scope(&self) -> Scope {
        Scope::root().authorization("roleDefinitions", &self.id.to_string())
    }
}

/// What sort of principal an assignment names. Kept and shown; rights do not depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrincipalType {
    /// A person.
    #[default]
    User,
    /// A security group.
    Group,
    /// An application or managed identity.
    ServicePrincipal,
    /// A group of another tenant.
    ForeignGroup,
}

impl PrincipalType {
    /// Every type and its name.
    pub const ALL: [(&'static str, PrincipalType); 4] = [
        ("User", PrincipalType::User),
        ("Group", PrincipalType::Group),
        ("ServicePrincipal", PrincipalType::ServicePrincipal),
        ("ForeignGroup", PrincipalType::ForeignGroup),
    ];

    /// Azure's name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("User", |(name, _)| name)
    }
}

/// A role granted to a principal at a scope and everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAssignment {
    /// The assignment's name, a GUID.
    pub id: Uuid,
    /// Where the role holds.
    pub scope: Scope,
    /// The role's GUID.
    pub role: Uuid,
    /// Who holds it.
    pub principal: PrincipalId,
    /// What the principal is.
    #[serde(default)]
    pub principal_type: PrincipalType,
    /// An ABAC condition. None is understood yet, so an assignment with one grants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl RoleAssignment {
    /// Its own resource id.
    pub fn own_scope(&self) -> Scope {
        self.scope.authorization("roleAssignments", &self.id.to_string())
    }
}

/// Actions refused to principals at a scope, whatever their roles grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyAssignment {
    /// The assignment's name, a GUID.
    pub id: Uuid,
    /// The name shown to people.
    pub name: String,
    /// Where the refusal holds.
    pub scope: Scope,
    /// What is refused.
    pub permissions: Vec<Permission>,
    /// To whom; [`PrincipalId::EVERYONE`] stands for all.
    pub principals: Vec<PrincipalId>,
    /// Who is exempt.
    #[serde(default)]
    pub exclude_principals: Vec<PrincipalId>,
    /// The refusal holds at the scope itself and not below it.
    #[serde(default)]
    pub do_not_apply_to_child_scopes: bool,
}
