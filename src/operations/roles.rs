//! Role definitions and role assignments.

use std::sync::Arc;

use uuid::Uuid;

use super::{Granted, Operations, Precondition, Put, Refusal, Written, not_from_files};
use crate::model::resource::{Resource, held};
use crate::model::role::{DenyAssignment, PrincipalId, RoleAssignment, RoleDefinition};
use crate::model::scope::Scope;
use crate::rbac::builtin;
use crate::store::{Change, Contents, Expect, Manager, Stored};

/// The action that writes role definitions; needed at every scope at which a role is assignable.
const WRITE_DEFINITIONS: &str = "Microsoft.Authorization/roleDefinitions/write";

/// Which role assignments are asked for (`$filter`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssignmentFilter {
    /// `atScope()`: not those below.
    pub at_scope: bool,
    /// `principalId eq`: those of one principal itself.
    pub principal: Option<PrincipalId>,
    /// `assignedTo()`: those of one principal and its groups.
    pub assigned_to: Option<PrincipalId>,
}

/// A role or grant, and what the store knows of it; built-in roles and the settings' owners have nothing there.
pub type Known<T> = (T, Option<Arc<Stored>>);

impl Operations {
    /// The scopes above a scope and itself, in lower case.
    fn lineage(&self, scope: &Scope) -> Result<Vec<String>, Refusal> {
        Ok(self.snapshot()?.policy.lineage(scope))
    }

    /// A role by its GUID, built in or custom.
    pub fn role(&self, id: Uuid) -> Option<Known<RoleDefinition>> {
        if let Some(role) = builtin::roles().into_iter().find(|role| role.id == id) {
            return Some((role, None));
        }
        let at = Scope::root().authorization("roleDefinitions", &id.to_string());
        let stored = self.publisher.contents().get(&at)?.clone();
        Some((stored.resource.role()?.clone(), Some(stored)))
    }

    /// Every role that may be assigned at a scope or below it: the built-in ones first.
    pub fn roles_at(&self, scope: &Scope) -> Result<Vec<Known<RoleDefinition>>, Refusal> {
        let lineage = self.lineage(scope)?;
        let contents = self.publisher.contents();
        let assignable = |role: &RoleDefinition| {
            let mut scopes = role.assignable_scopes.iter();
            scopes.any(|at| scope.contains(at) || lineage.iter().any(|level| level == at.key()))
        };
        let custom = contents.iter().filter_map(|stored| Some((stored.resource.role()?, stored)));
        let custom = custom.filter(|(role, _)| assignable(role));
        let custom = custom.map(|(role, stored)| (role.clone(), Some(stored.clone())));
        Ok(builtin::roles().into_iter().map(|role| (role, None)).chain(custom).collect())
    }

    /// Makes a custom role or describes it anew. The right is needed at every scope at which it is or becomes assignable.
    pub async fn put_role(
        &self,
        granted: &Granted,
        role: RoleDefinition,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        if builtin::is_builtin(role.id) {
            let message = "the role is built in and cannot be changed; make one with another GUID".to_owned();
            return Err(Refusal::Rule("RoleDefinitionIsBuiltIn", message));
        }
        let before = self.stored(&role.scope()).await?;
        let expect = precondition.judge(before.as_deref())?;
        let known = before.as_deref().and_then(|stored| stored.resource.role());
        // Whoever holds the role holds what it becomes, so the right is needed where it is held, too.
        let contents = self.publisher.contents();
        let grants = contents.iter().filter_map(|stored| stored.resource.grant());
        let grants = grants.filter(|grant| grant.role == role.id);
        for scope in grants.map(|grant| &grant.scope) {
            self.judge(&granted.asker, WRITE_DEFINITIONS, scope)?;
        }
        for scope in
            role.assignable_scopes.iter().chain(known.iter().flat_map(|role| &role.assignable_scopes))
        {
            self.judge(&granted.asker, WRITE_DEFINITIONS, scope)?;
        }
        if let Some(stored) = &before {
            not_from_files(stored)?;
        } else {
            let there =
                self.publisher.contents().iter().filter(|stored| stored.resource.role().is_some()).count();
            let most = self.limits.role_definitions;
            if there >= most {
                let message =
                    format!("there are {there} custom roles and `limits.role_definitions` is {most}");
                return Err(Refusal::Limit(message));
            }
        }
        let name = role.role_name.clone();
        let put = Put { resource: Resource::RoleDefinition(role), manager: Manager::Caller, expect };
        self.put(granted, put, precondition, Vec::new()).await.map_err(|refusal| match refusal {
            Refusal::Taken => Refusal::Exists(
                "RoleDefinitionWithSameNameExists",
                format!("another role is called `{name}`; choose another name"),
            ),
            other => other,
        })
    }

