//! HTTP and JSON as Azure's clients and Microsoft's own scripts send them, and what has no single reading.

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::rest::{
    Body, deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id, group, role_id,
    workspace,
};
use crate::support::stand::object_id;

/// Versions that clients were seen to send: repeated here, not read from `src/arm.rs`, for this is what clients see.
const VERSIONS: &[&str] = &[
    "2020-08-01",
    "2022-02-01-preview",
    "2022-04-01",
    "2022-05-01",
    "2022-05-01-preview",
    "2022-10-01",
    "2022-12-01",
    "2023-02-01-preview",
    "2023-04-01",
    "2023-04-01-preview",
    "2023-08-01-preview",
    "2023-10-01",
    "2024-01-01-preview",
    "2024-04-01",
    "2024-10-01",
    "2024-10-01-preview",
    "2024-11-01",
    "2025-04-01",
    "2025-06-01",
    "2025-09-01",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_version_is_one_that_clients_send_and_is_not_left_out() {
    let world = World::start().await;
    let owner = &world.owner;
    let path = workspace("default");
    for version in VERSIONS {
        owner.get(&format!("{path}?api-version={version}")).await.is(200);
    }
    for version in ["", "2024-10", "1999-01-01", "2024-10-01,2024-04-01", "latest", "%00"] {
        let reply = owner.get(&format!("{path}?api-version={version}")).await;
        reply.refuses(400, "InvalidApiVersionParameter");
    }
    // A name that only looks like it.
    for query in ["not-api-version=2024-10-01", "x=1&my-api-version=2024-10-01"] {
        owner.get(&format!("{path}?{query}")).await.refuses(400, "MissingApiVersionParameter");
    }
    // A write without one is not done.
    let put = format!("{}?not-api-version=1", endpoint("my-ep"));
    owner.put(&put, endpoint_body("Key", &json!({}))).await.refuses(400, "MissingApiVersionParameter");
    owner.get(&endpoint("my-ep")).await.is(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_are_compared_without_case_and_shown_as_they_were_asked_for() {
    let world = World::start().await;
    let owner = &world.owner;
    let path = endpoint("My-Ep");
    owner.put(&path, endpoint_body("Key", &json!({}))).await.is(201);
    for (from, to) in [
        ("resourceGroups", "resourcegroups"),
        ("onlineEndpoints", "ONLINEENDPOINTS"),
        ("My-Ep", "my-ep"),
        ("Microsoft.MachineLearningServices", "microsoft.machinelearningservices"),
        ("/workspaces/default", "/WORKSPACES/DEFAULT"),
        ("subscriptions", "Subscriptions"),
    ] {
        let other = path.replace(from, to);
        let shown = owner.get(&other).await.is(200);
        assert_eq!(shown.json["id"], json!(other), "the caller's casing");
        let put = owner.put(&other, endpoint_body("Key", &json!({}))).await.is(200);
        assert_eq!(put.json["id"], json!(other));
        owner.post(&format!("{other}/LISTkeys"), "").await.is(200);
    }
    assert_eq!(owner.get(&format!("{}/onlineEndpoints", workspace("default"))).await.names(), ["My-Ep"]);
    for (from, to) in [
        ("/providers/", "//providers/"),
        ("Services/workspaces", "Services//workspaces"),
        ("/onlineEndpoints/", "///onlineEndpoints//"),
        ("My-Ep", "My-Ep/"),
        ("My-Ep", "My%2DEp"),
    ] {
        owner.get(&path.replace(from, to)).await.is(200);
    }
    let permissions = format!("{}/providers/Microsoft.Authorization/permissions", workspace("default"));
    let doubled = permissions.replace("Services/workspaces", "Services//workspaces");
    owner.get(&doubled.replace("resourceGroups", "resourcegroups")).await.is(200);
    // Dots are the client's own affair: it never sends them.
    for bad in ["a%2fb", "a%00b", "a%5cb", "%ff", "a%0d%0ab"] {
        owner.get(&endpoint(bad)).await.is(400);
        owner.delete(&endpoint(bad)).await.is(400);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_read_as_microsofts_scripts_write_them_and_no_further() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, endpoint("my-ep"));
    let mut wrong = Vec::new();
    let nested = |levels: usize| {
        let (open, close) = ("{\"a\":".repeat(levels - 1), "}".repeat(levels - 1));
        format!("{{\"location\":\"x\",\"properties\":{{\"authMode\":\"Key\"}},\"identity\":{open}1{close}}}")
    };
    for (body, good) in [
        (r#"{"location":"x","properties":{"authMode":"Key"}}"#.to_owned(), true),
        (r#"{"location":"x","properties":{"authMode":"Key",},}"#.to_owned(), true),
        (r#"{"location":"x","properties":{"authMode":"aadToken"}}"#.to_owned(), true),
        (r#"{"location":"x","properties":{"authMode":"AMLTOKEN"}}"#.to_owned(), true),
        (r#"{"Location":"x","Properties":{"AuthMode":"key"}}"#.to_owned(), true),
        (
            r#"{"location":"x","identity":{"type":"systemAssigned"},"properties":{"authMode":"key"}}"#
                .to_owned(),
            true,
        ),
        (
            r#"{"location":"x","properties":{"authMode":"key","publicNetworkAccess":"disabled"}}"#.to_owned(),
            true,
        ),
        (
            r#"{"location":"x","unknown":[1,{}],"properties":{"authMode":"key","unknown":null}}"#.to_owned(),
            true,
        ),
        (nested(31), true),
        (nested(32), true),
        (nested(33), false),
        (nested(5_000), false),
        ("[".repeat(100_000), false),
        (r#"{"location":"x","properties":{"authMode":"Keys"}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":1}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":["Key"]}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":null}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{}}"#.to_owned(), false),
        (r#"{"location":"x","properties":"Key"}"#.to_owned(), false),
        (r#"{"location":"x"}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key"},"tags":{"a":{}}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key"},"tags":["a"]}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key","authMode":"AADToken"}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key","AuthMode":"AADToken"}}"#.to_owned(), false),
        (
            r#"{"location":"x","properties":{"authMode":"Key"},"Properties":{"authMode":"AADToken"}}"#
                .to_owned(),
            false,
        ),
        (r#"{"location":"x","properties":{"authMode":"Key",,}}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key"}} {}"#.to_owned(), false),
        (r#"{"location":"x","properties":{"authMode":"Key"}"#.to_owned(), false),
        ("[]".to_owned(), false),
        ("null".to_owned(), false),
        ("\"Key\"".to_owned(), false),
        ("authMode: Key".to_owned(), false),
        (String::new(), false),
        ("  ".to_owned(), false),
    ] {
        let shown: String = body.chars().take(160).collect();
        let reply = owner.put(&path, body.as_str()).await;
        let mut rule = |holds: bool| {
            if !holds {
                wrong.push(format!("{shown}: {} {}", reply.status, reply.json));
            }
        };
        if good {
            let word = |pointer: &str, words: &[&str]| words.iter().any(|word| reply.at(pointer) == word);
            rule(matches!(reply.status, 200 | 201));
            rule(word("/properties/authMode", &["Key", "AMLToken", "AADToken"]));
            rule(word("/properties/publicNetworkAccess", &["Enabled", "Disabled"]));
        } else {
            rule(reply.status == 400 && !reply.code().is_empty());
            rule(owner.get(&path).await.status == 404);
        }
        owner.delete(&path).await.any(&[200, 204]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_may_be_strings_and_variables_may_be_numbers() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let path = deployment("my-ep", "blue");
    let mut body = deployment_body(&[&world.blue.url]);
    body["sku"] = json!({"name": "default", "capacity": "2"});
    body["properties"]["EndpointComputeType"] = json!("managed");
    body["properties"].as_object_mut().unwrap().remove("endpointComputeType");
    body["properties"]["requestSettings"] = json!({"maxConcurrentRequestsPerInstance": "4", "requestTimeout": "PT1M30S", "maxQueueWait": "PT0.4S"});
    body["properties"]["environmentVariables"] =
        json!({"N": 1, "B": true, "S": "s", "Mixed.Case-1": 2.5, "NULL": null});
    body["properties"]["livenessProbe"] = json!({"period": "PT10S", "failureThreshold": "30"});
    body["properties"]["readinessProbe"] = json!({});
    body["properties"]["egressPublicNetworkAccess"] = json!("enabled");
    owner.put(&path, body.clone()).await.is(201);
    let shown = owner.get(&path).await.is(200);
    for (pointer, expected) in [
        ("/sku/capacity", json!(2)),
        ("/properties/endpointComputeType", json!("Managed")),
        ("/properties/requestSettings/maxConcurrentRequestsPerInstance", json!(4)),
        ("/properties/requestSettings/requestTimeout", json!("PT90S")),
        ("/properties/requestSettings/maxQueueWait", json!("PT0.4S")),
        ("/properties/environmentVariables/N", json!("1")),
        ("/properties/environmentVariables/B", json!("true")),
        ("/properties/environmentVariables/Mixed.Case-1", json!("2.5")),
        ("/properties/livenessProbe/failureThreshold", json!(30)),
        ("/properties/egressPublicNetworkAccess", json!("Enabled")),
    ] {
        assert_eq!(shown.at(pointer), &expected, "{pointer}");
    }
    // What came back is good to be sent: a second run changes nothing.
    let again = owner.put(&path, shown.json.clone()).await.is(200);
    assert_eq!(again.json["properties"], shown.json["properties"]);
    let body = deployment_body(&[&world.blue.url]);
    for (pointer, value) in [
        ("requestSettings", json!({"maxConcurrentRequestsPerInstance": 0})),
        ("requestSettings", json!({"maxConcurrentRequestsPerInstance": -1})),
        ("requestSettings", json!({"maxConcurrentRequestsPerInstance": 1e30})),
        ("requestSettings", json!({"requestTimeout": "90"})),
        ("requestSettings", json!({"requestTimeout": "PT1H"})),
        ("requestSettings", json!({"requestTimeout": "-PT1S"})),
        ("endpointComputeType", json!("Kubernetes")),
        ("properties", json!({"scoregate.backend": "{}"})),
        ("properties", json!({"scoregate.backend": "{\"urls\":[]}"})),
        ("properties", json!({"scoregate.backend": "{\"urls\":[\"ftp://x:1\"]}"})),
        ("properties", json!({"scoregate.backend": "{\"urls\":[\"http://user:pw@x:1\"]}"})),
        ("properties", json!({"scoregate.backend": "not json"})),
        ("properties", json!({"scoregate.backend": null})),
        ("properties", json!({"scoregate.forward_authorization": "perhaps"})),
        ("properties", json!({"scoregate.allowed_paths": "/score"})),
        ("properties", json!({"scoregate.scoring_route": "no path"})),
        ("properties", json!({"scoregate.backand": "{}"})),
    ] {
        let mut wrong = body.clone();
        wrong["properties"][pointer] = value.clone();
        owner.put(&deployment("my-ep", "green"), wrong).await.refuses(400, "BadArgument");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_have_at_most_a_mebibyte() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, endpoint("my-ep"));
    let body = |bytes: usize| {
        let text = endpoint_body("Key", &json!({})).to_string();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    owner.put(&path, body(1 << 20).as_str()).await.is(201);
    owner.put(&path, body((1 << 20) + 1).as_str()).await.is(413);
    owner.get(&path).await.is(200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_and_name_in_a_body_are_those_of_the_path() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&workspace("lab"), json!({"location": "local"})).await.is(201);
    world.make("my-ep", "Key", &["blue"], &json!({})).await;
    owner.put(&endpoint("other-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let (role, grant, mut wrong) = (Uuid::from_u128(7), Uuid::from_u128(8), Vec::new());
    let role_body = json!({"properties": {
        "roleName": "Mine", "permissions": [{"actions": ["*/read"]}], "assignableScopes": [group()],
    }});
    owner.put(&role_id(&group(), role), role_body.clone()).await.is(201);
    for (path, name, body) in [
        (workspace("lab"), "lab".to_owned(), json!({"location": "local"})),
        (endpoint("my-ep"), "my-ep".to_owned(), endpoint_body("Key", &json!({}))),
        (deployment("my-ep", "blue"), "blue".to_owned(), deployment_body(&[&world.blue.url])),
        (format!("{}/models/m/versions/1", workspace("lab")), "1".to_owned(), json!({"properties": {}})),
        (
            grant_id(&group(), grant),
            grant.to_string(),
            grant_body(builtin::DATA_SCIENTIST, object_id("outsider")),
        ),
        (role_id(&group(), role), role.to_string(), role_body),
    ] {
        let with = |field: &str, value: &str| {
            let mut body = body.clone();
            body[field] = json!(value);
            body
        };
        for good in
            [with("name", &name), with("name", &name.to_uppercase()), with("id", &path.to_uppercase())]
        {
            owner.put(&path, good).await.any(&[200, 201]);
        }
        let others =
            [with("name", "other-ep"), with("id", &endpoint("other-ep")), with("id", "/"), with("name", "")];
        for other in others {
            let reply = owner.put(&path, other.clone()).await;
            if reply.status != 400 || reply.code().is_empty() {
                wrong.push(format!("{path} {other}: {} {}", reply.status, reply.json));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

/// Resources of every kind that is written, by path and body.
fn written(world: &World) -> Vec<(String, Value)> {
    let role = Uuid::from_u128(7);
    vec![
        (workspace("lab"), json!({"location": "local"})),
        (endpoint("tag-ep"), endpoint_body("Key", &json!({}))),
        (deployment("tag-ep", "blue"), deployment_body(&[&world.blue.url])),
        (format!("{}/models/m/versions/1", workspace("default")), json!({"properties": {}})),
        (format!("{}/environments/e/versions/1", workspace("default")), json!({"properties": {}})),
        (
            role_id(&group(), role),
            json!({"properties": {
                "roleName": "Mine", "permissions": [{"actions": ["*/read"]}], "assignableScopes": [group()],
            }}),
        ),
        (grant_id(&group(), Uuid::from_u128(8)), grant_body(builtin::DATA_SCIENTIST, object_id("outsider"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_what_was_expected_to_be_there() {
    let world = World::start().await;
    let owner = &world.owner;
    for (path, body) in written(&world) {
        let call = async |method: Method, name: &str, value: &str| {
            let body = if method == Method::PUT { Body::Json(body.clone()) } else { Body::None };
            owner.call(method, &path, body, &[(name, value)]).await
        };
        let refused = async |method: Method, name: &str, value: &str| {
            call(method, name, value).await.refuses(412, "PreconditionFailed");
        };
        refused(Method::PUT, "if-match", "*").await;
        refused(Method::PUT, "if-match", "\"1\"").await;
        owner.get(&path).await.is(404);
        let first = call(Method::PUT, "if-none-match", "*").await.is(201).etag();
        assert_eq!(owner.get(&path).await.is(200).etag(), first, "{path}");
        refused(Method::PUT, "if-none-match", "*").await;
        let second = call(Method::PUT, "if-match", &first).await.any(&[200, 201]).etag();
        assert_ne!(second, first, "{path}");
        refused(Method::PUT, "if-match", &first).await;
        assert_eq!(owner.get(&path).await.etag(), second, "a refused write changes nothing: {path}");
        let third =
            call(Method::PUT, "if-match", &format!("{first}, {second}")).await.any(&[200, 201]).etag();
        let fourth = call(Method::PUT, "if-match", "*").await.any(&[200, 201]).etag();
        assert_ne!(third, fourth);
        for junk in ["junk", "", "\"x\"", "\"", "1", "\"\""] {
            call(Method::PUT, "if-match", junk).await.any(&[400, 412]);
        }
        assert_eq!(owner.get(&path).await.etag(), fourth, "{path}");
    }
    for (path, _) in written(&world).into_iter().rev() {
        let etag = owner.get(&path).await.is(200).etag();
        let delete =
            async |tag: &str| owner.call(Method::DELETE, &path, Body::None, &[("if-match", tag)]).await;
        if path.contains("/versions/") || path.ends_with("/lab") {
            continue;
        }
        delete("\"1\"").await.refuses(412, "PreconditionFailed");
        assert_eq!(owner.get(&path).await.is(200).etag(), etag);
        delete(&etag).await.is(200);
        owner.get(&path).await.is(404);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_json_with_ids_and_are_not_to_be_kept() {
    let world = World::start().await;
    let id = [("x-ms-client-request-id", "0b0b0b0b-0000-0000-0000-000000000001")];
    let mut seen = std::collections::HashSet::new();
    for (method, path, status, code) in [
        (Method::GET, workspace("default"), 200, ""),
        (Method::GET, endpoint("nobody"), 404, "ResourceNotFound"),
        (Method::GET, "/nothing/here".to_owned(), 404, "InvalidResourceType"),
        (Method::GET, format!("{}/nothing/here", workspace("default")), 404, "InvalidResourceType"),
        (Method::POST, workspace("default"), 405, "MethodNotAllowed"),
        (
            Method::PUT,
            format!("{}/providers/Microsoft.Authorization/denyAssignments", group()),
            405,
            "MethodNotAllowed",
        ),
    ] {
        let reply = world.owner.call(method.clone(), &path, Body::None, &id).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{method} {path}: {reply:?}");
        assert!(seen.insert(reply.header("x-ms-request-id").unwrap().to_owned()), "an id of its own");
        assert_eq!(reply.header("x-ms-client-request-id"), Some(id[0].1));
        assert!(reply.header("content-type").unwrap().starts_with("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("allow").is_some(), status == 405);
        // Nobody learns what is there before he has said who he is.
        let nobody = world.rest.nobody().call(method, &path, Body::None, &[]).await;
        nobody.refuses(401, "AuthenticationFailed");
    }
    let challenge = world.rest.nobody().get("/subscriptions").await.is(401);
    let challenge = challenge.header("www-authenticate").unwrap();
    let place = format!("Bearer authorization_uri=\"{}/", world.stand.authority);
    assert!(challenge.starts_with(&place), "{challenge}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_find_their_way_before_they_have_a_token() {
    let world = World::start().await;
    let nobody = world.rest.nobody();
    let control = world.stand.gateway.addresses.control.clone();
    let new = nobody.get("/metadata/endpoints?api-version=2022-09-01").await.is(200);
    let old = nobody.get("/metadata/endpoints?api-version=2019-05-01").await.is(200);
    assert_eq!(old.json, json!([new.json]), "an array for its one old reader");
    for (pointer, expected) in [
        ("/resourceManager", json!(control)),
        ("/portal", json!("https://portal.azure.com")),
        ("/authentication/loginEndpoint", json!(world.stand.authority)),
        ("/authentication/audiences/0", json!("https://management.azure.com")),
    ] {
        assert_eq!(new.at(pointer), &expected, "{pointer}");
    }
    assert!(new.at("/name").is_string() && new.at("/suffixes/storage").is_string());
    let shown = world.owner.get(&workspace("default")).await.is(200);
    let discovery = shown.at("/properties/discoveryUrl").as_str().unwrap();
    let found = nobody.get(discovery).await.is(200);
    let api = found.json["api"].as_str().unwrap();
    assert!(api.starts_with("http") && !api.ends_with('/'), "{api}");
    world.stop().await;
}
