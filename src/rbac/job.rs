//! The rights that a batch job needs. They are judged together: a job has all of them or is not made.

use super::{Action, Decision, Policy, Principals};
use crate::model::job::Grounds;
use crate::model::scope::Scope;

/// What a right is for ("Authorization on batch endpoints", where each is a line of what an invocation needs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Reading batch endpoints and deployments.
    Read,
    /// Creating jobs in them.
    Jobs,
    /// Creating experiments and runs.
    Runs,
    /// Reading and writing data stores.
    Datastores,
    /// Listing the secrets of data stores.
    Secrets,
}

/// One right that a job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// What it is for.
    pub group: Group,
    /// The action.
    pub action: &'static str,
    /// Where it is judged.
    pub scope: Scope,
}

/// The resources that a job touches.
#[derive(Debug, Clone, Copy)]
pub struct Touches<'a> {
    /// Its workspace.
    pub workspace: &'a Scope,
    /// The endpoint that is invoked.
    pub endpoint: &'a Scope,
    /// The deployment that scores.
    pub deployment: &'a Scope,
    /// The store of its input; an input by address is judged at the workspace.
    pub input: Option<&'a Scope>,
    /// The store of its output.
    pub output: &'a Scope,
}

/// A right that a principal has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The right.
    pub right: Right,
    /// The deny assignment that forbids it, whatever is granted.
    pub denied_by: Option<String>,
}

macro_rules! ml {
    ($action:literal) => {
        concat!("Microsoft.MachineLearningServices/workspaces/", $action)
    };
}

/// Every right that a job needs, each at the resource that it concerns.
pub fn rights(of: Touches<'_>) -> Vec<Right> {
    let input = of.input.unwrap_or(of.workspace);
    let mut rights = vec![
        (Group::Read, ml!("read"), of.workspace),
        (Group::Read, ml!("batchEndpoints/read"), of.endpoint),
        (Group::Read, ml!("batchEndpoints/deployments/read"), of.deployment),
        (Group::Jobs, ml!("batchEndpoints/jobs/write"), of.endpoint),
        (Group::Jobs, ml!("batchEndpoints/deployments/jobs/write"), of.deployment),
        (Group::Runs, ml!("experiments/read"), of.workspace),
        (Group::Runs, ml!("experiments/runs/submit/action"), of.workspace),
        (Group::Runs, ml!("experiments/runs/read"), of.workspace),
        (Group::Runs, ml!("experiments/runs/write"), of.workspace),
        (Group::Runs, ml!("metrics/resource/write"), of.workspace),
        (Group::Datastores, ml!("datastores/read"), input),
        (Group::Datastores, ml!("datastores/read"), of.output),
        (Group::Datastores, ml!("datastores/write"), of.output),
        (Group::Secrets, ml!("datastores/listSecrets/action"), input),
        (Group::Secrets, ml!("datastores/listSecrets/action"), of.output),
    ];
    // One store for both is asked about once.
    rights.dedup();
    let each = rights.into_iter().map(|(group, action, scope)| Right { group, action, scope: scope.clone() });
    each.collect()
}

impl Policy {
    /// What gives a principal each of these rights, or every one of them that it has not.
    pub fn grounds(&self, who: Principals<'_>, rights: &[Right]) -> Result<Vec<Grounds>, Vec<Missing>> {
        let (mut grounds, mut missing) = (Vec::with_capacity(rights.len()), Vec::new());
        for right in rights {
            let place = self.place(&right.scope);
            match self.decide(who, &Action::control(right.action), &place) {
                Decision::Allowed(grant) => grounds.push(Grounds {
                    action: right.action.to_owned(),
                    scope: right.scope.clone(),
                    decided_by: grant
                        .scope
                        .authorization("roleAssignments", &grant.assignment.to_string())
                        .to_string(),
                }),
                Decision::Denied { name, .. } => {
                    missing.push(Missing { right: right.clone(), denied_by: Some(name.to_owned()) });
                }
                Decision::NotGranted => missing.push(Missing { right: right.clone(), denied_by: None }),
            }
        }
        if missing.is_empty() { Ok(grounds) } else { Err(missing) }
    }
}

#[cfg(test)]
mod tests;
