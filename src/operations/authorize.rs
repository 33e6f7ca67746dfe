//! Whether somebody may do something to a resource, and the proof that he may.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::{Operations, Refusal};
use crate::identity::caller::{Caller, Groups};
use crate::model::audit::Actor;
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::rbac::{Action, Decision, Principals};
use crate::routing::Snapshot;

/// Somebody who asks for something: who, under which id, from where.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Whose token it is.
    pub caller: Arc<Caller>,
    /// Groups from the token or the directory; none if they could not be looked up.
    groups: Option<Arc<[PrincipalId]>>,
    /// The request's id.
    pub request_id: String,
    /// Where it came from.
    pub client: IpAddr,
}

impl Asker {
    /// The principals that rights are looked up for.
    pub fn principals(&self) -> Principals<'_> {
        Principals { id: self.caller.object_id, groups: self.groups.as_deref().unwrap_or_default() }
    }

    /// Who the audit says it was.
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }
}

/// The right to do one thing to one resource, decided. Only [`Operations::authorize`] makes one.
#[derive(Debug)]
pub struct Granted {
    /// Who may.
    pub asker: Asker,
    /// What.
    pub action: &'static str,
    /// To what.
    pub scope: Scope,
    /// Under which the operation is recorded.
    pub operation: Uuid,
    pub(super) decided_by: String,
    _only_here: (),
}

impl Operations {
    /// Prepares to judge somebody: groups that did not fit into the token are looked up.
    pub async fn asker(&self, caller: Arc<Caller>, request_id: String, client: IpAddr) -> Asker {
        let groups = match (&caller.groups, &self.directory) {
            (Groups::Known(groups), _) => Some(groups.iter().copied().collect()),
            (Groups::Overage, Some(directory)) => directory.groups(&caller).await.ok(),
            (Groups::Overage, None) => None,
        };
        Asker { caller, groups, request_id, client }
    }

    /// The resources in force, unless they are too old to decide by.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        let too_old = || Refusal::Unavailable("the snapshot is too old".to_owned());
        self.publisher.cell().fresh().ok_or_else(too_old)
    }

    /// Judges whether somebody may do something at a scope. A refusal says no more than he may know.
    pub fn authorize(&self, asker: Asker, action: &'static str, scope: Scope) -> Result<Granted, Refusal> {
        let decided_by = self.judge(&asker, action, &scope)?;
        Ok(Granted { asker, action, scope, operation: Uuid::new_v4(), decided_by, _only_here: () })
    }

    /// The id of the assignment that allows it, or why it is not allowed.
    pub(super) fn judge(&self, asker: &Asker, action: &str, scope: &Scope) -> Result<String, Refusal> {
        let snapshot = self.snapshot()?;
        let place = snapshot.policy.place(scope);
        let decision = snapshot.policy.decide(asker.principals(), &Action::control(action), &place);
        let unknown_groups = asker.groups.is_none();
        match decision {
            Decision::Allowed(_) if unknown_groups && snapshot.policy.has_denials() => {
                Err(Refusal::IdentityUnavailable)
            }
            Decision::Allowed(grant) => {
                let own = grant.scope.authorization("roleAssignments", &grant.assignment.to_string());
                Ok(own.to_string())
            }
            Decision::NotGranted if unknown_groups => Err(Refusal::IdentityUnavailable),
            Decision::NotGranted | Decision::Denied { .. } if !visible(&snapshot, asker, scope) => {
                Err(Refusal::NotFound(scope.clone()))
            }
            Decision::Denied { name, .. } => Err(Refusal::Denied(format!(
                "{}. The deny assignment '{name}' forbids it",
                lacking(asker, action, scope)
            ))),
            Decision::NotGranted => Err(Refusal::NotAuthorized(format!(
                "{} or the scope is invalid. If access was recently granted, please refresh your credentials.",
                lacking(asker, action, scope)
            ))),
        }
    }
}

fn lacking(asker: &Asker, action: &str, scope: &Scope) -> String {
    let client = asker.caller.app_id.as_deref().unwrap_or("unknown");
    let object = asker.caller.object_id;
    format!(
        "The client '{client}' with object id '{object}' does not have authorization to perform action '{action}' over scope '{scope}'"
    )
}

/// Whether somebody may know that what stands above a scope exists: he may read it, or, where it is no more than a
/// name (a resource group or a subscription), holds a role in it.
fn visible(snapshot: &Snapshot, asker: &Asker, scope: &Scope) -> bool {
    let lineage = scope.lineage();
    let parent = match lineage.as_slice() {
        [_, parent, ..] => *parent,
        _ => "/",
    };
    if let Some(action) = read_action(parent) {
        let Ok(parent) = parent.parse::<Scope>() else { return false };
        let place = snapshot.policy.place(&parent);
        return snapshot.policy.decide(asker.principals(), &Action::control(&action), &place).is_allowed();
    }
    let within = |inner: &str, outer: &str| {
        outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    snapshot.policy.grants_of(asker.principals()).any(|grant| {
        let key = grant.scope.key();
        within(key, parent) || within(parent, key)
    })
}

/// The action of reading a resource, by its id; none for what is only a name.
fn read_action(id: &str) -> Option<String> {
    let mut segments = id.split('/').skip(1).skip_while(|segment| *segment != "providers").skip(1);
    let provider = segments.next()?;
    let types: Vec<&str> = segments.step_by(2).collect();
    (!types.is_empty() && provider != "microsoft.management")
        .then(|| format!("{provider}/{}/read", types.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_of_reading_follows_from_the_id() {
        let workspace =
            "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w";
        let provider = "microsoft.machinelearningservices/workspaces";
        for (id, action) in [
            ("/".to_owned(), None),
            ("/subscriptions/s".to_owned(), None),
            ("/subscriptions/s/resourcegroups/g".to_owned(), None),
            ("/providers/microsoft.management/managementgroups/m".to_owned(), None),
            (workspace.to_owned(), Some(format!("{provider}/read"))),
            (format!("{workspace}/onlineendpoints/e"), Some(format!("{provider}/onlineendpoints/read"))),
            (
                format!("{workspace}/onlineendpoints/e/deployments/d"),
                Some(format!("{provider}/onlineendpoints/deployments/read")),
            ),
        ] {
            assert_eq!(read_action(&id), action, "{id}");
        }
    }
}
