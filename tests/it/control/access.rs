//! What the gateway tells of rights and of its decisions, and what it writes down.

use http::Method;
use scoregate::model::audit::{Outcome, Record};
use scoregate::store::chain::Chain;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::raw::ask;
use crate::support::rest::{
    Body, deployment, endpoint, endpoint_body, grant_body, grant_id, group, role_id, workspace,
};
use crate::support::stand::object_id;
use crate::support::until;

const ML: &str = "Microsoft.MachineLearningServices/workspaces";

fn scoring() -> String {
    format!("{ML}/onlineEndpoints/score/action")
}

fn check(scope: &str) -> String {
    format!("{scope}/providers/Scoregate.Gateway/checkAccess")
}

/// A world with endpoint `my-ep`, and one denial there for a principal of whom nothing else is known.
async fn world() -> World {
    let world = World::with(|plan| {
        plan.add(
            "deny.yaml",
            format!(
                "deny_assignment_name: Not You\nscope: {}\nactions: [ \"*/score/action\" ]\nprincipals: [ {} ]\n",
                endpoint("my-ep"),
                object_id("owner")
            ),
        );
    })
    .await;
    world.make("my-ep", "AADToken", &["blue"], &json!({"blue": 100})).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_is_told_with_the_assignment_that_decides_or_the_one_that_is_missing() {
    let world = world().await;
    let (ep, ws) = (endpoint("my-ep"), workspace("default"));
    for (who, scope, action, decision, role, at) in [
        ("scientist", ep.as_str(), scoring(), "granted", "AzureML Data Scientist", group().as_str()),
        ("scientist", &ep, scoring().to_uppercase(), "granted", "AzureML Data Scientist", &group()),
        ("reader", &ep, format!("{ML}/onlineEndpoints/read"), "granted", "Reader", &group()),
        ("reader", &ep, scoring(), "not_granted", "", ""),
        ("scientist", &ws, format!("{ML}/write"), "not_granted", "", ""),
        ("scientist", "", format!("{ML}/read"), "not_granted", "", ""),
        ("outsider", &ep, scoring(), "not_granted", "", ""),
        ("owner", &ws, scoring(), "granted", "Owner", "/"),
        ("owner", &ep, scoring(), "denied", "", ""),
    ] {
        let caller = world.stand.as_(who);
        let told = caller.post(&check(scope), json!({"action": action, "isDataAction": false})).await.is(200);
        assert_eq!(told.json["decision"], decision, "{who} {action} {scope}: {}", told.json);
        assert_eq!(told.json["allowed"], decision == "granted");
        assert_eq!(told.json["principalId"], json!(object_id(who)));
        assert_eq!(told.json["action"], json!(action));
        let grant = &told.json["roleAssignment"];
        if decision == "granted" {
            assert_eq!((&grant["roleName"], &grant["scope"]), (&json!(role), &json!(at)));
            world.owner.get(grant["id"].as_str().unwrap()).await.is(200);
        } else {
            assert!(grant.is_null(), "{}", told.json);
        }
        assert_eq!(
            told.json["denyAssignment"]["name"],
            if decision == "denied" { json!("Not You") } else { Value::Null }
        );
        assert_eq!(told.json["missing"].is_object(), decision == "not_granted", "{}", told.json);
        // What is said to be missing is what was missing.
        if let Some(name) = told.json["missing"]["roleName"].as_str() {
            let command = told.json["missing"]["command"].as_str().unwrap();
            assert!(command.contains(name) && command.contains(&object_id(who).to_string()), "{command}");
            let scope = told.json["missing"]["scope"].as_str().unwrap().trim_end_matches('/');
            let role = scoregate::rbac::builtin::by_name(name).unwrap();
            let id = grant_id(scope, Uuid::new_v4());
            world.owner.put(&id, grant_body(role, object_id(who))).await.is(201);
            let told = caller.post(&check(scope), json!({"action": action})).await.is(200);
            assert_eq!(told.json["allowed"], true, "{name} was said to be enough");
            world.owner.delete(&id).await.is(200);
        }
    }
    for body in [
        json!({}),
        json!({"action": ""}),
        json!({"action": "*"}),
        json!({"action": "*/read"}),
        json!({"action": "a b"}),
        json!({"action": 7, "isDataAction": "perhaps"}),
        json!({"action": scoring(), "principalId": "somebody"}),
    ] {
        world.owner.post(&check(&ep), body).await.is(400);
    }
    // A control action is no data action.
    let data = json!({"action": scoring(), "isDataAction": true});
    let told = world.stand.as_("scientist").post(&check(&ep), data).await.is(200);
    assert_eq!(told.json["allowed"], false);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_rights_are_told_to_those_who_may_read_the_grants() {
    let world = world().await;
    let ep = endpoint("my-ep");
    let about = |who: &str| json!({"action": scoring(), "principalId": object_id(who)});
    for (who, whom, status) in [
        ("owner", "scientist", 200),
        ("reader", "scientist", 200),
        ("scientist", "scientist", 200),
        ("outsider", "outsider", 200),
        ("scientist", "reader", 403),
        ("outsider", "scientist", 404),
    ] {
        let told = world.stand.as_(who).post(&check(&ep), about(whom)).await.is(status);
        if status == 200 {
            assert_eq!(told.json["allowed"], whom == "scientist");
        }
    }
    let path = format!("{ep}/providers/Scoregate.Gateway/whoCan");
    let who_can = async |action: &str| {
        let told = world.owner.post(&path, json!({"action": action})).await.is(200);
        let value = told.json["value"].as_array().unwrap().clone();
        let mut ids: Vec<String> =
            value.iter().map(|holder| holder["principalId"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let sorted = |names: &[&str]| {
        let mut ids: Vec<_> = names.iter().map(|name| object_id(name).to_string()).collect();
        ids.sort();
        ids
    };
    // The denial takes the owner out.
    assert_eq!(who_can(&scoring()).await, sorted(&["scientist"]));
    assert_eq!(
        who_can(&format!("{ML}/onlineEndpoints/read")).await,
        sorted(&["scientist", "reader", "owner"])
    );
    assert_eq!(who_can(&format!("{ML}/write")).await, sorted(&["owner"]));
    for (who, status) in [("scientist", 403), ("outsider", 404), ("reader", 200)] {
        world.stand.as_(who).post(&path, json!({"action": scoring()})).await.is(status);
    }
    world.stop().await;
}

/// The result of each check of an explanation, in their order.
fn results(explanation: &Value) -> Vec<String> {
    let checks = explanation["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(names, ["match", "authenticate", "authorize", "aim", "admit", "dispatch"]);
    assert!(checks.iter().all(|check| check["found"].as_str().is_some_and(|found| !found.is_empty())));
    checks.iter().map(|check| check["result"].as_str().unwrap().to_owned()).collect()
}

/// Six results: those that passed, then the one that failed if there is one, then the rest.
fn up_to(passed: usize) -> Vec<String> {
    let word = |at: usize| match at.cmp(&passed) {
        std::cmp::Ordering::Less => "passed",
        std::cmp::Ordering::Equal => "failed",
        std::cmp::Ordering::Greater => "not_reached",
    };
    (0..6).map(|at| word(at).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_explained_check_by_check_before_it_is_made_and_afterwards() {
    let world = world().await;
    world.owner.put(&endpoint("idle-ep"), endpoint_body("AADToken", &json!({}))).await.is(201);
    world.make("key-ep", "Key", &["blue"], &json!({"blue": 100})).await;
    let key = world.key("key-ep", "primaryKey").await;
    for (endpoint, credential, status, passed) in [
        ("my-ep", world.stand.token("scientist"), 200, 6),
        ("my-ep", world.stand.token("outsider"), 403, 2),
        ("my-ep", world.stand.token("owner"), 403, 2),
        ("my-ep", "junk".to_owned(), 401, 1),
        ("my-ep", world.stand.management_token("scientist"), 401, 1),
        ("my-ep", key.clone(), 401, 1),
        ("nobody", world.stand.token("scientist"), 404, 0),
        ("idle-ep", world.stand.token("scientist"), 404, 3),
        ("key-ep", key.clone(), 200, 6),
        ("key-ep", world.stand.token("scientist"), 401, 1),
    ] {
        let what = format!("{endpoint}, {status}");
        let message = format!(
            "POST /endpoints/{endpoint}/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let answer = ask(world.stand.gateway.data, message).await.unwrap();
        assert_eq!(answer.status, status, "{what}");
        let id = answer.field("x-ms-request-id").unwrap().to_owned();
        let path = format!("/providers/Scoregate.Gateway/requests/{id}");
        until("the request can be explained", async || world.owner.get(&path).await.status == 200).await;
        let after = world.owner.get(&path).await.json;
        let foretold = json!({"endpoint": endpoint, "token": credential});
        let before = world.owner.post("/providers/Scoregate.Gateway/explain", foretold).await.is(200).json;
        assert_eq!((&after["requestId"], &after["status"]), (&json!(id), &json!(status)), "{what}");
        for explanation in [&after, &before] {
            assert_eq!(results(explanation), up_to(passed), "{what}: {explanation}");
            assert_eq!(explanation["outcome"], if passed == 6 { "allowed" } else { "refused" }, "{what}");
            let text = explanation.to_string();
            assert!(!text.contains(&credential) || credential == "junk", "a credential is in {text}");
            let granted = passed > 2 && endpoint != "key-ep";
            assert_eq!(explanation["roleAssignment"]["roleName"].is_string(), granted, "{what}: {text}");
        }
        for path in ["requests/00000000-0000-0000-0000-000000000001", "requests/junk"] {
            world.owner.get(&format!("/providers/Scoregate.Gateway/{path}")).await.any(&[400, 404]);
        }
    }
    // An outsider lacks a role; one who is denied lacks none.
    let told = async |who: &str| {
        let body = json!({"endpoint": "my-ep", "token": world.stand.token(who)});
        world.owner.post("/providers/Scoregate.Gateway/explain", body).await.is(200).json
    };
    assert_eq!(told("outsider").await["missing"]["roleName"], "AzureML Data Scientist");
    assert!(told("owner").await["missing"].is_null());
    world.stop().await;
}

/// Somebody with a role elsewhere is told the same of an endpoint that he may not see and of one that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanations_do_not_tell_what_is_there() {
    let world = world().await;
    world.owner.put(&workspace("lab"), json!({"location": "local"})).await.is(201);
    let reader = scoregate::rbac::builtin::by_name("Reader").unwrap();
    let grant = grant_body(reader, object_id("outsider"));
    world.owner.put(&grant_id(&workspace("lab"), Uuid::new_v4()), grant).await.is(201);
    let caller = world.stand.as_("outsider");
    let told = async |name: &str| {
        let body = json!({"endpoint": name, "token": "x"});
        let reply = caller.post("/providers/Scoregate.Gateway/explain", body).await;
        (reply.status, reply.json.to_string().replace("no-ep", "my-ep"))
    };
    assert_eq!(told("my-ep").await, told("no-ep").await);
    world.stop().await;
}

/// What one's own token does at an endpoint that one may know of is explained without a further right; what
/// somebody else's does is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_token_is_explained_to_oneself() {
    let world = world().await;
    world.make("own-ep", "AADToken", &["blue"], &json!({"blue": 100})).await;
    let caller = world.stand.as_("scientist");
    let explain = async |name: &str| {
        let body = json!({"endpoint": "own-ep", "token": world.stand.token(name)});
        caller.post("/providers/Scoregate.Gateway/explain", body).await
    };
    assert_eq!(explain("scientist").await.is(200).json["outcome"], "allowed");
    explain("owner").await.refuses(403, "AuthorizationFailed");
    world.stop().await;
}

/// The record of an answer, by its request id.
fn record<'a>(records: &'a [Record], id: &str) -> Vec<&'a Record> {
    records.iter().filter(|record| record.deed.request_id == id).collect()
}

/// What somebody asked for and what he was answered.
struct Told {
    who: &'static str,
    method: Method,
    path: String,
    status: u16,
    code: &'static str,
    id: String,
}

impl Told {
    /// It stands in the audit once, with who, what, where, and how it ended.
    fn is_recorded(&self, records: &[Record]) {
        let Told { who, method, path, status, code, id } = self;
        let what = format!("{who} {method} {path} {status}");
        let found = record(records, id);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        let (deed, changes) = (&found[0].deed, &found[0].changes);
        assert_eq!(deed.actor.object_id.map(|id| id.to_string()), Some(object_id(who).to_string()), "{what}");
        assert!(deed.actor.tenant.is_some() && deed.client_address.is_some(), "{what}");
        assert!(!deed.time.is_empty(), "{what}");
        assert!(path.to_lowercase().starts_with(deed.scope.key()), "{what}: {}", deed.scope);
        let verb = match method.as_str() {
            "PUT" | "PATCH" => "write",
            "DELETE" => "delete",
            _ => "action",
        };
        assert!(deed.action.ends_with(verb), "{what}: {}", deed.action);
        if *status < 300 {
            assert_eq!(deed.outcome, Outcome::Done, "{what}");
            assert!(deed.decided_by.as_ref().is_some_and(|by| by.contains("roleAssignments")), "{what}");
            let reads = path.ends_with("listKeys") || path.ends_with("token");
            assert_eq!(changes.len(), usize::from(!reads), "{what}: {changes:?}");
            assert!(changes.iter().all(|change| change.before != change.after), "{what}");
        } else {
            assert_eq!(deed.outcome, Outcome::Refused { code: (*code).to_owned() }, "{what}");
            assert!(changes.is_empty(), "{what}");
        }
    }
}

/// Every record of the audit, which has to be whole, and all their text.
async fn trail(world: &World) -> (Vec<Record>, String) {
    let (mut records, mut texts) = (Vec::<Record>::new(), String::new());
    let chain = Chain::new(world.stand.gateway.vault().audit_key());
    let keep = |_: &str, text: &str| {
        records.push(serde_json::from_str(text).unwrap());
        texts.push_str(text);
    };
    chain.verify(world.stand.gateway.store().as_ref(), keep).await.unwrap();
    (records, texts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_secrets_and_refusals_leave_records_and_nothing_else_does() {
    let world = world().await;
    world.make("key-ep", "Key", &["blue"], &json!({"blue": 100})).await;
    world.make("aml-ep", "AMLToken", &["blue"], &json!({"blue": 100})).await;
    let (key_ep, aml_ep, ep) = (endpoint("key-ep"), endpoint("aml-ep"), endpoint("my-ep"));
    let role = Uuid::from_u128(1);
    let role_body = json!({"properties": {
        "roleName": "Mine", "permissions": [{"actions": ["*/read"]}], "assignableScopes": [group()],
    }});
    let grant = grant_body(role, object_id("somebody"));
    let mut described = endpoint_body("AADToken", &json!({"blue": 100}));
    described["properties"]["description"] = json!("described anew");
    let mut secrets = Vec::new();
    let mut told = Vec::new();
    for (who, method, path, body, status, code) in [
        ("scientist", Method::PUT, ep.clone(), described, 200, ""),
        ("scientist", Method::PATCH, ep.clone(), json!({"tags": {"a": "b"}}), 200, ""),
        ("scientist", Method::POST, format!("{key_ep}/listKeys"), Value::Null, 200, ""),
        ("scientist", Method::POST, format!("{aml_ep}/token"), Value::Null, 200, ""),
        (
            "scientist",
            Method::POST,
            format!("{key_ep}/regenerateKeys"),
            json!({"keyType": "Primary"}),
            200,
            "",
        ),
        ("owner", Method::PUT, role_id(&group(), role), role_body, 201, ""),
        ("owner", Method::PUT, grant_id(&group(), role), grant, 201, ""),
        ("owner", Method::DELETE, grant_id(&group(), role), Value::Null, 200, ""),
        ("owner", Method::DELETE, role_id(&group(), role), Value::Null, 200, ""),
        (
            "scientist",
            Method::PUT,
            workspace("default"),
            json!({"location": "x"}),
            403,
            "AuthorizationFailed",
        ),
        ("reader", Method::DELETE, ep.clone(), Value::Null, 403, "AuthorizationFailed"),
        ("reader", Method::POST, format!("{key_ep}/listKeys"), Value::Null, 403, "AuthorizationFailed"),
        ("outsider", Method::POST, format!("{key_ep}/listKeys"), Value::Null, 404, "ResourceNotFound"),
        ("outsider", Method::PUT, grant_id(&group(), role), grant_body(role, role), 404, "ResourceNotFound"),
        (
            "owner",
            Method::PUT,
            ep.clone(),
            endpoint_body("AADToken", &json!({"blue": 7})),
            400,
            "BadArgument",
        ),
        ("owner", Method::DELETE, deployment("my-ep", "blue"), Value::Null, 400, "DeploymentHasTraffic"),
    ] {
        let body = if body.is_null() { Body::None } else { Body::Json(body) };
        let reply = world.stand.as_(who).call(method.clone(), &path, body, &[]).await.is(status);
        assert_eq!(reply.code(), code);
        for pointer in ["/primaryKey", "/secondaryKey", "/accessToken"] {
            secrets.extend(reply.at(pointer).as_str().map(str::to_owned));
        }
        let id = reply.header("x-ms-request-id").unwrap().to_owned();
        told.push(Told { who, method, path, status, code, id });
    }
    let mut quiet = Vec::new();
    for path in [ep.clone(), workspace("default"), format!("{ep}/deployments"), "/subscriptions".to_owned()] {
        let reply = world.owner.get(&path).await.is(200);
        quiet.push(reply.header("x-ms-request-id").unwrap().to_owned());
    }
    let stale =
        world.owner.call(Method::PUT, &ep, endpoint_body("Key", &json!({})), &[("if-match", "\"1\"")]).await;
    let stale = stale.refuses(412, "PreconditionFailed");

    let (records, texts) = trail(&world).await;
    for told in &told {
        told.is_recorded(&records);
    }
    let stale = record(&records, stale.header("x-ms-request-id").unwrap());
    assert!(matches!(stale[..], [record] if record.changes.is_empty()), "{stale:?}");
    for id in quiet {
        assert!(record(&records, &id).is_empty(), "reading leaves no record");
    }
    assert_eq!(secrets.len(), 3);
    secrets.push(world.stand.management_token("scientist"));
    for secret in secrets {
        assert!(!texts.contains(&secret), "a secret is in the audit");
    }
    world.stop().await;
}
