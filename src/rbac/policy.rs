//! Definitions and assignments compiled to tables.

use std::collections::HashMap;

use uuid::Uuid;

use super::builtin;
use super::decide::Principals;
use super::pattern::{ActionPattern, PatternError};
use crate::model::role::{DenyAssignment, Permission, PrincipalId, RoleAssignment, RoleDefinition};
use crate::model::scope::Scope;

/// Control-plane actions and data actions are two worlds: a grant in one says nothing in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionKind {
    /// Judged by `actions` and `notActions`.
    Control,
    /// Judged by `dataActions` and `notDataActions`.
    Data,
}

/// The tree of management groups above the subscriptions; a resource id does not name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagementGroups {
    /// Child key to parent key, where a child is a management group or a subscription scope in lower case.
    parents: HashMap<String, String>,
}

impl ManagementGroups {
    /// Puts a management group or a subscription under a management group.
    pub fn place(&mut self, child: &Scope, parent: &Scope) {
        self.parents.insert(child.key().to_owned(), parent.key().to_owned());
    }

    /// The groups above a scope of the tree, nearest first. A loop ends after 10 levels, Azure's limit being 6.
    pub fn above<'a>(&'a self, child: &str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(self.parents.get(child), |at| self.parents.get(*at))
            .map(String::as_str)
            .take(10)
    }
}

/// What a policy is compiled from.
#[derive(Debug, Clone, Default)]
pub struct PolicyInput<'a> {
    /// Custom roles; the built-in ones are always there.
    pub roles: Vec<&'a RoleDefinition>,
    /// Grants.
    pub assignments: Vec<&'a RoleAssignment>,
    /// Refusals.
    pub denials: Vec<&'a DenyAssignment>,
    /// Management groups.
    pub groups: ManagementGroups,
}

/// The patterns of one permission.
#[derive(Debug)]
struct Patterns {
    yes: [Vec<ActionPattern>; 2],
    no: [Vec<ActionPattern>; 2],
}

/// A set of permissions; it covers an action if one of them does.
#[derive(Debug)]
pub(super) struct Rights(Vec<Patterns>);

impl Rights {
    fn compile(permissions: &[Permission]) -> Result<Rights, PatternError> {
        let list = |texts: &[String]| -> Result<Vec<_>, _> {
            texts.iter().map(|text| ActionPattern::parse(text)).collect()
        };
        let one = |p: &Permission| -> Result<Patterns, PatternError> {
            Ok(Patterns {
                yes: [list(&p.actions)?, list(&p.data_actions)?],
                no: [list(&p.not_actions)?, list(&p.not_data_actions)?],
            })
        };
        permissions.iter().map(one).collect::<Result<_, _>>().map(Rights)
    }

    pub(super) fn cover(&self, action: &Action) -> bool {
        let pick = |lists: &[Vec<ActionPattern>; 2]| {
            let [control, data] = lists;
            let list = if action.kind == ActionKind::Control { control } else { data };
            list.iter().any(|pattern| pattern.matches(&action.name))
        };
        self.0.iter().any(|patterns| pick(&patterns.yes) && !pick(&patterns.no))
    }
}

/// An action that is asked for, in lower case; one made by [`Policy::prepare`] already knows which roles cover it.
#[derive(Debug, Clone)]
pub struct Action {
    name: Box<str>,
    kind: ActionKind,
    covered: Option<Box<[bool]>>,
}

impl Action {
    /// A control-plane action.
    pub fn control(name: &str) -> Action {
        Action { name: name.to_ascii_lowercase().into(), kind: ActionKind::Control, covered: None }
    }

    /// A data action.
    pub fn data(name: &str) -> Action {
        Action { kind: ActionKind::Data, ..Action::control(name) }
    }
}

/// Whether a role covers an action, wherever it may be held.
pub fn role_covers(role: &RoleDefinition, action: &Action) -> bool {
    Rights::compile(&role.permissions).is_ok_and(|rights| rights.cover(action))
}

/// A role assignment in force, as a decision names it.
#[derive(Debug)]
pub struct Grant {
    /// The assignment's GUID.
    pub assignment: Uuid,
    /// The role's GUID.
    pub role: Uuid,
    /// The role's name.
    pub role_name: Box<str>,
    /// Where it holds.
    pub scope: Scope,
    /// Who holds it.
    pub principal: PrincipalId,
    pub(super) rights: usize,
}

/// A role assignment that grants nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InertGrant {
    /// The assignment's GUID.
    pub assignment: Uuid,
    /// What is not understood about it.
    pub reason: String,
}

#[derive(Debug)]
pub(super) struct Denial {
    pub(super) id: Uuid,
    pub(super) name: Box<str>,
    pub(super) principals: Vec<PrincipalId>,
    pub(super) exempt: Vec<PrincipalId>,
    pub(super) own_scope_only: bool,
    pub(super) rights: Rights,
}

/// A target of decisions: its own scope and those above it, as far as anything is granted or denied there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The target's own scope, if assignments sit right there.
    pub(super) own: Option<u32>,
    pub(super) lineage: Box<[u32]>,
}

/// Everything that is granted and denied, ready to decide.
#[derive(Debug)]
pub struct Policy {
    pub(super) rights: Vec<Rights>,
    pub(super) grants: Vec<Grant>,
    /// By principal: (scope, index into `grants`), sorted.
    pub(super) by_principal: HashMap<PrincipalId, Vec<(u32, u32)>>,
    /// By scope.
    pub(super) denials: HashMap<u32, Vec<Denial>>,
    scopes: HashMap<Box<str>, u32>,
    groups: ManagementGroups,
    inert: Vec<InertGrant>,
}