    /// Removes a custom role that nobody holds, and gives it back. `None` if there was none.
    pub async fn delete_role(
        &self,
        granted: &Granted,
        id: Uuid,
        precondition: &Precondition,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        if builtin::is_builtin(id) {
            let message = "the role is built in and cannot be removed".to_owned();
            return Err(Refusal::Rule("RoleDefinitionIsBuiltIn", message));
        }
        let at = Scope::root().authorization("roleDefinitions", &id.to_string());
        let before = self.stored(&at).await?;
        let expect = precondition.judge(before.as_deref())?;
        let Some(before) = before else { return Ok(None) };
        not_from_files(&before)?;
        for scope in before.resource.role().iter().flat_map(|role| &role.assignable_scopes) {
            self.judge(&granted.asker, granted.action, scope)?;
        }
        let changes = vec![Change::RequireUnclaimed(held(id)), Change::Delete(at, expect)];
        self.commit(granted, changes).await.map_err(|refusal| match refusal {
            Refusal::Taken => {
                let message = "role assignments grant the role; delete those first".to_owned();
                Refusal::Rule("RoleDefinitionHasAssignments", message)
            }
            other => other.under(precondition),
        })?;
        Ok(Some(before))
    }

    /// A grant by its scope and GUID.
    pub fn grant(&self, scope: &Scope, id: Uuid) -> Option<Known<RoleAssignment>> {
        let own = self.owners.iter().find(|grant| grant.id == id && grant.scope == *scope);
        if let Some(grant) = own {
            return Some((grant.clone(), None));
        }
        let at = scope.authorization("roleAssignments", &id.to_string());
        let stored = self.publisher.contents().get(&at)?.clone();
        Some((stored.resource.grant()?.clone(), Some(stored)))
    }

    /// Grants at a scope, above it and (unless the filter says otherwise) below it.
    pub fn grants(
        &self,
        granted: &Granted,
        filter: &AssignmentFilter,
    ) -> Result<Vec<Known<RoleAssignment>>, Refusal> {
        let scope = &granted.scope;
        let lineage = self.lineage(scope)?;
        let own_groups = granted.asker.principals();
        let wanted = |grant: &RoleAssignment| {
            let here = lineage.iter().any(|level| level == grant.scope.key())
                || (!filter.at_scope && scope.contains(&grant.scope));
            let assigned = filter.assigned_to.is_none_or(|principal| {
                principal == grant.principal
                    || (principal == own_groups.id && own_groups.groups.contains(&grant.principal))
            });
            here && assigned && filter.principal.is_none_or(|principal| principal == grant.principal)
        };
        let contents = self.publisher.contents();
        let owners = self.owners.iter().filter(|grant| wanted(grant)).map(|grant| (grant.clone(), None));
        let stored = contents.iter().filter_map(|stored| Some((stored.resource.grant()?, stored)));
        let stored = stored.filter(|(grant, _)| wanted(grant));
        Ok(owners.chain(stored.map(|(grant, stored)| (grant.clone(), Some(stored.clone())))).collect())
    }

    /// Refusals that apply at a scope.
    pub fn denials(&self, scope: &Scope) -> Result<Vec<DenyAssignment>, Refusal> {
        let lineage = self.lineage(scope)?;
        let contents: Arc<Contents> = self.publisher.contents();
        let each = contents.iter().filter_map(|stored| stored.resource.denial());
        let here = |denial: &&DenyAssignment| {
            scope.contains(&denial.scope) || lineage.iter().any(|level| level == denial.scope.key())
        };
        Ok(each.filter(here).cloned().collect())
    }

