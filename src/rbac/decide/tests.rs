use std::fmt::Write as _;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::role::{DenyAssignment, Permission, PrincipalType, RoleAssignment, RoleDefinition};
use crate::model::scope::Scope;
use crate::rbac::reference::{self, World};
use crate::rbac::{ManagementGroups, PolicyInput, builtin};

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn principal(n: u128) -> PrincipalId {
    PrincipalId(Uuid::from_u128(n))
}

fn policy(world: &World) -> Policy {
    let mut groups = ManagementGroups::default();
    for (child, parent) in &world.tree {
        groups.place(child, parent);
    }
    Policy::compile(&PolicyInput {
        roles: world.roles.iter().collect(),
        assignments: world.assignments.iter().collect(),
        denials: world.denials.iter().collect(),
        groups,
    })
    .unwrap()
}

fn decide(
    world: &World,
    who: PrincipalId,
    groups: &[PrincipalId],
    action: &str,
    data: bool,
    target: &Scope,
) -> bool {
    decide_by(&policy(world), who, groups, action, data, target)
}

fn decide_by(
    policy: &Policy,
    who: PrincipalId,
    groups: &[PrincipalId],
    action: &str,
    data: bool,
    target: &Scope,
) -> bool {
    let action = if data { Action::data(action) } else { Action::control(action) };
    let plain = policy.decide(Principals { id: who, groups }, &action, &policy.place(target)).is_allowed();
    let prepared = policy.prepare(action);
    let fast = policy.decide(Principals { id: who, groups }, &prepared, &policy.place(target)).is_allowed();
    assert_eq!(plain, fast, "a prepared action decides as a plain one");
    plain
}

fn assign(id: u128, role: Uuid, who: PrincipalId, at: &str) -> RoleAssignment {
    RoleAssignment {
        id: Uuid::from_u128(id),
        scope: scope(at),
        role,
        principal: who,
        principal_type: PrincipalType::User,
        condition: None,
        description: String::new(),
    }
}

const WS: &str =
    "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.MachineLearningServices/workspaces/ws1";

fn empty() -> World {
    World { roles: vec![], assignments: vec![], denials: vec![], tree: vec![] }
}

#[test]
fn the_deciding_assignment_is_named() {
    let mut world = empty();
    world.assignments.push(assign(
        7,
        builtin::DATA_SCIENTIST,
        principal(1),
        "/subscriptions/S1/resourcegroups/RG1",
    ));
    let policy = policy(&world);
    let place = policy.place(&scope(&format!("{WS}/onlineEndpoints/ep")));
    let decision = policy.decide(
        Principals { id: principal(1), groups: &[] },
        &Action::control(crate::rbac::SCORE),
        &place,
    );
    let Decision::Allowed(grant) = decision else { panic!("{decision:?}") };
    assert_eq!((grant.assignment, &*grant.role_name), (Uuid::from_u128(7), "AzureML Data Scientist"));
}

#[test]
fn management_groups_stand_above_subscriptions() {
    let (root, team) = (
        "/providers/Microsoft.Management/managementGroups/root",
        "/providers/Microsoft.Management/managementGroups/team",
    );
    let mut world = empty();
    world.tree = vec![(scope(team), scope(root)), (scope("/subscriptions/S1"), scope(team))];
    world.assignments.push(assign(1, builtin::OWNER, principal(1), root));
    assert!(decide(&world, principal(1), &[], "x/read", false, &scope(WS)));
    assert!(decide(&world, principal(1), &[], "x/read", false, &scope(team)));
    assert!(!decide(&world, principal(1), &[], "x/read", false, &scope("/subscriptions/s2")));
    assert!(!decide(&world, principal(1), &[], "x/read", false, &Scope::root()));
}

#[test]
fn what_is_not_understood_grants_nothing_and_is_listed() {
    let mut world = empty();
    let mut conditional = assign(1, builtin::OWNER, principal(1), "/");
    conditional.condition = Some("@Resource[x] StringEquals 'y'".into());
    world.assignments = vec![conditional, assign(2, Uuid::from_u128(99), principal(1), "/")];
    assert!(!decide(&world, principal(1), &[], "a/read", false, &scope(WS)));
    let reasons: Vec<String> = policy(&world).inert().iter().map(|inert| inert.reason.clone()).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("condition") && reasons[1].contains("no role"), "{reasons:?}");
}

#[test]
fn a_refusal_that_cannot_be_read_fails_the_whole_policy() {
    let denial = DenyAssignment {
        id: Uuid::nil(),
        name: "d".into(),
        scope: Scope::root(),
        permissions: vec![Permission { actions: vec!["not an action".into()], ..Permission::default() }],
        principals: vec![PrincipalId::EVERYONE],
        exclude_principals: vec![],
        do_not_apply_to_child_scopes: false,
    };
    assert!(Policy::compile(&PolicyInput { denials: vec![&denial], ..PolicyInput::default() }).is_err());
}

