//! The rules by which endpoints and deployments live.

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::rest::{
    Body, deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id, workspace,
};
use crate::support::stand::object_id;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_start_with_a_letter_and_have_3_to_32_letters_digits_and_single_dashes() {
    let world = World::start().await;
    let owner = &world.owner;
    let longest = "a".repeat(32);
    for name in ["abc", "My-Endp1", "a-b-c-1", &longest] {
        let made = owner.put(&endpoint(name), endpoint_body("Key", &json!({}))).await.is(201);
        assert_eq!(made.json["name"], name);
        let body = deployment_body(&[&world.blue.url]);
        assert_eq!(owner.put(&deployment(name, name), body).await.is(201).json["name"], name);
    }
    let too_long = "a".repeat(33);
    for name in ["ab", "1abc", "-abc", "a--b", "a_b", "a.b", "a%20b", "%C3%A423", &too_long] {
        owner.put(&endpoint(name), endpoint_body("Key", &json!({}))).await.refuses(400, "BadArgument");
        let body = deployment_body(&[&world.blue.url]);
        owner.put(&deployment("abc", name), body).await.refuses(400, "BadArgument");
    }
    let elsewhere = format!("{}/onlineEndpoints/ABC", workspace("lab"));
    owner.put(&workspace("lab"), json!({"location": "local"})).await.is(201);
    let taken = owner.put(&elsewhere, endpoint_body("Key", &json!({}))).await.is(409);
    assert!(!taken.code().is_empty(), "a name is the gateway's, not the workspace's: {taken:?}");
    // Who has it is not told to somebody who may not know.
    let told = taken.json.to_string().to_lowercase();
    assert!(!told.contains("workspaces/default"), "{told}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_would_belong_to_has_to_be_there() {
    let world = World::start().await;
    let nowhere = format!("{}/onlineEndpoints/abc", workspace("nowhere"));
    for (path, body) in [
        (nowhere, endpoint_body("Key", &json!({}))),
        (deployment("nobody", "blue"), deployment_body(&[&world.blue.url])),
        (format!("{}/models/m/versions/1", workspace("nowhere")), json!({"properties": {}})),
    ] {
        world.owner.put(&path, body).await.refuses(404, "ParentResourceNotFound");
    }
    for path in [
        endpoint("nobody"),
        format!("{}/deployments", endpoint("nobody")),
        deployment("nobody", "blue"),
        format!("{}/onlineEndpoints", workspace("nowhere")),
        workspace("nowhere"),
    ] {
        world.owner.get(&path).await.refuses(404, "ResourceNotFound");
    }
    world.stop().await;
}

/// `traffic`, `mirrorTraffic`, and whether they may be so. There are `blue` and `green`.
const SHARES: &[(&str, &str, bool)] = &[
    ("{}", "{}", true),
    (r#"{"blue": 100}"#, "{}", true),
    (r#"{"blue": 90, "green": 10}"#, "{}", true),
    (r#"{"blue": 0, "green": 0}"#, "{}", true),
    (r#"{"blue": 0}"#, "{}", true),
    (r#"{"BLUE": 100}"#, "{}", true),
    (r#"{"blue": "60", "green": "40"}"#, "{}", true),
    ("null", "null", true),
    (r#"{"blue": 90, "green": 9}"#, "{}", false),
    (r#"{"blue": 99}"#, "{}", false),
    (r#"{"blue": 101}"#, "{}", false),
    (r#"{"blue": 200, "green": 156}"#, "{}", false),
    (r#"{"blue": 356}"#, "{}", false),
    (r#"{"blue": -1, "green": 101}"#, "{}", false),
    (r#"{"blue": 99.5, "green": 0.5}"#, "{}", false),
    (r#"{"blue": true}"#, "{}", false),
    (r#"{"blue": 50, "BLUE": 50}"#, "{}", false),
    (r#"{"red": 100}"#, "{}", false),
    (r#"{"blue": 50, "red": 50}"#, "{}", false),
    (r#"["blue"]"#, "{}", false),
    (r#"{"blue": 100}"#, r#"{"green": 10}"#, true),
    (r#"{"blue": 100}"#, r#"{"green": 50}"#, true),
    (r#"{"blue": 100}"#, r#"{"GREEN": 1, "blue": 0}"#, true),
    (r#"{"blue": 100}"#, r#"{"green": 51}"#, false),
    (r#"{"blue": 100}"#, r#"{"blue": 10}"#, false),
    (r#"{"blue": 90, "green": 10}"#, r#"{"green": 10}"#, false),
    (r#"{"blue": 100}"#, r#"{"green": 10, "grey": 10}"#, false),
    (r#"{"blue": 100}"#, r#"{"red": 10}"#, false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_add_up_and_go_to_deployments_that_are_there() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, endpoint("my-ep"));
    let early = endpoint_body("Key", &json!({"blue": 100}));
    owner.put(&path, early).await.refuses(400, "BadArgument");
    owner.get(&path).await.is(404);
    world.make("my-ep", "Key", &["blue", "green", "grey"], &json!({})).await;
    for (traffic, mirror, good) in SHARES {
        owner.put(&path, endpoint_body("Key", &json!({"blue": 50, "green": 50}))).await.is(200);
        let before = owner.get(&path).await;
        let text = format!(
            r#"{{"location": "local", "properties": {{"authMode": "Key", "traffic": {traffic}, "mirrorTraffic": {mirror}}}}}"#
        );
        let reply = owner.put(&path, text.as_str()).await;
        if *good {
            let shown = reply.is(200);
            let sum = shown.at("/properties/traffic").as_object().unwrap().values();
            assert!(matches!(sum.map(|share| share.as_u64().unwrap()).sum(), 0 | 100), "{text}");
        } else {
            reply.refuses(400, "BadArgument");
            let after = owner.get(&path).await;
            assert_eq!((after.etag(), after.json), (before.etag(), before.json), "{text}");
        }
    }
    let both = json!({"location": "local", "properties": {
        "authMode": "Key", "traffic": {"blue": 100}, "mirrorTraffic": {"green": 20},
    }});
    assert_eq!(owner.put(&path, both).await.is(200).at("/properties/mirrorTraffic"), &json!({"green": 20}));
    let without = endpoint_body("Key", &json!({"blue": 100}));
    let erased = owner.put(&path, without).await.is(200);
    assert_eq!(erased.at("/properties/mirrorTraffic"), &json!({}), "PUT replaces the whole");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_removed_only_once_nothing_is_sent_to_it() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, endpoint("my-ep"));
    world.make("my-ep", "Key", &["blue", "green"], &json!({"blue": 100})).await;
    let blue = owner.get(&path).await;
    assert_eq!(blue.at("/properties/traffic"), &json!({"blue": 100}), "a new deployment gets nothing");
    owner.delete(&deployment("my-ep", "blue")).await.any(&[400, 409]);
    owner.delete(&deployment("my-ep", "BLUE")).await.any(&[400, 409]);
    let mirrored = json!({"location": "local", "properties": {
        "authMode": "Key", "traffic": {"blue": 100}, "mirrorTraffic": {"green": 20},
    }});
    owner.put(&path, mirrored).await.is(200);
    owner.delete(&deployment("my-ep", "green")).await.any(&[400, 409]);
    for name in ["blue", "green"] {
        owner.get(&deployment("my-ep", name)).await.is(200);
    }
    owner.put(&path, endpoint_body("Key", &json!({"green": 100, "blue": 0}))).await.is(200);
    owner.delete(&deployment("my-ep", "blue")).await.is(200);
    owner.get(&deployment("my-ep", "blue")).await.is(404);
    owner.delete(&deployment("my-ep", "blue")).await.is(204);
    let listed = owner.get(&format!("{path}/deployments")).await.is(200);
    assert_eq!(listed.names(), ["green"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_goes_with_all_it_had_and_its_name_inherits_nothing() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, endpoint("my-ep"));
    let scorer = |id| (id, grant_body(builtin::DATA_SCIENTIST, object_id("outsider")));
    for mode in ["AADToken", "Key", "AMLToken"] {
        world.make("my-ep", mode, &["blue"], &json!({"blue": 100})).await;
        let (id, body) = scorer(Uuid::new_v4());
        owner.put(&grant_id(&path, id), body).await.is(201);
        let (below, body) = scorer(Uuid::new_v4());
        owner.put(&grant_id(&deployment("my-ep", "blue"), below), body).await.is(201);
        let credential = match mode {
            "Key" => world.key("my-ep", "primaryKey").await,
            "AMLToken" => world.token("my-ep").await,
            _ => world.stand.token("outsider"),
        };
        assert_eq!(world.score("my-ep", &credential).await, 200, "{mode}");
        owner.delete(&path).await.is(200);
        for gone in [path.clone(), format!("{path}/deployments"), deployment("my-ep", "blue")] {
            owner.get(&gone).await.is(404);
        }
        assert_eq!(world.score("my-ep", &credential).await, 404, "{mode}");
        let left = owner.all("/providers/Microsoft.Authorization/roleAssignments").await;
        let left: Vec<_> = left.iter().filter(|grant| grant.to_string().contains("my-ep")).collect();
        assert!(left.is_empty(), "{left:?}");
        owner.delete(&path).await.is(204);

        world.make("my-ep", mode, &["blue"], &json!({"blue": 100})).await;
        let expected = if mode == "AADToken" { 403 } else { 401 };
        assert_eq!(world.score("my-ep", &credential).await, expected, "{mode}");
        owner.delete(&path).await.is(200);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patch_changes_labels_identity_and_size_and_nothing_else() {
    let world = World::start().await;
    let owner = &world.owner;
    world.make("my-ep", "Key", &["blue"], &json!({"blue": 100})).await;
    let (ep, blue) = (endpoint("my-ep"), deployment("my-ep", "blue"));
    for path in [&ep, &blue] {
        let before = owner.get(path).await.is(200);
        owner.patch(path, json!({"tags": {"a": "1", "b": "2"}})).await.any(&[200, 202]);
        owner.patch(path, json!({"tags": {"b": "3"}})).await.any(&[200, 202]);
        let after = owner.get(path).await.is(200);
        assert_eq!(after.json["tags"], json!({"b": "3"}), "the map replaces the map");
        assert_ne!(after.etag(), before.etag());
        assert_eq!(without_system(&after.json)["properties"], without_system(&before.json)["properties"]);
        owner.patch(path, json!({"tags": {}})).await.any(&[200, 202]);
        assert_eq!(owner.get(path).await.json["tags"], json!({}));
    }
    let user = json!({"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s": {}}});
    owner.patch(&ep, json!({"identity": user})).await.any(&[200, 202]);
    assert_eq!(owner.get(&ep).await.json["identity"]["type"], "UserAssigned");
    owner.patch(&blue, json!({"sku": {"name": "default", "capacity": 3}})).await.any(&[200, 202]);
    assert_eq!(owner.get(&blue).await.at("/sku/capacity"), 3);
    for (path, body) in [
        (&ep, json!({"properties": {"traffic": {}}})),
        (&ep, json!({"properties": {"authMode": "AADToken"}})),
        (&ep, json!({"tags": {"x": "y"}, "Properties": {"description": "x"}})),
        (&blue, json!({"properties": {"requestSettings": {}}})),
        (&blue, json!({"sku": {"capacity": 0}})),
        (&blue, json!({"sku": {"capacity": 100_000}})),
        (&blue, json!({"sku": {"capacity": "many"}})),
    ] {
        let before = owner.get(path).await;
        let refused = owner.patch(path, body).await.is(400);
        assert!(!refused.code().is_empty());
        assert_eq!(owner.get(path).await.json, before.json);
    }
    owner.patch(&endpoint("nobody"), json!({"tags": {}})).await.refuses(404, "ResourceNotFound");
    owner.patch(&deployment("my-ep", "nobody"), json!({"tags": {}})).await.refuses(404, "ResourceNotFound");
    world.stop().await;
}

fn without_system(shown: &Value) -> Value {
    let mut shown = shown.clone();
    shown["properties"]["properties"].as_object_mut().unwrap().remove("AzureAsyncOperationUri");
    shown
}

/// What clients fall over without, of resources made with as little as can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_need_is_there_whatever_was_left_out() {
    let world = World::start().await;
    let owner = &world.owner;
    let (ep, blue) = (endpoint("my-ep"), deployment("my-ep", "blue"));
    owner.put(&ep, json!({"location": "x", "properties": {"authMode": "AADToken"}})).await.is(201);
    let backend = json!({"urls": [&world.blue.url]}).to_string();
    let least = json!({"location": "x", "properties": {
        "endpointComputeType": "Managed", "properties": {"scoregate.backend": backend},
    }});
    owner.put(&blue, least).await.is(201);
    let model = format!("{}/models/m/versions/1", workspace("default"));
    owner.put(&model, json!({"properties": {}})).await.is(201);
    for (path, pointer, expected) in [
        (&ep, "/name", json!("my-ep")),
        (&ep, "/type", json!("Microsoft.MachineLearningServices/workspaces/onlineEndpoints")),
        (&ep, "/location", json!("local")),
        (&ep, "/kind", json!("Managed")),
        (&ep, "/properties/authMode", json!("AADToken")),
        (&ep, "/properties/traffic", json!({})),
        (&ep, "/properties/mirrorTraffic", json!({})),
        (&ep, "/properties/keys", Value::Null),
        (&ep, "/properties/compute", Value::Null),
        (&ep, "/properties/publicNetworkAccess", json!("Enabled")),
        (&ep, "/properties/provisioningState", json!("Succeeded")),
        (&ep, "/properties/scoringUri", json!("http://127.0.0.1:8080/endpoints/my-ep/score")),
        (&ep, "/properties/properties/azureml.onlineendpointid", json!(ep.to_lowercase())),
        (&blue, "/id", json!(blue)),
        (&blue, "/sku/capacity", json!(1)),
        (&blue, "/properties/endpointComputeType", json!("Managed")),
        (&blue, "/properties/scaleSettings", json!({"scaleType": "Default"})),
        (&blue, "/properties/requestSettings/requestTimeout", json!("PT5S")),
        (&blue, "/properties/requestSettings/maxConcurrentRequestsPerInstance", json!(1)),
        (&blue, "/properties/requestSettings/maxQueueWait", json!("PT0.5S")),
        (&blue, "/properties/provisioningState", json!("Succeeded")),
        (&model, "/properties/flavors", json!({})),
    ] {
        let shown = owner.get(path).await.is(200);
        assert_eq!(shown.at(pointer), &expected, "{path} {pointer}");
    }
    for path in [&ep, &blue] {
        let shown = owner.get(path).await;
        for time in ["createdAt", "lastModifiedAt"] {
            let text = shown.json["systemData"][time].as_str().unwrap();
            assert!(text.contains('T') && text.ends_with('Z'), "{text}");
        }
        assert_eq!(shown.at("/systemData/createdBy"), &json!(object_id("owner").to_string()));
        assert!(shown.at("/properties/properties").is_object());
    }
    let status = owner.call(Method::GET, &format!("{blue}/skus"), Body::None, &[]).await.is(200);
    assert!(status.at("/value/0/capacity/maximum").is_u64());
    world.stop().await;
}

/// What the server says of a resource is the server's to say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_only_is_not_taken_from_a_body() {
    let world = World::start().await;
    let (owner, ep) = (&world.owner, endpoint("my-ep"));
    let body = json!({
        "location": "local", "type": "Microsoft.Evil/things", "etag": "x", "kind": "Kubernetes",
        "systemData": {"createdBy": "somebody", "createdAt": "2001-01-01T00:00:00Z"},
        "properties": {
            "authMode": "Key", "provisioningState": "Failed", "scoringUri": "http://evil.example/score",
            "swaggerUri": "http://evil.example/", "tokenEpoch": Uuid::nil(),
            "properties": {
                "createdBy": "somebody", "createdAt": "x", "lastModifiedAt": "x",
                "azureml.onlineendpointid": "/evil", "AzureAsyncOperationUri": "http://evil.example", "mine": 2,
            },
        },
    });
    owner.put(&ep, body).await.is(201);
    let shown = owner.get(&ep).await.is(200);
    let text = shown.json.to_string().to_lowercase();
    for trace in ["evil", "somebody", "2001-01-01", "failed", "kubernetes"] {
        assert!(!text.contains(trace), "{trace} is in {text}");
    }
    assert_eq!(shown.at("/properties/properties/mine"), &json!("2"), "entries are strings");
    // Entries are added to the bag, never lost by not being sent.
    let more = json!({"location": "local", "properties": {"authMode": "Key", "properties": {"more": "x"}}});
    owner.put(&ep, more).await.is(200);
    let shown = owner.get(&ep).await;
    assert_eq!(
        (shown.at("/properties/properties/mine"), shown.at("/properties/properties/more")),
        (&json!("2"), &json!("x"))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_can_be_asked_how_it_ended() {
    let world = World::start().await;
    let made = world.owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let uri = made.at("/properties/properties/AzureAsyncOperationUri").as_str().unwrap().to_owned();
    assert!(uri.starts_with(&world.stand.gateway.addresses.control), "{uri}");
    let status = world.owner.get(&uri).await.is(200);
    assert_eq!(status.json["status"], "Succeeded");
    assert!(uri.contains(status.json["name"].as_str().unwrap()), "{status:?}");
    let result = uri.replace("mfeOperationsStatus", "mfeOperationResults");
    world.owner.get(&result).await.any(&[200, 204]);
    world.stand.as_("scientist").get(&uri).await.is(200);
    let unknown = uri.replace("?api-version", "x?api-version");
    for path in [uri.as_str(), &result, &unknown] {
        world.stand.as_("outsider").get(path).await.refuses(404, "ResourceNotFound");
        world.rest.nobody().get(path).await.is(401);
    }
    world.stop().await;
}

/// What comes from files is changed in files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_files_is_not_changed_by_the_api() {
    let world = World::with(|plan| {
        plan.add("file.yaml", "name: from-file\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned());
        plan.add(
            "file-blue.yaml",
            crate::support::stand::deployment("from-file", "blue", &["http://127.0.0.1:9"], ""),
        );
        plan.add("role.yaml", "role_name: From File\nactions: [ \"*/read\" ]\n".to_owned());
    })
    .await;
    let owner = &world.owner;
    let roles = owner.all("/providers/Microsoft.Authorization/roleDefinitions").await;
    let role = roles.iter().find(|role| role["properties"]["roleName"] == "From File").unwrap();
    let role = role["id"].as_str().unwrap();
    let reader = object_id("reader").to_string();
    let grants = owner.all("/providers/Microsoft.Authorization/roleAssignments").await;
    let grant = grants.iter().find(|grant| grant["properties"]["principalId"] == reader).unwrap();
    let grant_body = json!({"properties": grant["properties"].clone()});
    let grant = grant["id"].as_str().unwrap();
    let (ep, blue) = (endpoint("from-file"), deployment("from-file", "blue"));
    let role_body = json!({"properties": {
        "roleName": "From File", "permissions": [{"actions": ["*"]}], "assignableScopes": ["/"],
    }});
    for (method, path, body) in [
        (Method::PUT, ep.as_str(), endpoint_body("Key", &json!({}))),
        (Method::PATCH, &ep, json!({"tags": {"a": "b"}})),
        (Method::DELETE, &ep, Value::Null),
        (Method::PUT, &blue, deployment_body(&["http://127.0.0.1:9"])),
        (Method::PATCH, &blue, json!({"sku": {"capacity": 2}})),
        (Method::DELETE, &blue, Value::Null),
        (Method::PUT, &deployment("from-file", "green"), deployment_body(&["http://127.0.0.1:9"])),
        (Method::PUT, role, role_body),
        (Method::DELETE, role, Value::Null),
        (Method::PUT, grant, grant_body),
        (Method::DELETE, grant, Value::Null),
        (Method::PUT, &workspace("default"), json!({"location": "x", "properties": {}})),
    ] {
        let body = if body.is_null() { Body::None } else { Body::Json(body) };
        owner.call(method, path, body, &[]).await.refuses(409, "ManagedByFiles");
    }
    assert_eq!(owner.get(&ep).await.at("/properties/traffic"), &json!({"blue": 100}));
    world.stop().await;
}

/// A grant that a file makes is the file's, also where the endpoint is somebody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_files_grant_outlasts_the_endpoint_that_callers_make_and_remove() {
    let world = World::with(|plan| {
        plan.grant("outsider", "AzureML Data Scientist", &endpoint("my-ep"));
    })
    .await;
    let grants = format!("{}/providers/Microsoft.Authorization/roleAssignments", endpoint("my-ep"));
    let outsiders = async || {
        let filter = format!("{grants}?$filter=principalId eq '{}'", object_id("outsider"));
        world.owner.all(&filter).await.len()
    };
    world.make("my-ep", "AADToken", &["blue"], &json!({"blue": 100})).await;
    assert_eq!(outsiders().await, 1);
    let removed = world.owner.delete(&endpoint("my-ep")).await.any(&[200, 409]);
    assert_eq!(outsiders().await, 1, "after {}", removed.status);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_made_and_who_changed_a_resource_is_shown() {
    let world = World::start().await;
    world.make("my-ep", "Key", &["blue"], &json!({})).await;
    let scientist = world.stand.as_("scientist");
    for path in [endpoint("my-ep"), deployment("my-ep", "blue")] {
        let before = world.owner.get(&path).await.is(200);
        scientist.patch(&path, json!({"tags": {"a": "b"}})).await.is(200);
        let after = world.owner.get(&path).await.is(200);
        for (pointer, expected) in [
            ("/systemData/createdBy", json!(object_id("owner"))),
            ("/systemData/createdAt", before.at("/systemData/createdAt").clone()),
            ("/systemData/createdByType", json!("Application")),
            ("/systemData/lastModifiedBy", json!(object_id("scientist"))),
        ] {
            assert_eq!(after.at(pointer), &expected, "{path} {pointer}");
        }
    }
    world.stop().await;
}
