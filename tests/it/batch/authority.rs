//! Whose job it is, and by which rights: all of them at the beginning, and again on the way.

use serde_json::{Value, json};
use uuid::Uuid;

use super::jobs::{caller, stand};
use crate::support::batch::{Held, adder, failure, numbers, status, store_of, written};
use crate::support::rest;
use crate::support::stand::{SUBSCRIPTION, object_id};

const ML: &str = "Microsoft.MachineLearningServices/workspaces";

/// The five groups of rights, as Azure documents them.
const GROUPS: [&[&str]; 5] = [
    &["read", "batchEndpoints/read", "batchEndpoints/deployments/read"],
    &["batchEndpoints/jobs/write", "batchEndpoints/deployments/jobs/write"],
    &[
        "experiments/read",
        "experiments/runs/submit/action",
        "experiments/runs/read",
        "experiments/runs/write",
        "metrics/resource/write",
    ],
    &["datastores/read", "datastores/write"],
    &["datastores/listSecrets/action"],
];

fn role(group: usize) -> Uuid {
    Uuid::from_u128(0x0b47_c400 + group as u128)
}

/// Makes a role of each group.
async fn make_roles(owner: &rest::Caller) {
    let subscription = format!("/subscriptions/{SUBSCRIPTION}");
    for (group, actions) in GROUPS.iter().enumerate() {
        let actions: Vec<String> = actions.iter().map(|action| format!("{ML}/{action}")).collect();
        let body = json!({"properties": {"roleName": format!("group {group}"), "type": "CustomRole",
            "permissions": [{"actions": actions}], "assignableScopes": [subscription]}});
        owner.put(&rest::role_id(&subscription, role(group)), body).await.is(201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_of_the_five_groups_is_named_and_nothing_else() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    numbers(&store_of(stand.directory.path()).join("in"), 1, 1);
    let (owner, outsider) = (stand.as_("owner"), caller(&stand, "outsider"));
    let subscription = format!("/subscriptions/{SUBSCRIPTION}");
    make_roles(&owner).await;
    let workspace = rest::workspace("default");
    let (mut accepted, mut refused) = (0, 0);
    for scope in [subscription.clone(), rest::group(), workspace.clone()] {
        // In the order of a Gray code each step gives or takes one group.
        let mut held = 0_usize;
        for step in 1..=32_usize {
            let code = (step % 32) ^ ((step % 32) >> 1);
            let changed = (held ^ code).trailing_zeros() as usize;
            let grant = rest::grant_id(&scope, Uuid::new_v5(&role(changed), scope.as_bytes()));
            if code & (1 << changed) != 0 {
                owner.put(&grant, rest::grant_body(role(changed), object_id("outsider"))).await.is(201);
            } else {
                owner.delete(&grant).await.is(200);
            }
            held = code;
            let answer = outsider.submit("in", json!({})).await;
            if held == 31 {
                assert_eq!(answer.status, 201, "{}", answer.json());
                accepted += 1;
                continue;
            }
            refused += 1;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "AuthorizationFailed"),
                "{held:05b} at {scope}"
            );
            let answer = answer.json();
            let details = answer["error"]["details"].as_array().unwrap();
            let mut named: Vec<String> =
                details.iter().map(|detail| detail["code"].as_str().unwrap().to_owned()).collect();
            named.sort();
            named.dedup();
            let missing = (0..5).filter(|group| held & (1 << group) == 0).flat_map(|group| GROUPS[group]);
            let mut expected: Vec<String> = missing.map(|action| format!("{ML}/{action}")).collect();
            expected.sort();
            assert_eq!(named, expected, "{held:05b} at {scope}");
            let message = answer["error"]["message"].as_str().unwrap();
            for detail in details {
                let (action, at) = (detail["code"].as_str().unwrap(), detail["target"].as_str().unwrap());
                assert!(message.contains(&format!("action '{action}' over scope '{at}'")), "{message}");
            }
            assert!(message.contains(&object_id("outsider").to_string()));
        }
    }
    assert_eq!((accepted, refused), (3, 93));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn built_in_roles_may_as_azure_documents() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    numbers(&store_of(stand.directory.path()).join("in"), 1, 1);
    let (owner, outsider) = (stand.as_("owner"), caller(&stand, "outsider"));
    for (role, status) in [
        ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", 201),
        ("b24988ac-6180-42a0-ab88-20f7382dd24c", 201),
        ("f6c7c914-8db3-469d-8ca1-694a8f32e121", 201),
        ("acdd72a7-3385-48ef-bd42-f606fba81ae7", 403),
    ] {
        let role: Uuid = role.parse().unwrap();
        let grant = rest::grant_id(&rest::workspace("default"), role);
        owner.put(&grant, rest::grant_body(role, object_id("outsider"))).await.is(201);
        assert_eq!(outsider.submit("in", json!({})).await.status, status, "{role}");
        owner.delete(&grant).await.is(200);
    }
    stand.stop().await;
}

/// A job in whose middle its owner loses one group of rights: how it ended, and what is kept of what was expected.
async fn loses(group: usize) -> (Value, Option<String>, String) {
    let held = Held::below(5).await;
    let model = &held.instance;
    let stand = stand(&[model], "mini_batch_size: 1").await;
    let expected = numbers(&store_of(stand.directory.path()).join("in"), 500, 1);
    let owner = stand.as_("owner");
    make_roles(&owner).await;
    let grant = |group| rest::grant_id(&rest::workspace("default"), role(group));
    for group in 0..5 {
        owner.put(&grant(group), rest::grant_body(role(group), object_id("outsider"))).await.is(201);
    }
    let outsider = caller(&stand, "outsider");
    let answer = outsider.submit("in", json!({"name": "mine"})).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    outsider.done("mine", 3).await;
    owner.delete(&grant(group)).await.is(200);
    let after = model.count();
    let job = outsider.end("mine").await;
    assert_eq!((status(&job), failure(&job)), ("Failed", "AuthorizationRevoked"));
    // What was on its way when the right went may have arrived; nothing was begun after that.
    assert!(model.count() <= after + 1, "{} requests came after the revocation", model.count() - after);
    let message = job["properties"]["scoregate"]["failure"]["message"].as_str().unwrap();
    assert!(message.contains(GROUPS[group][0]) && message.contains(&object_id("outsider").to_string()));
    let kept = written(stand.directory.path(), &job);
    stand.stop().await;
    (job, kept, expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_owner_loses_the_right_stops_and_keeps_what_was_committed() {
    let (_, kept, expected) = loses(1).await;
    let kept = kept.expect("an output");
    assert!(kept.lines().count() >= 3 && expected.starts_with(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_for_whoever_may_not_write_any_more() {
    let (job, kept, _) = loses(3).await;
    assert_eq!((kept, &job["properties"]["output"]), (None, &Value::Null));
}
