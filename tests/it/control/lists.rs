//! Lists: pages, orders, filters, and who sees what of them.

use std::collections::BTreeMap;

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::rest::{Body, endpoint, endpoint_body, grant_body, grant_id, group, workspace};
use crate::support::stand::{SUBSCRIPTION, object_id};

/// Another subscription.
const OTHER: &str = "00000000-0000-0000-0000-0000000000ff";
const MANY: usize = 250;

fn list(query: &str) -> String {
    format!("{}/onlineEndpoints?{query}", workspace("default"))
}

/// The endpoints of a list page by page. `between` is called after each page but the last.
async fn pages(world: &World, query: &str, mut between: impl AsyncFnMut(usize)) -> Vec<Value> {
    let (mut items, mut next, mut page) = (Vec::new(), list(query), 0);
    loop {
        let reply = world.owner.get(&next).await.is(200);
        items.extend(reply.json["value"].as_array().unwrap().iter().cloned());
        let Some(link) = reply.json["nextLink"].as_str() else { return items };
        assert!(link.starts_with(&world.stand.gateway.addresses.control), "absolute: {link}");
        assert!(link.contains("api-version="), "{link}");
        assert!(page < MANY, "it has to end");
        link.clone_into(&mut next);
        between(page).await;
        page += 1;
    }
}

async fn put(world: &World, name: &str, tags: &Value) {
    let mut body = endpoint_body("Key", &json!({}));
    body["tags"] = tags.clone();
    body["properties"]["properties"] = tags.clone();
    world.owner.put(&endpoint(name), body).await.any(&[200, 201]);
}

