//! Grants, refusals, an action and a place: the compiled policy decides as the slow evaluator does.

use scoregate::model::role::{
    DenyAssignment, Permission, PrincipalId, PrincipalType, RoleAssignment, RoleDefinition,
};
use scoregate::model::scope::Scope;
use scoregate::rbac::reference::{self, World};
use scoregate::rbac::{Action, ManagementGroups, Policy, PolicyInput, Principals, builtin};
use uuid::Uuid;

use super::input::Input;

const SCOPES: [&str; 10] = [
    "/",
    "/providers/Microsoft.Management/managementGroups/root",
    "/providers/Microsoft.Management/managementGroups/Team",
    "/subscriptions/S1",
    "/subscriptions/s2",
    "/subscriptions/s1/resourceGroups/rg",
    "/subscriptions/s1/resourceGroups/RG2",
    "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws",
    "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws/onlineEndpoints/ep",
    "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws2",
];
const PIECES: [&str; 12] =
    ["*", "/", "a", "B", "read", "write", "/*/", "*/read", "Microsoft.X", "microsoft.x/", "score/action", "-"];

pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let mut world = World::default();
    let builtin: Vec<Uuid> = builtin::roles().iter().map(|role| role.id).collect();
    for number in 0..input.below(3) {
        world.roles.push(RoleDefinition {
            id: Uuid::from_u128(number as u128 + 1),
            role_name: "custom".to_owned(),
            description: String::new(),
            permissions: permissions(&mut input),
            assignable_scopes: vec![Scope::root()],
        });
    }
    for number in 0..input.below(5) {
        let custom = Uuid::from_u128(input.below(4) as u128);
        world.assignments.push(RoleAssignment {
            id: Uuid::from_u128(number as u128),
            scope: scope(&mut input),
            role: if input.flag() { custom } else { input.pick(&builtin) },
            principal: principal(&mut input),
            principal_type: PrincipalType::User,
            condition: (input.below(8) == 7).then(|| "@x".to_owned()),
            description: String::new(),
        });
    }
    for number in 0..input.below(3) {
        world.denials.push(DenyAssignment {
            id: Uuid::from_u128(number as u128),
            name: "denial".to_owned(),
            scope: scope(&mut input),
            permissions: permissions(&mut input),
            principals: vec![if input.flag() { PrincipalId::EVERYONE } else { principal(&mut input) }],
            exclude_principals: if input.flag() { vec![principal(&mut input)] } else { Vec::new() },
            do_not_apply_to_child_scopes: input.flag(),
        });
    }
    for _ in 0..input.below(4) {
        // A scope has one parent.
        let child = at(SCOPES[1 + input.below(4)]);
        world.tree.retain(|(other, _)| *other != child);
        world.tree.push((child, at(SCOPES[1 + input.below(2)])));
    }
    let caller = principal(&mut input);
    let groups = [principal(&mut input)];
    let groups = &groups[..input.below(2)];
    let (data, target) = (input.flag(), scope(&mut input));
    let action = if input.flag() { scoregate::rbac::SCORE.to_owned() } else { pattern(&mut input).replace('*', "x") };
    compare(&world, caller, groups, &action, data, &target);
}

fn compare(world: &World, caller: PrincipalId, groups: &[PrincipalId], action: &str, data: bool, target: &Scope) {
    let mut tree = ManagementGroups::default();
    for (child, parent) in &world.tree {
        tree.place(child, parent);
    }
    let policy = Policy::compile(&PolicyInput {
        roles: world.roles.iter().collect(),
        assignments: world.assignments.iter().collect(),
        denials: world.denials.iter().collect(),
        groups: tree,
    });
    let policy = policy.unwrap();
    let place = policy.place(target);
    let asked = if data { Action::data(action) } else { Action::control(action) };
    let who = || Principals { id: caller, groups };
    let plain = policy.decide(who(), &asked, &place).is_allowed();
    let expected = reference::allowed(world, caller, groups, action, data, target);
    assert_eq!(plain, expected, "{caller} {groups:?} {action} {data} {target}: {world:#?}");
    let prepared = policy.prepare(asked);
    assert_eq!(plain, policy.decide(who(), &prepared, &place).is_allowed(), "a prepared action: {action}");
}

fn principal(input: &mut Input<'_>) -> PrincipalId {
    PrincipalId(Uuid::from_u128(input.below(3) as u128 + 1))
}

fn at(text: &str) -> Scope {
    text.parse().unwrap()
}

fn scope(input: &mut Input<'_>) -> Scope {
    at(input.pick(&SCOPES))
}

fn pattern(input: &mut Input<'_>) -> String {
    (0..=input.below(5)).map(|_| input.pick(&PIECES)).collect()
}

fn permissions(input: &mut Input<'_>) -> Vec<Permission> {
    let list = |input: &mut Input<'_>| (0..input.below(3)).map(|_| pattern(input)).collect();
    let one = |input: &mut Input<'_>| Permission {
        actions: list(input),
        not_actions: list(input),
        data_actions: list(input),
        not_data_actions: list(input),
    };
    (0..=input.below(2)).map(|_| one(input)).collect()
}