#[test]
fn builtin_roles_by_action_are_as_azure_documents_them() {
    const ACTIONS: &[&str] = &[
        "workspaces/read",
        "workspaces/write",
        "workspaces/delete",
        "workspaces/listKeys/action",
        "workspaces/onlineEndpoints/read",
        "workspaces/onlineEndpoints/write",
        "workspaces/onlineEndpoints/delete",
        "workspaces/onlineEndpoints/score/action",
        "workspaces/onlineEndpoints/listKeys/action",
        "workspaces/onlineEndpoints/regenerateKeys/action",
        "workspaces/onlineEndpoints/token/action",
        "workspaces/onlineEndpoints/deployments/read",
        "workspaces/onlineEndpoints/deployments/write",
        "workspaces/onlineEndpoints/deployments/delete",
        "workspaces/onlineEndpoints/deployments/getLogs/action",
        "workspaces/batchEndpoints/write",
        "workspaces/batchEndpoints/jobs/write",
        "workspaces/jobs/cancel/action",
        "workspaces/datastores/listsecrets/action",
        "workspaces/connections/listsecrets/action",
        "workspaces/computes/read",
        "workspaces/computes/write",
        "workspaces/computes/listKeys/action",
        "registries/assets/read",
    ];
    let mut table = String::from("# built-in role, then the actions it covers: + yes, - no\n");
    for role in builtin::roles() {
        writeln!(table, "\n{} {}", role.id, role.role_name).unwrap();
        let mut world = empty();
        world.assignments.push(assign(1, role.id, principal(1), "/"));
        let full = |action: &str| format!("Microsoft.MachineLearningServices/{action}");
        let others =
            ["Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/read"];
        for action in ACTIONS.iter().map(|a| full(a)).chain(others.map(String::from)) {
            let yes = decide(&world, principal(1), &[], &action, false, &scope(WS));
            writeln!(table, "{} {action}", if yes { '+' } else { '-' }).unwrap();
        }
        let data = "Microsoft.CognitiveServices/accounts/OpenAI/deployments/completions/action";
        let yes = decide(&world, principal(1), &[], data, true, &scope(WS));
        writeln!(table, "{} data {data}", if yes { '+' } else { '-' }).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/builtin-roles.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        table,
        "run with UPDATE_GOLDEN=1 and review the difference"
    );
}

// --- random worlds, small enough that grants meet targets often -------------------------------------------

const SCOPES: &[&str] = &[
    "/",
    "/providers/Microsoft.Management/managementGroups/m1",
    "/providers/Microsoft.Management/managementGroups/m2",
    "/subscriptions/s1",
    "/Subscriptions/S2",
    "/subscriptions/s1/resourceGroups/rg",
    "/subscriptions/s1/resourcegroups/RG1",
    WS,
    "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.MachineLearningServices/workspaces/ws10",
    "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.MachineLearningServices/workspaces/ws1/onlineEndpoints/ep",
    "/subscriptions/s1/resourceGroups/RG1/providers/Microsoft.MachineLearningServices/workspaces/WS1/onlineendpoints/EP/deployments/blue",
];
const PATTERNS: &[&str] = &[
    "*",
    "*/read",
    "a/*",
    "a/*/read",
    "A/B/*",
    "a/*/b/*/read",
    "*/Action",
    "a/b/score/action",
    "a/*/action",
    "b/*",
    "*b*",
    "a/read",
];
const ASKED: &[&str] = &[
    "a/read",
    "A/b/READ",
    "a/b/score/action",
    "a/b/c/read",
    "b/read",
    "a/x/b/y/read",
    "a/b/read",
    "a/write",
    "c/action",
];

struct Dice(fastrand::Rng);

impl Dice {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.0.usize(..from.len())]
    }
    fn patterns(&mut self, most: usize) -> Vec<String> {
        (0..self.0.usize(..=most)).map(|_| self.pick(PATTERNS).to_owned()).collect()
    }
    fn permissions(&mut self) -> Vec<Permission> {
        (0..self.0.usize(1..=2))
            .map(|_| Permission {
                actions: self.patterns(2),
                not_actions: self.patterns(1),
                data_actions: self.patterns(2),
                not_data_actions: self.patterns(1),
            })
            .collect()
    }
    fn principal(&mut self) -> PrincipalId {
        principal(self.0.u128(1..=6))
    }
    fn world(&mut self) -> World {
        let mut world = empty();
        for id in 1..=self.0.u128(1..=3) {
            world.roles.push(RoleDefinition {
                id: Uuid::from_u128(id),
                role_name: format!("role {id}"),
                description: String::new(),
                permissions: self.permissions(),
                assignable_scopes: vec![],
            });
        }
        for id in 0..self.0.u128(0..=12) {
            let role = Uuid::from_u128(self.0.u128(1..=4));
            let mut grant = assign(id, role, self.principal(), self.pick(SCOPES));
            grant.condition = (self.0.u8(..) < 16).then(|| "?".to_owned());
            world.assignments.push(grant);
        }
        for id in 0..self.0.u128(0..=4).saturating_sub(2) {
            let principals = if self.0.bool() {
                vec![PrincipalId::EVERYONE]
            } else {
                vec![self.principal(), self.principal()]
            };
            world.denials.push(DenyAssignment {
                id: Uuid::from_u128(id),
                name: String::new(),
                scope: scope(self.pick(SCOPES)),
                permissions: self.permissions(),
                principals,
                exclude_principals: if self.0.bool() { vec![self.principal()] } else { vec![] },
                do_not_apply_to_child_scopes: self.0.bool(),
            });
        }
        let (m1, m2) = (scope(SCOPES[1]), scope(SCOPES[2]));
        world.tree = vec![
            (scope("/subscriptions/s1"), m1.clone()),
            (m1, m2.clone()),
            (scope("/subscriptions/s2"), m2),
        ];
        world
    }
}