fn names(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_hold_everything_once_whatever_is_made_and_removed_in_between() {
    let world = World::start().await;
    let stays: Vec<String> = (0..MANY).map(|n| format!("ep-{n:03}")).collect();
    for name in &stays {
        put(&world, name, &json!({})).await;
    }
    let mut orders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for order in ["", "CreatedAtDesc", "CreatedAtAsc", "UpdatedAtDesc", "updatedatasc"] {
        let query =
            if order.is_empty() { "count=100".to_owned() } else { format!("count=100&orderBy={order}") };
        // What comes and goes: in front of the page, behind it, and where it ends.
        for name in ["aaa-1", "ep-099-x", "ep-100-x", "zzz-1"] {
            put(&world, name, &json!({})).await;
        }
        let items = pages(&world, &query, async |page| {
            for name in ["aaa-1", "ep-099-x", "ep-100-x", "zzz-1"] {
                if page == 0 {
                    world.owner.delete(&endpoint(name)).await.is(200);
                } else {
                    put(&world, name, &json!({})).await;
                }
            }
            for name in [format!("bbb-{page}"), format!("ep-1{page}0-y"), format!("yyy-{page}")] {
                put(&world, &name, &json!({})).await;
            }
        })
        .await;
        let seen = names(&items);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &seen {
            *counts.entry(name).or_default() += 1;
        }
        let repeated: Vec<_> = stays.iter().filter(|name| counts.get(name.as_str()) != Some(&1)).collect();
        assert!(repeated.is_empty(), "{order}: not once: {repeated:?}");
        let times: Vec<&str> = items
            .iter()
            .map(|item| {
                let time = if order.starts_with(['u', 'U']) { "lastModifiedAt" } else { "createdAt" };
                item["systemData"][time].as_str().unwrap()
            })
            .collect();
        match order {
            "" => assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "by name"),
            _ if order.ends_with("Desc") => {
                assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "{order}");
            }
            _ => assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{order}"),
        }
        orders.insert(order, seen);
    }
    assert_eq!(
        pages(&world, "count=1000", async |_| panic!("one page")).await.len(),
        world.owner.all(&list("count=7")).await.len()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_by_what_clients_send() {
    let world = World::start().await;
    for (name, tags) in [
        ("ep-1", json!({"team": "a", "stage": "prod"})),
        ("ep-2", json!({"team": "b", "stage": "prod"})),
        ("ep-3", json!({"team": "a"})),
        ("ep-4", json!({})),
    ] {
        put(&world, name, &tags).await;
    }
    for (query, expected) in [
        ("", &["ep-1", "ep-2", "ep-3", "ep-4"][..]),
        ("tags=team", &["ep-1", "ep-2", "ep-3"]),
        ("tags=team=a", &["ep-1", "ep-3"]),
        ("tags=team%3Da,stage", &["ep-1"]),
        ("tags=team%3Da,stage%3Dprod", &["ep-1"]),
        ("tags=team%3Dc", &[]),
        ("tags=nothing", &[]),
        ("properties=team=b", &["ep-2"]),
        ("properties=team&tags=stage", &["ep-1", "ep-2"]),
        ("name=ep-2", &["ep-2"]),
        ("name=EP-2", &["ep-2"]),
        ("name=ep", &[]),
        ("computeType=Managed", &["ep-1", "ep-2", "ep-3", "ep-4"]),
        ("computeType=managed&name=ep-1", &["ep-1"]),
        ("computeType=Kubernetes", &[]),
        ("tags=team=a&count=1", &["ep-1", "ep-3"]),
    ] {
        let found = pages(&world, query, async |_| ()).await;
        assert_eq!(names(&found), expected, "{query}");
    }
    for bad in
        ["orderBy=Name", "count=0", "count=-1", "count=x", "count=", "$skip=!!!", "$skip=%FF", "$skip=_w"]
    {
        let reply = world.owner.get(&list(bad)).await;
        assert!(reply.status == 400 && !reply.code().is_empty(), "{bad}: {reply:?}");
    }
    world.stop().await;
}

/// Where somebody holds a role, he sees what there is, and nothing of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workspaces_groups_and_subscriptions_are_shown_to_those_who_hold_a_role_in_them() {
    let world = World::start().await;
    let owner = &world.owner;
    let lab = workspace("lab");
    let far = lab.replace(SUBSCRIPTION, OTHER).replace("/default/", "/far/");
    let body =
        json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {"friendlyName": "The Lab"}});
    let made = owner.put(&lab, body.clone()).await.is(201);
    assert_eq!(
        (made.at("/location"), made.at("/properties/friendlyName")),
        (&json!("westeurope"), &json!("The Lab"))
    );
    owner.put(&lab, body.clone()).await.is(200);
    owner.put(&far, body).await.is(201);
    owner.put(&lab, json!({"properties": {}})).await.refuses(400, "BadArgument");
    assert_eq!(
        owner.get(&lab).await.is(200).json["tags"],
        json!({"a": "b"}),
        "a refused write changes nothing"
    );
    // `outsider` reads the far workspace, and one endpoint of the lab.
    let reader = builtin::by_name("Reader").unwrap();
    let at = format!("{lab}/onlineEndpoints/lab-ep");
    owner.put(&at, endpoint_body("Key", &json!({}))).await.is(201);
    for scope in [&far, &at] {
        let grant = grant_body(reader, object_id("outsider"));
        owner.put(&grant_id(scope, Uuid::new_v4()), grant).await.is(201);
    }
    let subscription = |id: &str| format!("/subscriptions/{id}");
    let workspaces =
        |scope: String| format!("{scope}/providers/Microsoft.MachineLearningServices/workspaces");
    let here = subscription(SUBSCRIPTION);
    for (who, path, expected) in [
        ("owner", workspaces(here.clone()), &["default", "lab"][..]),
        ("owner", workspaces(group()), &["default", "lab"]),
        ("owner", workspaces(subscription(OTHER)), &["lab"]),
        ("owner", workspaces(group().replace("/default", "/nowhere")), &[]),
        ("scientist", workspaces(here.clone()), &["default", "lab"]),
        ("scientist", workspaces(subscription(OTHER)), &[]),
        ("outsider", workspaces(here.clone()), &[]),
        ("outsider", workspaces(subscription(OTHER)), &["lab"]),
        ("owner", format!("{here}/resourceGroups"), &["default"]),
        ("outsider", format!("{}/resourceGroups", subscription(OTHER)), &["far"]),
        ("scientist", format!("{}/resourceGroups", subscription(OTHER)), &[]),
    ] {
        let reply = world.stand.as_(who).get(&path).await.is(200);
        assert_eq!(reply.names(), expected, "{who} {path}");
    }
    for (who, expected) in [
        ("owner", &[SUBSCRIPTION, OTHER][..]),
        ("scientist", &[SUBSCRIPTION]),
        ("reader", &[SUBSCRIPTION]),
        ("outsider", &[SUBSCRIPTION, OTHER]),
    ] {
        let listed = world.stand.as_(who).get("/subscriptions").await.is(200);
        let items = listed.json["value"].as_array().unwrap();
        let ids: Vec<_> = items.iter().map(|item| item["subscriptionId"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{who}");
        for item in items {
            assert_eq!(item["state"], "Enabled");
            assert!(
                item["id"].is_string() && item["tenantId"].is_string() && item["displayName"].is_string()
            );
        }
    }
    for (who, path, status) in [
        ("scientist", subscription(OTHER), 404),
        ("scientist", here.clone(), 200),
        ("scientist", group(), 200),
        ("scientist", group().replace("resourceGroups", "resourcegroups"), 200),
        ("scientist", format!("{here}/resourceGroups/nowhere"), 404),
        ("scientist", far.clone(), 404),
        ("outsider", far.clone(), 200),
        ("outsider", at.clone(), 200),
        ("outsider", at.replace("lab-ep", "lab-no"), 404),
        ("outsider", format!("{at}/deployments/blue"), 404),
        // A group is a name only: whoever holds a role in it knows of it, and is told the same of what is in it or not.
        ("outsider", lab.clone(), 403),
        ("outsider", workspace("nowhere"), 403),
    ] {
        world.stand.as_(who).call(Method::GET, &path, Body::None, &[]).await.is(status);
    }
    world.stop().await;
}