impl Policy {
    /// Compiles what is granted. What is not understood is left out of the grants and listed by [`Policy::inert`];
    /// a refusal that is not understood would open what it should close, so it fails the compilation.
    pub fn compile(input: &PolicyInput<'_>) -> Result<Policy, PatternError> {
        let builtin = builtin::roles();
        let mut policy = Policy {
            rights: Vec::new(),
            grants: Vec::with_capacity(input.assignments.len()),
            by_principal: HashMap::new(),
            denials: HashMap::new(),
            scopes: HashMap::new(),
            groups: input.groups.clone(),
            inert: Vec::new(),
        };
        let mut roles: HashMap<Uuid, Result<(usize, &str), String>> = HashMap::new();
        // A custom role cannot take the id of a built-in one: the built-in is put in last.
        for role in input.roles.iter().copied().chain(&builtin) {
            let compiled = Rights::compile(&role.permissions).map(|rights| {
                policy.rights.push(rights);
                (policy.rights.len() - 1, role.role_name.as_str())
            });
            roles.insert(role.id, compiled.map_err(|e| format!("its role cannot be read: {e}")));
        }
        for assignment in &input.assignments {
            policy.grant(assignment, &roles);
        }
        for list in policy.by_principal.values_mut() {
            list.sort_unstable();
        }
        for denial in &input.denials {
            let scope = policy.intern(&denial.scope);
            let compiled = Denial {
                id: denial.id,
                name: denial.name.as_str().into(),
                principals: denial.principals.clone(),
                exempt: denial.exclude_principals.clone(),
                own_scope_only: denial.do_not_apply_to_child_scopes,
                rights: Rights::compile(&denial.permissions)?,
            };
            policy.denials.entry(scope).or_default().push(compiled);
        }
        Ok(policy)
    }

    fn grant(&mut self, assignment: &RoleAssignment, roles: &HashMap<Uuid, Result<(usize, &str), String>>) {
        let role = match (&assignment.condition, roles.get(&assignment.role)) {
            (Some(_), _) => Err("its condition is not understood".to_owned()),
            (None, None) => Err(format!("there is no role `{}`", assignment.role)),
            (None, Some(role)) => role.clone(),
        };
        match role {
            Err(reason) => self.inert.push(InertGrant { assignment: assignment.id, reason }),
            Ok((rights, name)) => {
                let (scope, index) = (self.intern(&assignment.scope), self.grants.len());
                self.grants.push(Grant {
                    assignment: assignment.id,
                    role: assignment.role,
                    role_name: name.into(),
                    scope: assignment.scope.clone(),
                    principal: assignment.principal,
                    rights,
                });
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.by_principal.entry(assignment.principal).or_default().push((scope, index));
            }
        }
    }

    fn intern(&mut self, scope: &Scope) -> u32 {
        let next = u32::try_from(self.scopes.len()).unwrap_or(u32::MAX);
        *self.scopes.entry(scope.key().into()).or_insert(next)
    }

    /// Looks up a target once, so that decisions about it need not.
    pub fn place(&self, target: &Scope) -> Place {
        let mut lineage: Vec<u32> = Vec::new();
        let mut add = |key: &str| lineage.extend(self.scopes.get(key));
        for key in target.lineage() {
            if key == "/" {
                let bottom = target.subscription().map(|id| format!("/subscriptions/{id}"));
                let bottom = bottom.as_deref().unwrap_or(target.key());
                self.groups.above(bottom).for_each(&mut add);
            }
            add(key);
        }
        Place { own: self.scopes.get(target.key()).copied(), lineage: lineage.into() }
    }

    /// Works out beforehand which roles cover an action that is asked for often.
    #[must_use]
    pub fn prepare(&self, action: Action) -> Action {
        let covered = self.rights.iter().map(|rights| rights.cover(&action)).collect();
        Action { covered: Some(covered), ..action }
    }

    pub(super) fn covers(&self, rights: usize, action: &Action) -> bool {
        match &action.covered {
            Some(table) => table.get(rights).copied().unwrap_or(false),
            None => self.rights.get(rights).is_some_and(|rights| rights.cover(action)),
        }
    }

    /// Every grant in force.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether a grant's role covers an action.
    pub fn grants_action(&self, grant: &Grant, action: &Action) -> bool {
        self.covers(grant.rights, action)
    }

    /// The scopes above a target that its id names and the management groups above those, nearest first, itself
    /// included, in lower case.
    pub fn lineage(&self, target: &Scope) -> Vec<String> {
        let mut levels = Vec::new();
        for key in target.lineage() {
            if key == "/" {
                let bottom = target.subscription().map(|id| format!("/subscriptions/{id}"));
                let bottom = bottom.as_deref().unwrap_or(target.key());
                levels.extend(self.groups.above(bottom).map(str::to_owned));
            }
            levels.push(key.to_owned());
        }
        levels
    }

    /// The grants of a principal and its groups, wherever they hold.
    pub fn grants_of<'a>(&'a self, who: Principals<'a>) -> impl Iterator<Item = &'a Grant> {
        who.each().flat_map(move |principal| {
            let own = self.by_principal.get(&principal).into_iter().flatten();
            own.filter_map(move |(_, index)| self.grants.get(*index as usize))
        })
    }

    /// Assignments that grant nothing because something about them is not understood.
    pub fn inert(&self) -> &[InertGrant] {
        &self.inert
    }
}
