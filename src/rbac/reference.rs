//! A slow, obvious evaluator of the same rules, to hold the compiled one against. It shares no code with it, and only
//! tests use it.

#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "tests may fail")]

use super::builtin;
use crate::model::role::{DenyAssignment, Permission, PrincipalId, RoleAssignment, RoleDefinition};
use crate::model::scope::Scope;

/// What is granted and refused, as it is written.
#[derive(Debug, Default)]
pub struct World {
    /// Custom roles.
    pub roles: Vec<RoleDefinition>,
    /// Grants.
    pub assignments: Vec<RoleAssignment>,
    /// Refusals.
    pub denials: Vec<DenyAssignment>,
    /// (child, parent) of the management-group tree.
    pub tree: Vec<(Scope, Scope)>,
}

/// Whether a caller in these groups may do something.
pub fn allowed(
    world: &World,
    caller: PrincipalId,
    groups: &[PrincipalId],
    action: &str,
    data: bool,
    target: &Scope,
) -> bool {
    let is_caller = |p: &PrincipalId| *p == caller || groups.contains(p);
    for denial in &world.denials {
        let here = if denial.do_not_apply_to_child_scopes {
            denial.scope == *target
        } else {
            within(world, target.key(), denial.scope.key())
        };
        let named = denial.principals.iter().any(|p| p.0.is_nil() || is_caller(p));
        if here
            && named
            && !denial.exclude_principals.iter().any(is_caller)
            && covers(&denial.permissions, action, data)
        {
            return false;
        }
    }
    world.assignments.iter().any(|assignment| {
        let custom = world.roles.iter().find(|r| r.id == assignment.role).cloned();
        let role = custom.or_else(|| builtin::roles().into_iter().find(|r| r.id == assignment.role));
        assignment.condition.is_none()
            && is_caller(&assignment.principal)
            && within(world, target.key(), assignment.scope.key())
            && role.is_some_and(|role| covers(&role.permissions, action, data))
    })
}

fn covers(permissions: &[Permission], action: &str, data: bool) -> bool {
    let action = action.to_lowercase();
    permissions.iter().any(|p| {
        let (yes, no) =
            if data { (&p.data_actions, &p.not_data_actions) } else { (&p.actions, &p.not_actions) };
        yes.iter().any(|y| like(&y.to_lowercase(), &action))
            && !no.iter().any(|n| like(&n.to_lowercase(), &action))
    })
}

/// `*` is any run of characters; a star between slashes may vanish together with one of them.
fn like(pattern: &str, text: &str) -> bool {
    if let Some(at) = pattern.find("/*/") {
        let without = format!("{}{}", &pattern[..at], &pattern[at + 2..]);
        let (head, tail) = pattern.split_at(at + 1);
        // Hide this star from the next look by handling it as a star that is already chosen to stay.
        return like(&without, text) || glob_then(head, &tail[1..], text);
    }
    glob(pattern.as_bytes(), text.as_bytes())
}

/// Matches `head`, then any run, then `tail` (in which further `/*/` may vanish).
fn glob_then(head: &str, tail: &str, text: &str) -> bool {
    (0..=text.len()).any(|cut| {
        glob(head.as_bytes(), &text.as_bytes()[..cut])
            && (cut..=text.len()).any(|from| like(tail, &text[from..]))
    })
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(p), Some(t)) => p == t && glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

fn within(world: &World, target: &str, scope: &str) -> bool {
    if scope == "/" || target == scope || target.starts_with(&format!("{scope}/")) {
        return true;
    }
    if !scope.starts_with("/providers/microsoft.management/") {
        return false;
    }
    // Climb from the subscription (or group) through its parents.
    let mut at = target.split('/').take(3).collect::<Vec<_>>().join("/");
    if target.starts_with("/providers/microsoft.management/") {
        target.clone_into(&mut at);
    }
    for _ in 0..10 {
        match world.tree.iter().rev().find(|(child, _)| child.key() == at) {
            Some((_, parent)) if parent.key() == scope => return true,
            Some((_, parent)) => at = parent.key().to_owned(),
            None => return false,
        }
    }
    false
}
