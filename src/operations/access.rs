//! What somebody may do, who may do something, and what is missing.

use uuid::Uuid;

use super::{Asker, Operations, Refusal};
use crate::arm::access::{AccessView, DecidingDenial, DecidingGrant, HolderView, MissingGrant};
use crate::model::resource::Resource;
use crate::model::role::{Permission, PrincipalId, PrincipalType};
use crate::model::scope::Scope;
use crate::rbac::{Action, ActionKind, Decision, Grant, Principals, builtin, role_covers};

/// Roles that are suggested, the smallest first.
const SUGGESTED: &[&str] = &[
    "Reader",
    "AzureML Compute Operator",
    "AzureML Data Scientist",
    "Role Based Access Control Administrator",
    "User Access Administrator",
    "Contributor",
    "Owner",
];

/// An action that is asked about, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The action.
    pub action: String,
    /// Whether it is a data action.
    pub kind: ActionKind,
}

impl Question {
    fn action(&self) -> Action {
        match self.kind {
            ActionKind::Control => Action::control(&self.action),
            ActionKind::Data => Action::data(&self.action),
        }
    }
}

pub(super) fn deciding(grant: &Grant) -> DecidingGrant {
    DecidingGrant {
        id: grant.scope.authorization("roleAssignments", &grant.assignment.to_string()).to_string(),
        role_name: grant.role_name.to_string(),
        scope: grant.scope.to_string(),
        principal_id: grant.principal.to_string(),
    }
}

/// A word for a shell: names may hold what it would act on.
fn quoted(word: &str) -> String {
    if word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The smallest suggested role that would allow it, as a command.
pub(super) fn missing(
    action: &str,
    kind: ActionKind,
    scope: &Scope,
    (principal, principal_type): (PrincipalId, Option<&str>),
) -> Option<MissingGrant> {
    let question = Question { action: action.to_owned(), kind }.action();
    let roles = builtin::roles();
    let covers = |name: &&&str| {
        let named = roles.iter().find(|role| role.role_name == **name);
        named.is_some_and(|role| role_covers(role, &question))
    };
    let role = SUGGESTED.iter().find(covers)?;
    let known = principal_type.map(|kind| format!(" --assignee-principal-type {kind}")).unwrap_or_default();
    Some(MissingGrant {
        role_name: (*role).to_owned(),
        scope: scope.to_string(),
        command: format!(
            "scoregate role assignment create --assignee-object-id {principal}{known} --role \"{role}\" --scope {}",
            quoted(&scope.to_string())
        ),
    })
}

impl Operations {
    /// Whether a principal may do something at a scope. Of others than the asker only their own grants are known,
    /// not those of their groups.
    pub fn check_access(
        &self,
        asker: &Asker,
        scope: &Scope,
        question: &Question,
        principal: Option<PrincipalId>,
    ) -> Result<AccessView, Refusal> {
        let snapshot = self.snapshot()?;
        let own = asker.principals();
        let who = match principal {
            Some(other) if other != own.id => Principals { id: other, groups: &[] },
            _ => own,
        };
        let decision = snapshot.policy.decide(who, &question.action(), &snapshot.policy.place(scope));
        let (word, grant, denial) = match decision {
            Decision::Allowed(grant) => ("granted", Some(deciding(grant)), None),
            Decision::Denied { id, name } => {
                ("denied", None, Some(DecidingDenial { id: id.to_string(), name: name.to_owned() }))
            }
            Decision::NotGranted => ("not_granted", None, None),
        };
        let lacks = matches!(decision, Decision::NotGranted);
        let kind = (who.id == own.id).then(|| asker.caller.kind.as_str());
        Ok(AccessView {
            allowed: decision.is_allowed(),
            principal_id: who.id.to_string(),
            action: question.action.clone(),
            scope: scope.to_string(),
            decision: word.to_owned(),
            role_assignment: grant,
            deny_assignment: denial,
            missing: if lacks {
                missing(&question.action, question.kind, scope, (who.id, kind))
            } else {
                None
            },
        })
    }

    /// Everybody whom a role assignment lets do something at a scope.
    pub fn who_can(&self, scope: &Scope, question: &Question) -> Result<Vec<HolderView>, Refusal> {
        let snapshot = self.snapshot()?;
        let (policy, action) = (&snapshot.policy, question.action());
        let lineage = policy.lineage(scope);
        let place = policy.place(scope);
        let contents = self.publisher.contents();
        let kind_of = |grant: &Grant| {
            let at = grant.scope.authorization("roleAssignments", &grant.assignment.to_string());
            match contents.get(&at).map(|stored| &stored.resource) {
                Some(Resource::RoleAssignment(found)) => found.principal_type,
                _ => PrincipalType::User,
            }
        };
        let may = |grant: &&Grant| {
            lineage.iter().any(|level| level == grant.scope.key())
                && policy.grants_action(grant, &action)
                && policy
                    .decide(Principals { id: grant.principal, groups: &[] }, &action, &place)
                    .is_allowed()
        };
        let holder = |grant: &Grant| {
            let decided = deciding(grant);
            HolderView {
                principal_id: decided.principal_id,
                principal_type: kind_of(grant).as_str().to_owned(),
                role_name: decided.role_name,
                role_assignment_id: decided.id,
                scope: decided.scope,
            }
        };
        Ok(policy.grants().iter().filter(may).map(holder).collect())
    }

    /// The permissions that the asker's roles give at a scope, one entry for each of a role.
    pub fn permissions(&self, asker: &Asker, scope: &Scope) -> Result<Vec<Permission>, Refusal> {
        let snapshot = self.snapshot()?;
        let lineage = snapshot.policy.lineage(scope);
        let mut roles: Vec<Uuid> = Vec::new();
        for grant in snapshot.policy.grants_of(asker.principals()) {
            if lineage.iter().any(|level| level == grant.scope.key()) && !roles.contains(&grant.role) {
                roles.push(grant.role);
            }
        }
        Ok(roles.into_iter().filter_map(|id| self.role(id)).flat_map(|(role, _)| role.permissions).collect())
    }

    /// Whether the asker holds any role in a scope, at it, above or below.
    pub fn has_a_role_in(&self, asker: &Asker, scope: &Scope) -> Result<bool, Refusal> {
        let snapshot = self.snapshot()?;
        let lineage = snapshot.policy.lineage(scope);
        let mut grants = snapshot.policy.grants_of(asker.principals());
        Ok(grants.any(|grant| {
            scope.contains(&grant.scope) || lineage.iter().any(|level| level == grant.scope.key())
        }))
    }

    /// Whether the asker may do something, without saying why not.
    pub fn may(&self, asker: &Asker, action: &str, scope: &Scope) -> bool {
        self.judge(asker, action, scope).is_ok()
    }
}
