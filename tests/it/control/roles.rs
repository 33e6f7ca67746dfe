//! Role definitions, role assignments, deny assignments: what may be granted, where, and by whom.

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::rest::{
    Body, Caller, endpoint, endpoint_body, grant_body, grant_id, group, role_id, workspace,
};
use crate::support::stand::{SUBSCRIPTION, object_id};

fn role(name: &str) -> Uuid {
    builtin::by_name(name).unwrap()
}

fn subscription() -> String {
    format!("/subscriptions/{SUBSCRIPTION}")
}

fn custom(name: &str, scopes: &[&str]) -> Value {
    let read = "Microsoft.MachineLearningServices/workspaces/read";
    json!({"properties": {
        "roleName": name, "description": "made by a test", "type": "CustomRole",
        "permissions": [{"actions": [read], "notActions": [], "dataActions": [], "notDataActions": []}],
        "assignableScopes": scopes,
    }})
}

/// Grants a role for a test and gives who holds it.
async fn hold(world: &World, who: &str, name: &str, scope: &str) -> Caller {
    let body = grant_body(role(name), object_id(who));
    world.owner.put(&grant_id(scope, Uuid::new_v4()), body).await.is(201);
    world.stand.as_(who)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_is_one_role_of_one_principal_at_one_scope() {
    let world = World::start().await;
    let (owner, id) = (&world.owner, Uuid::from_u128(1));
    let path = grant_id(&group(), id);
    let (reader, outsider) = (role("Reader"), object_id("outsider"));
    let made = owner.put(&path, grant_body(reader, outsider)).await.is(201);
    for (pointer, expected) in [
        ("/id", json!(path)),
        ("/name", json!(id)),
        ("/type", json!("Microsoft.Authorization/roleAssignments")),
        ("/properties/roleDefinitionId", json!(role_id("", reader))),
        ("/properties/principalId", json!(outsider)),
        ("/properties/principalType", json!("ServicePrincipal")),
        ("/properties/scope", json!(group())),
        ("/properties/condition", Value::Null),
        ("/properties/createdBy", json!(object_id("owner"))),
    ] {
        assert_eq!(made.at(pointer), &expected, "{pointer}");
    }
    owner.put(&path, grant_body(reader, outsider)).await.is(200);
    // The id of a definition counts by its GUID, under whatever scope it is written.
    let mut elsewhere = grant_body(reader, outsider);
    elsewhere["properties"]["roleDefinitionId"] = json!(role_id(&endpoint("x-ep"), reader).to_uppercase());
    owner.put(&path, elsewhere).await.is(200);

    let fresh = Uuid::from_u128(2);
    let duplicate = owner.put(&grant_id(&group(), fresh), grant_body(reader, outsider)).await;
    duplicate.refuses(409, "RoleAssignmentExists");
    let upper = grant_id(&group().to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions"), fresh);
    owner.put(&upper, grant_body(reader, outsider)).await.refuses(409, "RoleAssignmentExists");
    for other in [grant_body(role("Contributor"), outsider), grant_body(reader, object_id("somebody"))] {
        owner.put(&path, other).await.is(409);
    }
    owner.put(&grant_id(&workspace("default"), id), grant_body(reader, outsider)).await.is(409);
    owner.get(&grant_id(&workspace("default"), id)).await.is(404);

    let bad = |pointer: &str, value: Value| {
        let mut body = grant_body(reader, outsider);
        body["properties"][pointer] = value;
        body
    };
    for body in [
        bad("roleDefinitionId", json!(role_id("", Uuid::from_u128(0xbad)))),
        bad("roleDefinitionId", json!("Reader")),
        bad("roleDefinitionId", Value::Null),
        bad("principalId", Value::Null),
        bad("principalId", json!("somebody@example.com")),
        bad("principalId", json!(Uuid::nil())),
        bad("principalType", json!("Everybody")),
        bad("description", json!("x".repeat(3_000))),
        bad("condition", json!("x".repeat(9_000))),
        json!({}),
    ] {
        let reply = owner.put(&grant_id(&group(), fresh), body.clone()).await;
        assert!(reply.status == 400 && !reply.code().is_empty(), "{body}: {reply:?}");
    }
    let no_guid = format!("{}/providers/Microsoft.Authorization/roleAssignments/first", group());
    owner.put(&no_guid, grant_body(reader, outsider)).await.is(400);

    let deleted = owner.delete(&path).await.is(200);
    assert_eq!(deleted.json["id"], json!(path), "it is given back");
    owner.delete(&path).await.is(204);
    owner.get(&path).await.is(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custom_role_is_assigned_where_it_may_be_and_stays_as_long_as_somebody_holds_it() {
    let world = World::start().await;
    let (owner, id) = (&world.owner, Uuid::from_u128(1));
    let path = role_id(&group(), id);
    let made = owner.put(&path, custom("Watcher", &[&workspace("default")])).await.is(201);
    assert_eq!(made.at("/properties/type"), "CustomRole");
    owner.put(&path, custom("Watcher", &[&workspace("default")])).await.is(201);
    let by_name = format!(
        "{}/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName%20eq%20'watcher'",
        workspace("default")
    );
    assert_eq!(owner.get(&by_name).await.is(200).names(), [id.to_string()]);
    let outsider = object_id("outsider");
    let grant = |scope: &str| grant_id(scope, Uuid::from_u128(9));
    for scope in ["", &subscription(), &group(), &workspace("default-2")] {
        let refused = owner.put(&grant(scope), grant_body(id, outsider)).await;
        assert!(refused.status == 400 && !refused.code().is_empty(), "{scope}: {refused:?}");
    }
    let held = grant(&workspace("default"));
    owner.put(&held, grant_body(id, outsider)).await.is(201);
    world.stand.as_("outsider").get(&workspace("default")).await.is(200);
    owner.delete(&path).await.any(&[400, 409]);
    owner.get(&path).await.is(200);
    // Widened and narrowed, it grants what it says now.
    let mut other = custom("Watcher", &[&workspace("default")]);
    other["properties"]["permissions"][0]["actions"] = json!(["Microsoft.Support/*"]);
    owner.put(&path, other).await.is(201);
    let now = world.stand.as_("outsider").get(&workspace("default")).await;
    assert!(matches!(now.status, 403 | 404), "{now:?}");
    owner.delete(&held).await.is(200);
    assert_eq!(owner.delete(&path).await.is(200).json["name"], json!(id), "it is given back");
    owner.delete(&path).await.is(204);

    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut body = custom("Wrong", &[&group()]);
        change(&mut body["properties"]);
        body
    };
    let mut taken = Vec::new();
    for body in [
        wrong(&|p| p["assignableScopes"] = json!([])),
        wrong(&|p| p["assignableScopes"] = json!(["nowhere"])),
        wrong(&|p| p["assignableScopes"] = Value::Null),
        wrong(&|p| p["permissions"] = json!([])),
        wrong(&|p| p["permissions"] = json!([{"actions": []}])),
        wrong(&|p| p["permissions"] = json!([{"actions": ["not an action"]}])),
        wrong(&|p| p["permissions"] = json!([{"actions": [""]}])),
        wrong(&|p| p["roleName"] = Value::Null),
        wrong(&|p| p["roleName"] = json!("x".repeat(600))),
        wrong(&|p| p["roleName"] = json!("reader")),
    ] {
        let reply = owner.put(&role_id(&group(), Uuid::from_u128(3)), body.clone()).await;
        if !matches!(reply.status, 400 | 409) || reply.code().is_empty() {
            taken.push(format!("{body}: {} {}", reply.status, reply.json));
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    owner.put(&role_id("", Uuid::from_u128(4)), custom("Twin", &[&group()])).await.is(201);
    owner.put(&role_id("", Uuid::from_u128(5)), custom("TWIN", &[&group()])).await.is(409);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn built_in_roles_and_the_configurations_owners_are_shown_and_stay() {
    let world = World::start().await;
    let owner = &world.owner;
    for name in ["Owner", "Reader", "AzureML Data Scientist"] {
        let path = role_id(&group(), role(name));
        let shown = owner.get(&path).await.is(200);
        assert_eq!(shown.at("/properties/roleName"), name);
        assert_eq!(shown.at("/properties/type"), "BuiltInRole");
        assert_eq!(shown.at("/properties/assignableScopes"), &json!(["/"]));
        let put = owner.put(&path, custom("Mine", &[&group()])).await;
        let deleted = owner.delete(&path).await;
        for refused in [put, deleted] {
            assert!(matches!(refused.status, 400 | 403 | 409) && !refused.code().is_empty(), "{refused:?}");
        }
        assert_eq!(owner.get(&path).await.json, shown.json);
    }
    let me = object_id("owner").to_string();
    for scope in [String::new(), group(), endpoint("any-ep")] {
        let path = format!(
            "{scope}/providers/Microsoft.Authorization/roleAssignments?$filter=principalId%20eq%20'{me}'"
        );
        let found = owner.all(&path).await;
        assert_eq!(found.len(), 1, "{scope}: {found:?}");
        assert_eq!(found[0]["properties"]["scope"], "/");
    }
    let listed = owner.all("/providers/Microsoft.Authorization/roleAssignments").await;
    let own = listed.iter().find(|grant| grant["properties"]["principalId"] == me.as_str()).unwrap();
    let path = own["id"].as_str().unwrap();
    owner.get(path).await.is(200);
    owner.delete(path).await.refuses(409, "ManagedByFiles");
    let put = owner.put(path, grant_body(role("Reader"), object_id("owner"))).await;
    assert_eq!(put.status, 409, "{put:?}");
    owner.get(path).await.is(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_grants_beyond_the_scope_at_which_he_may() {
    let world = World::start().await;
    world.make("my-ep", "Key", &["blue"], &json!({})).await;
    world.owner.put(&endpoint("my-ep2"), endpoint_body("Key", &json!({}))).await.is(201);
    let outsider = hold(&world, "outsider", "Owner", &endpoint("my-ep")).await;
    let somebody = |n: u128| grant_body(role("Reader"), Uuid::from_u128(n));
    for (n, scope, good) in [
        (1, endpoint("my-ep"), true),
        (2, endpoint("MY-EP"), true),
        (3, format!("{}/deployments/blue", endpoint("my-ep")), true),
        (4, endpoint("my-ep2"), false),
        (5, workspace("default"), false),
        (6, group(), false),
        (7, subscription(), false),
        (8, String::new(), false),
        (9, "/".to_owned(), false),
        (10, "/providers/Microsoft.Management/managementGroups/top".to_owned(), false),
        (11, workspace("nowhere"), false),
        (12, format!("{}/deployments/not-there", endpoint("my-ep")), false),
    ] {
        let path = grant_id(&scope, Uuid::from_u128(n));
        let reply = outsider.put(&path, somebody(n)).await;
        if good {
            reply.is(201);
        } else {
            assert!(matches!(reply.status, 403 | 404), "{scope}: {reply:?}");
            world.owner.get(&path).await.is(404);
        }
    }
    // A scope in the body is not where it is granted.
    let mut lying = somebody(20);
    lying["properties"]["scope"] = json!("/");
    let reply = outsider.put(&grant_id(&endpoint("my-ep"), Uuid::from_u128(20)), lying).await;
    if reply.status != 400 {
        assert_eq!(reply.is(201).at("/properties/scope"), &json!(endpoint("my-ep")));
    }
    // Nor can he take away, or make greater, what others hold above him.
    let reader = object_id("reader").to_string();
    let grants =
        world.owner.all(&format!("{}/providers/Microsoft.Authorization/roleAssignments", group())).await;
    let above = grants.iter().find(|grant| grant["properties"]["principalId"] == reader.as_str()).unwrap();
    let name = above["name"].as_str().unwrap();
    outsider.delete(above["id"].as_str().unwrap()).await.any(&[403, 404]);
    let alias = format!("{}/providers/Microsoft.Authorization/roleAssignments/{name}", endpoint("my-ep"));
    outsider.delete(&alias).await.any(&[204, 404]);
    world.owner.get(above["id"].as_str().unwrap()).await.is(200);
    world.stop().await;
}

/// What is said about a grant can change; a condition that is not understood takes its effect away, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_is_not_understood_grants_nothing() {
    let world = World::start().await;
    let (path, outsider) = (grant_id(&group(), Uuid::from_u128(1)), world.stand.as_("outsider"));
    let body = |description: &str, condition: Option<&str>| {
        let mut body = grant_body(role("Reader"), object_id("outsider"));
        body["properties"]["description"] = json!(description);
        body["properties"]["condition"] = json!(condition);
        body["properties"]["conditionVersion"] = json!(condition.map(|_| "2.0"));
        body
    };
    for (description, condition, status, seen) in [
        ("first", None, 201, 200),
        ("second", None, 200, 200),
        ("third", Some("@Resource[tag] StringEquals 'x'"), 200, 404),
        ("fourth", Some("( !(ActionMatches{'*/read'}) )"), 200, 404),
        ("fifth", None, 200, 200),
    ] {
        let put = world.owner.put(&path, body(description, condition)).await.is(status);
        assert_eq!(put.at("/properties/description"), description);
        assert_eq!(put.at("/properties/condition"), &json!(condition));
        let conditional = condition.is_some();
        assert_eq!(put.at("/properties/conditionVersion"), &json!(conditional.then_some("2.0")));
        let reply = outsider.get(&workspace("default")).await;
        assert_eq!(reply.status == 200, seen == 200, "{description}: {reply:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_may_grant_do_and_others_do_not() {
    let world = World::start().await;
    for (index, (name, grants, defines)) in [
        ("Owner", true, true),
        ("User Access Administrator", true, true),
        ("Role Based Access Control Administrator", true, false),
        ("Contributor", false, false),
        ("Reader", false, false),
        ("AzureML Data Scientist", false, false),
        ("Azure AI Developer", false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = grant_id(&group(), Uuid::from_u128(0x100 + index as u128));
        world.owner.put(&id, grant_body(role(name), object_id("outsider"))).await.is(201);
        let outsider = world.stand.as_("outsider");
        let given = grant_id(&group(), Uuid::from_u128(0x200 + index as u128));
        let reply =
            outsider.put(&given, grant_body(role("Reader"), Uuid::from_u128(index as u128 + 1))).await;
        assert_eq!(reply.status, if grants { 201 } else { 403 }, "{name}: {reply:?}");
        let made = role_id(&group(), Uuid::from_u128(0x300 + index as u128));
        let reply = outsider.put(&made, custom(&format!("By {name}"), &[&group()])).await;
        assert_eq!(reply.status, if defines { 201 } else { 403 }, "{name}: {reply:?}");
        if grants {
            outsider.delete(&given).await.is(200);
        }
        world.owner.delete(&id).await.is(200);
    }
    world.stop().await;
}

/// The right to write a role is needed at every scope at which it is or becomes assignable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custom_role_is_written_by_those_who_may_at_all_of_its_scopes() {
    let world = World::start().await;
    let outsider = hold(&world, "outsider", "Owner", &group()).await;
    let (mine, theirs, wide) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let group = group();
    let subscription = subscription();
    outsider.put(&role_id(&group, mine), custom("Mine", &[&group])).await.is(201);
    world.owner.put(&role_id("", theirs), custom("Theirs", &[&subscription])).await.is(201);
    world.owner.put(&role_id("", wide), custom("Wide", &[&group, &subscription])).await.is(201);
    for (id, name, scopes) in [
        (Uuid::from_u128(9), "New", &[subscription.as_str()][..]),
        (Uuid::from_u128(9), "New", &[&group, &subscription]),
        (Uuid::from_u128(9), "New", &["/"]),
        (mine, "Mine", &[&group, "/"]),
        (mine, "Mine", &[&group, &subscription]),
        (theirs, "Theirs", &[&group]),
        (wide, "Wide", &[&group]),
    ] {
        let reply = outsider.put(&role_id(&group, id), custom(name, scopes)).await;
        assert!(matches!(reply.status, 403 | 404), "{name} at {scopes:?}: {reply:?}");
    }
    for id in [theirs, wide] {
        let reply = outsider.delete(&role_id(&group, id)).await;
        assert!(matches!(reply.status, 403 | 404), "{reply:?}");
        world.owner.get(&role_id("", id)).await.is(200);
    }
    world.owner.get(&role_id("", Uuid::from_u128(9))).await.is(404);
    outsider.put(&role_id(&group, mine), custom("Mine", &[&workspace("default")])).await.is(201);
    outsider.delete(&role_id(&group, mine)).await.is(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_and_definitions_are_filtered_as_azures_clients_ask() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    hold(&world, "outsider", "Reader", &endpoint("my-ep")).await;
    hold(&world, "outsider", "Contributor", &workspace("default")).await;
    let (outsider, scientist) = (object_id("outsider"), object_id("scientist"));
    for (scope, filter, expected) in [
        (String::new(), String::new(), 5),
        (String::new(), "atScope()".to_owned(), 1),
        (group(), "atScope()".to_owned(), 3),
        (workspace("default"), String::new(), 5),
        (workspace("default"), "atScope()".to_owned(), 4),
        (endpoint("my-ep"), "atScope()".to_owned(), 5),
        (workspace("default"), format!("principalId eq '{outsider}'"), 2),
        (workspace("default"), format!("principalId+eq+'{outsider}'"), 2),
        (workspace("default"), format!("principalId%20eq%20%27{outsider}%27"), 2),
        (workspace("default"), format!("atScope() and principalId eq '{outsider}'"), 1),
        (workspace("default"), format!("assignedTo('{scientist}')"), 1),
        (workspace("default"), format!("atScope() and assignedTo('{outsider}')"), 1),
        (workspace("nowhere"), String::new(), 3),
    ] {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}");
        let found = owner.all(&path).await;
        assert_eq!(found.len(), expected, "{scope} {filter}: {found:?}");
    }
    for bad in [
        "atScope",
        "principalId eq 7",
        "principalId eq 'x'",
        "roleName eq 'Reader'",
        "1 eq 1",
        "atScope() or atScope()",
    ] {
        let path = format!("{}/providers/Microsoft.Authorization/roleAssignments?$filter={bad}", group());
        owner.get(&path).await.is(400);
    }
    owner.put(&role_id("", Uuid::from_u128(1)), custom("O'Neill's and others", &[&group()])).await.is(201);
    for (filter, expected) in [
        ("roleName eq 'AzureML Data Scientist'", 1),
        ("roleName%20eq%20%27AzureML%20Data%20Scientist%27", 1),
        ("roleName eq 'O''Neill''s and others'", 1),
        ("roleName eq 'Nobody'", 0),
        ("type eq 'CustomRole'", 1),
        ("type eq 'CustomRole' and roleName eq 'Reader'", 0),
        ("atScopeAndBelow()", builtin::roles().len() + 1),
        ("type eq 'BuiltInRole'", builtin::roles().len()),
    ] {
        let path = format!("{}/providers/Microsoft.Authorization/roleDefinitions?$filter={filter}", group());
        assert_eq!(owner.all(&path).await.len(), expected, "{filter}");
    }
    let permissions = format!("{}/providers/Microsoft.Authorization/permissions", endpoint("my-ep"));
    for (who, expected) in [("owner", 1), ("scientist", 1), ("reader", 1), ("outsider", 2)] {
        let reply = world.stand.as_(who).get(&permissions).await.is(200);
        let value = reply.json["value"].as_array().unwrap();
        assert_eq!(value.len(), expected, "{who}");
        assert!(value.iter().all(|one| one["actions"].is_array() && one["notDataActions"].is_array()));
    }
    world.stop().await;
}

/// A deny assignment stands above every grant, on the control plane as well, and is not written by callers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_is_denied_to_those_who_hold_every_role() {
    let denied = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/delete";
    let world = World::with(|plan| {
        plan.add(
            "deny.yaml",
            format!(
                "deny_assignment_name: Keep Endpoints\nscope: {}\nactions: [ {denied} ]\nprincipals: [ {} ]\n",
                group(),
                object_id("owner")
            ),
        );
    })
    .await;
    let owner = &world.owner;
    owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let refused = owner.delete(&endpoint("my-ep")).await.is(403);
    let message = refused.at("/error/message").as_str().unwrap();
    assert!(message.contains("Keep Endpoints") && message.contains(denied), "{message}");
    owner.get(&endpoint("my-ep")).await.is(200);
    world.stand.as_("scientist").delete(&endpoint("my-ep")).await.is(200);
    let list = format!("{}/providers/Microsoft.Authorization/denyAssignments", endpoint("my-ep"));
    let shown = owner.get(&list).await.is(200);
    assert_eq!(shown.at("/value/0/properties/denyAssignmentName"), "Keep Endpoints");
    let one = format!("{list}/{}", shown.names()[0]);
    for method in [Method::PUT, Method::DELETE] {
        owner.call(method, &one, Body::None, &[]).await.any(&[404, 405]);
    }
    world.stop().await;
}