#[test]
fn the_obvious_evaluator_agrees_on_100_000_random_cases() {
    let mut dice = Dice(fastrand::Rng::with_seed(20_220_401));
    let mut yes = 0_u32;
    let mut world = dice.world();
    let mut compiled = policy(&world);
    for case in 0..100_000 {
        if case % 10 == 0 {
            world = dice.world();
            compiled = policy(&world);
        }
        let (who, groups) = (dice.principal(), vec![dice.principal(); dice.0.usize(..=1)]);
        let (action, data, target) = (dice.pick(ASKED), dice.0.u8(..) < 64, scope(dice.pick(SCOPES)));
        let expected = reference::allowed(&world, who, &groups, action, data, &target);
        assert_eq!(
            decide_by(&compiled, who, &groups, action, data, &target),
            expected,
            "case {case}: {action} at {target}"
        );
        yes += u32::from(expected);
    }
    assert!((5_000..95_000).contains(&yes), "the cases must be of both kinds: {yes} were allowed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_added_grant_never_removes_access(seed: u64) {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let mut world = dice.world();
        let (who, action, target) = (dice.principal(), dice.pick(ASKED), scope(dice.pick(SCOPES)));
        let before = decide(&world, who, &[], action, false, &target);
        world.assignments.push(assign(90, Uuid::from_u128(1), dice.principal(), dice.pick(SCOPES)));
        prop_assert!(!before || decide(&world, who, &[], action, false, &target));
    }

    #[test]
    fn a_deny_always_wins(seed: u64) {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let mut world = dice.world();
        let (who, action, target) = (dice.principal(), dice.pick(ASKED), scope(dice.pick(SCOPES)));
        world.assignments.push(assign(90, builtin::OWNER, who, "/"));
        world.denials.push(DenyAssignment {
            id: Uuid::from_u128(91), name: "no".into(), scope: target.clone(),
            permissions: vec![Permission { actions: vec![action.to_owned()], ..Permission::default() }],
            principals: vec![who], exclude_principals: vec![], do_not_apply_to_child_scopes: dice.0.bool(),
        });
        prop_assert!(!decide(&world, who, &[], action, false, &target));
    }

    #[test]
    fn not_actions_bite_only_in_their_own_role(seed: u64) {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let (who, action, target) = (dice.principal(), dice.pick(ASKED), scope(dice.pick(SCOPES)));
        let mut world = empty();
        let role = |id, not: Vec<String>| RoleDefinition {
            id: Uuid::from_u128(id), role_name: String::new(), description: String::new(), assignable_scopes: vec![],
            permissions: vec![Permission { actions: vec!["*".into()], not_actions: not, ..Permission::default() }],
        };
        world.roles = vec![role(1, vec![action.to_owned()]), role(2, vec![])];
        world.assignments.push(assign(1, Uuid::from_u128(1), who, "/"));
        prop_assert!(!decide(&world, who, &[], action, false, &target));
        world.assignments.push(assign(2, Uuid::from_u128(2), who, "/"));
        prop_assert!(decide(&world, who, &[], action, false, &target));
    }

    #[test]
    fn a_scope_grants_exactly_its_subtree(at in 0..SCOPES.len(), target in 0..SCOPES.len()) {
        let mut world = Dice(fastrand::Rng::with_seed(1)).world();
        world.denials.clear();
        world.assignments = vec![assign(1, builtin::OWNER, principal(1), SCOPES[at])];
        let (a, t) = (SCOPES[at].to_ascii_lowercase(), SCOPES[target].to_ascii_lowercase());
        let in_groups = |t: &str| match at {
            1 => t == a || t.starts_with("/subscriptions/s1"),
            2 => t.starts_with("/providers/microsoft.management") || t.starts_with("/subscriptions/"),
            _ => false,
        };
        let expected = a == "/" || a == t || t.starts_with(&format!("{a}/")) || in_groups(&t);
        prop_assert_eq!(decide(&world, principal(1), &[], "a/read", false, &scope(SCOPES[target])), expected);
    }

    #[test]
    fn case_never_matters(seed: u64, flips: u64) {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let world = dice.world();
        let (who, action, target) = (dice.principal(), dice.pick(ASKED), dice.pick(SCOPES));
        let flip = |text: &str| -> String {
            text.chars().enumerate().map(|(i, c)| {
                if flips >> (i % 64) & 1 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }
            }).collect()
        };
        prop_assert_eq!(
            decide(&world, who, &[], action, false, &scope(target)),
            decide(&world, who, &[], &flip(action), false, &scope(&flip(target)))
        );
    }
}
