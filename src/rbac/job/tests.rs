use std::collections::HashSet;

use uuid::Uuid;

use super::*;
use crate::model::role::{
    DenyAssignment, Permission, PrincipalId, PrincipalType, RoleAssignment, RoleDefinition,
};
use crate::rbac::{PolicyInput, builtin};

const GROUPS: [Group; 5] = [Group::Read, Group::Jobs, Group::Runs, Group::Datastores, Group::Secrets];
const WORKSPACE: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";
const WHO: PrincipalId = PrincipalId(Uuid::from_u128(1));

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn needed() -> Vec<Right> {
    let workspace = scope(WORKSPACE);
    let endpoint = workspace.child("batchEndpoints", "heart");
    let deployment = endpoint.child("deployments", "blue");
    let [input, output] = ["in", "out"].map(|name| workspace.child("datastores", name));
    let (input, output) = (Some(&input), &output);
    rights(Touches { workspace: &workspace, endpoint: &endpoint, deployment: &deployment, input, output })
}

/// A role for each group, with the actions of that group alone.
fn role_of(group: Group, rights: &[Right]) -> RoleDefinition {
    let actions: HashSet<&str> =
        rights.iter().filter(|right| right.group == group).map(|right| right.action).collect();
    RoleDefinition {
        id: Uuid::from_u128(100 + group as u128),
        role_name: format!("{group:?}"),
        description: String::new(),
        permissions: vec![Permission {
            actions: actions.into_iter().map(str::to_owned).collect(),
            ..Permission::default()
        }],
        assignable_scopes: vec![Scope::root()],
    }
}

fn grant(role: Uuid, at: &Scope) -> RoleAssignment {
    RoleAssignment {
        id: Uuid::new_v5(&role, at.key().as_bytes()),
        scope: at.clone(),
        role,
        principal: WHO,
        principal_type: PrincipalType::User,
        condition: None,
        description: String::new(),
    }
}

fn judge(roles: &[RoleDefinition], grants: &[RoleAssignment]) -> Result<Vec<Grounds>, Vec<Missing>> {
    let input = PolicyInput {
        roles: roles.iter().collect(),
        assignments: grants.iter().collect(),
        ..PolicyInput::default()
    };
    let who = Principals { id: WHO, groups: &[] };
    Policy::compile(&input).unwrap().grounds(who, &needed())
}

/// The scopes at which all rights of a group can be given at once, and, one by one, those that its rights name.
fn places(group: Group, rights: &[Right]) -> Vec<Vec<Scope>> {
    let above = ["/", "/subscriptions/s", "/subscriptions/s/resourceGroups/g", WORKSPACE];
    let mut places: Vec<Vec<Scope>> = above.into_iter().map(|at| vec![scope(at)]).collect();
    let own: HashSet<Scope> =
        rights.iter().filter(|right| right.group == group).map(|right| right.scope.clone()).collect();
    places.push(own.into_iter().collect());
    places
}

#[test]
fn whatever_of_the_five_groups_is_missing_is_named_and_nothing_else() {
    let rights = needed();
    let roles = GROUPS.map(|group| role_of(group, &rights));
    for held in 0_u32..32 {
        for level in 0..5 {
            let mut grants = Vec::new();
            for (bit, group) in GROUPS.into_iter().enumerate().filter(|(bit, _)| held & (1 << bit) != 0) {
                for at in &places(group, &rights)[level] {
                    grants.push(grant(roles[bit].id, at));
                }
            }
            let expected: Vec<&Right> =
                rights.iter().filter(|right| held & (1 << (right.group as u32)) == 0).collect();
            match judge(&roles, &grants) {
                Ok(grounds) => {
                    assert!(expected.is_empty(), "{held:05b} at level {level} was accepted");
                    let named: Vec<_> = grounds.iter().map(|one| (one.action.as_str(), &one.scope)).collect();
                    assert_eq!(
                        named,
                        rights.iter().map(|right| (right.action, &right.scope)).collect::<Vec<_>>()
                    );
                }
                Err(missing) => {
                    let missing: Vec<&Right> = missing.iter().map(|missing| &missing.right).collect();
                    assert_eq!(missing, expected, "{held:05b} at level {level}");
                }
            }
        }
    }
}

#[test]
fn a_single_action_of_a_group_can_be_what_is_missing() {
    let rights = needed();
    for absent in &rights {
        let actions: HashSet<&str> =
            rights.iter().map(|right| right.action).filter(|action| *action != absent.action).collect();
        let mut role = role_of(Group::Read, &rights);
        role.permissions[0].actions = actions.into_iter().map(str::to_owned).collect();
        let grants = [grant(role.id, &scope(WORKSPACE))];
        let missing = judge(&[role], &grants).unwrap_err();
        assert!(missing.iter().all(|missing| missing.right.action == absent.action), "{absent:?}");
    }
}

#[test]
fn built_in_roles_may_as_azure_documents() {
    let workspace = scope(WORKSPACE);
    for (role, may) in [
        (builtin::OWNER, true),
        (builtin::by_name("Contributor").unwrap(), true),
        (builtin::by_name("AzureML Data Scientist").unwrap(), true),
        (builtin::by_name("Reader").unwrap(), false),
    ] {
        assert_eq!(judge(&[], &[grant(role, &workspace)]).is_ok(), may, "{role}");
    }
    // At the endpoint alone even the owner of it lacks what belongs to the workspace.
    let endpoint = workspace.child("batchEndpoints", "heart");
    let missing = judge(&[], &[grant(builtin::OWNER, &endpoint)]).unwrap_err();
    let groups: HashSet<Group> = missing.iter().map(|missing| missing.right.group).collect();
    assert_eq!(groups, HashSet::from([Group::Read, Group::Runs, Group::Datastores, Group::Secrets]));
    let read: Vec<_> = missing.iter().filter(|missing| missing.right.group == Group::Read).collect();
    assert!(read.len() == 1 && read[0].right.scope == workspace, "{read:?}");
}

#[test]
fn a_denial_at_a_store_counts_whatever_is_granted_above() {
    let denial = DenyAssignment {
        id: Uuid::from_u128(9),
        name: "hands off".to_owned(),
        scope: scope(WORKSPACE).child("datastores", "out"),
        permissions: vec![Permission {
            actions: vec!["Microsoft.MachineLearningServices/workspaces/datastores/write".to_owned()],
            ..Permission::default()
        }],
        principals: vec![PrincipalId::EVERYONE],
        exclude_principals: Vec::new(),
        do_not_apply_to_child_scopes: false,
    };
    let grants = [grant(builtin::OWNER, &Scope::root())];
    let input = PolicyInput {
        assignments: grants.iter().collect(),
        denials: vec![&denial],
        ..PolicyInput::default()
    };
    let policy = Policy::compile(&input).unwrap();
    let missing = policy.grounds(Principals { id: WHO, groups: &[] }, &needed()).unwrap_err();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].denied_by.as_deref(), Some("hands off"));
}

#[test]
fn one_store_for_input_and_output_is_judged_once() {
    let workspace = scope(WORKSPACE);
    let store = workspace.child("datastores", "one");
    let touches = Touches {
        workspace: &workspace,
        endpoint: &workspace,
        deployment: &workspace,
        input: Some(&store),
        output: &store,
    };
    let stores = rights(touches).into_iter().filter(|right| right.scope == store).count();
    assert_eq!(stores, 3);
}