    /// Grants a role.
    pub async fn put_grant(
        &self,
        granted: &Granted,
        grant: RoleAssignment,
        precondition: &Precondition,
    ) -> Result<Written, Refusal> {
        let Some((role, _)) = self.role(grant.role) else {
            let message = format!("there is no role definition `{}`", grant.role);
            return Err(Refusal::Rule("RoleDefinitionDoesNotExist", message));
        };
        let lineage = self.lineage(&grant.scope)?;
        if !role.assignable_scopes.iter().any(|at| lineage.iter().any(|level| level == at.key())) {
            let message = format!(
                "role `{}` is not assignable at `{}`; see its assignableScopes",
                role.role_name, grant.scope
            );
            return Err(Refusal::Rule("RoleDefinitionNotAssignableAtScope", message));
        }
        if self.owners.iter().any(|own| own.id == grant.id) {
            let message = "the configuration's `owners` have an assignment of this name; choose another GUID";
            return Err(Refusal::Exists("RoleAssignmentExists", message.to_owned()));
        }
        let before = self.stored(&grant.own_scope()).await?;
        let expect = precondition.judge(before.as_deref())?;
        if let Some(stored) = before.as_deref() {
            not_from_files(stored)?;
            let same = stored
                .resource
                .grant()
                .is_some_and(|known| known.role == grant.role && known.principal == grant.principal);
            if !same {
                let message =
                    "an assignment's role and principal cannot be changed; delete it and make another";
                return Err(Refusal::Exists("RoleAssignmentUpdateNotPermitted", message.to_owned()));
            }
        } else {
            let there = self.snapshot()?.policy.grants().len();
            let most = self.limits.role_assignments;
            if there >= most {
                let message =
                    format!("there are {there} role assignments and `limits.role_assignments` is {most}");
                return Err(Refusal::Limit(message));
            }
        }
        let mut require = Vec::new();
        // What the right to grant may hang on must not go in the same moment: the next of that name would inherit.
        let contents = self.publisher.contents();
        for level in grant.scope.lineage() {
            let Ok(scope) = level.parse::<Scope>() else { continue };
            let known = contents.get(&scope).is_some() || self.stored(&scope).await?.is_some();
            // Nobody means to grant at what is not there, and whoever makes it later did not mean it either.
            let by_itself = self.workspace(&scope).is_some() || self.own_datastore(&scope).is_some();
            if !known && scope.is_in_a_workspace() && !by_itself {
                return Err(Refusal::NotFound(scope));
            }
            if known {
                require.push(Change::Require(scope, Expect::Present));
            }
        }
        if !builtin::is_builtin(grant.role) {
            require.push(Change::Require(role.scope(), Expect::Present));
        }
        let put = Put { resource: Resource::RoleAssignment(grant), manager: Manager::Caller, expect };
        self.put(granted, put, precondition, require).await.map_err(|refusal| match refusal {
            Refusal::Taken => Refusal::Exists(
                "RoleAssignmentExists",
                "another assignment has this name, or grants this role to this principal at this scope"
                    .to_owned(),
            ),
            other => other,
        })
    }

    /// Takes a grant away, and gives it back. `None` if there was none.
    pub async fn delete_grant(
        &self,
        granted: &Granted,
        id: Uuid,
        precondition: &Precondition,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        if self.owners.iter().any(|grant| grant.id == id) {
            let message = "the assignment comes from `owners` in the configuration file; change it there";
            return Err(Refusal::Exists("ManagedByFiles", message.to_owned()));
        }
        let at = granted.scope.authorization("roleAssignments", &id.to_string());
        let before = self.stored(&at).await?;
        let expect = precondition.judge(before.as_deref())?;
        let Some(before) = before else { return Ok(None) };
        not_from_files(&before)?;
        let changes = vec![Change::Delete(at, expect)];
        self.commit(granted, changes).await.map_err(|refusal| refusal.under(precondition))?;
        Ok(Some(before))
    }
}
