//! Two changes at once that may not both be done: whichever is first, what is left fits together.

use scoregate::rbac::builtin;
use serde_json::json;
use uuid::Uuid;

use super::World;
use crate::support::rest::{
    deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id, group, role_id,
};
use crate::support::stand::object_id;

const ROUNDS: u128 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_not_removed_while_it_is_given_to_somebody() {
    let world = World::start().await;
    let owner = &world.owner;
    let mut both = 0;
    for round in 1..=ROUNDS {
        let (role, grant) = (role_id("", Uuid::from_u128(round)), grant_id(&group(), Uuid::from_u128(round)));
        let body = json!({"properties": {
            "roleName": format!("Role {round}"), "permissions": [{"actions": ["*/read"]}],
            "assignableScopes": [group()],
        }});
        owner.put(&role, body).await.is(201);
        let given = grant_body(Uuid::from_u128(round), object_id("outsider"));
        let (removed, granted) = tokio::join!(owner.delete(&role), owner.put(&grant, given));
        let (removed, granted) = (removed.any(&[200, 400, 409]), granted.any(&[201, 400, 409]));
        both += usize::from(removed.status == 200 && granted.status == 201);
        let there = (owner.get(&role).await.status, owner.get(&grant).await.status);
        assert_eq!(there.0, if removed.status == 200 { 404 } else { 200 }, "what was acknowledged is so");
        assert_eq!(there.1, if granted.status == 201 { 200 } else { 404 }, "what was acknowledged is so");
    }
    assert_eq!(both, 0, "of {ROUNDS} roles were removed and given to somebody");
    world.stop().await;
}

/// Whose rights at an endpoint end with it cannot give some to himself, or to others, for the next one of its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_granted_at_an_endpoint_while_it_is_removed() {
    let world = World::start().await;
    let (owner, outsider) = (&world.owner, world.stand.as_("outsider"));
    let mut left = Vec::new();
    for round in 1..=ROUNDS {
        let ep = endpoint(&format!("ep-{round}"));
        owner.put(&ep, endpoint_body("Key", &json!({}))).await.is(201);
        let all = grant_body(builtin::OWNER, object_id("outsider"));
        owner.put(&grant_id(&ep, Uuid::new_v4()), all).await.is(201);
        let given = grant_body(builtin::DATA_SCIENTIST, object_id("outsider"));
        let path = grant_id(&ep, Uuid::new_v4());
        let (removed, granted) = tokio::join!(owner.delete(&ep), outsider.put(&path, given));
        removed.is(200);
        granted.any(&[201, 403, 404, 409]);
        if owner.get(&path).await.status == 200 {
            left.push(round);
        }
    }
    assert!(left.is_empty(), "grants at endpoints that are gone, in rounds {left:?} of {ROUNDS}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_not_removed_while_it_is_given_traffic_nor_made_while_its_endpoint_is_removed() {
    let world = World::start().await;
    let owner = &world.owner;
    for round in 1..=ROUNDS {
        let (name, ep) = (format!("ep-{round}"), endpoint(&format!("ep-{round}")));
        let blue = deployment(&name, "blue");
        world.make(&name, "Key", &["blue"], &json!({})).await;
        let all = endpoint_body("Key", &json!({"blue": 100}));
        let (removed, shifted) = tokio::join!(owner.delete(&blue), owner.put(&ep, all));
        let (removed, shifted) = (removed.any(&[200, 400, 409]), shifted.any(&[200, 400, 409]));
        assert!(removed.status != 200 || shifted.status != 200, "traffic to what was removed");
        let there = owner.get(&blue).await.status;
        let traffic = owner.get(&ep).await.is(200).at("/properties/traffic").clone();
        assert_eq!(there == 404, removed.status == 200);
        assert_eq!(traffic != json!({}), shifted.status == 200);

        let body = deployment_body(&[&world.blue.url]);
        let green = deployment(&name, "green");
        let (removed, made) = tokio::join!(owner.delete(&ep), owner.put(&green, body));
        let (removed, made) = (removed.any(&[200, 409]), made.any(&[201, 404, 409]));
        let there = owner.get(&ep).await.status;
        assert_eq!(there == 404, removed.status == 200);
        let left = owner.get(&green).await.status;
        assert!(there == 200 || left == 404, "a deployment without its endpoint");
        assert!(there == 404 || (left == 200) == (made.status == 201), "what was acknowledged is so");
        owner.delete(&ep).await.any(&[200, 204, 409]);
    }
    world.stop().await;
}
