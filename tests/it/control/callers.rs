//! Who calls the control plane: audiences, issuers, groups, and those who fail too often.

use scoregate::dev::issuer::TokenVersion;
use scoregate::rbac::builtin;
use serde_json::json;
use uuid::Uuid;

use super::World;
use crate::support::mint::{Mint, now};
use crate::support::rest::{
    Caller, deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id, group, role_id,
    workspace,
};
use crate::support::stand::{AUDIENCE, MANAGEMENT, TENANT, object_id};
use crate::support::{Plan, Stand};

/// The tenant of the authority whose key the test holds.
const MINTED: Uuid = Uuid::from_u128(0x3137);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_for_managing_by_its_audience() {
    let world = World::start().await;
    let control = world.stand.gateway.addresses.control.clone();
    for (audience, version, good) in [
        (MANAGEMENT.to_owned(), TokenVersion::V1, true),
        (format!("{MANAGEMENT}/"), TokenVersion::V1, true),
        ("https://management.core.windows.net".to_owned(), TokenVersion::V1, true),
        ("https://management.core.windows.net/".to_owned(), TokenVersion::V1, true),
        // What clients ask for that were aimed at the gateway itself.
        (control.clone(), TokenVersion::V2, true),
        (format!("{control}/"), TokenVersion::V2, true),
        (control.clone(), TokenVersion::V1, true),
        (AUDIENCE.to_owned(), TokenVersion::V1, false),
        (format!("{AUDIENCE}/"), TokenVersion::V2, false),
        (format!("{MANAGEMENT}.example"), TokenVersion::V1, false),
        ("https://management.azure".to_owned(), TokenVersion::V1, false),
        (MANAGEMENT.to_uppercase(), TokenVersion::V1, false),
        (String::new(), TokenVersion::V1, false),
    ] {
        let token = world.stand.issuer.token("owner", &audience, version).unwrap();
        let reply = world.rest.by(&token).get("/subscriptions").await;
        assert_eq!(reply.status, if good { 200 } else { 401 }, "{audience}: {reply:?}");
    }
    world.stop().await;
}

/// A stand with an authority whose tokens the test makes itself.
async fn minted(more: impl FnOnce(Plan) -> Plan) -> (Stand, Mint) {
    let mint = Mint::new(MINTED);
    let authority = mint.serve().await;
    let identity = format!(
        "{{ entra: [ {{ authority: \"{{authority}}\", tenants: [ {TENANT} ], ca_file: ca.pem }}, \
         {{ authority: \"{authority}\", tenants: [ {MINTED} ], allow_http: true }} ] }}"
    );
    let stand = Stand::start(more(Plan::default().owned().set("identity", &identity))).await;
    (stand, mint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_a_principals_own_and_its_groups_and_groups_that_are_not_known_decide_nothing() {
    let (stand, mint) = minted(|plan| plan).await;
    let owner = stand.as_("owner");
    let (member, crowd) = (object_id("member"), object_id("crowd"));
    let mut grant = grant_body(builtin::by_name("Contributor").unwrap(), crowd);
    grant["properties"]["principalType"] = json!("Group");
    owner.put(&grant_id(&group(), Uuid::from_u128(1)), grant).await.is(201);
    let path = endpoint("my-ep");
    for (what, claims, status) in [
        ("no groups", json!({}), 404),
        ("its group", json!({"groups": [crowd]}), 201),
        ("its group among others", json!({"groups": [object_id("others"), crowd]}), 201),
        ("others", json!({"groups": [object_id("others")]}), 404),
        (
            "roles that a token claims",
            json!({"roles": ["Owner"], "wids": [builtin::OWNER], "scp": "user_impersonation"}),
            404,
        ),
        ("too many groups to say", json!({"hasgroups": true}), 503),
        ("groups to be looked up", json!({"_claim_names": {"groups": "src1"}}), 503),
    ] {
        let mut claims = claims;
        claims["aud"] = json!(MANAGEMENT);
        let caller = stand.rest().by(&mint.with(member, &claims));
        let reply = caller.put(&path, endpoint_body("Key", &json!({}))).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        if status == 503 {
            let reply = reply.refuses(503, "IdentityUnavailable");
            assert!(reply.header("retry-after").is_some());
        }
        owner.delete(&path).await.any(&[200, 204]);
    }
    // A token that has ended, or has not begun, or lives too long.
    for changes in [
        json!({"exp": now() - 120, "iat": now() - 3600, "nbf": now() - 3600}),
        json!({"nbf": now() + 600}),
        json!({"exp": now() + 30 * 24 * 3600}),
        json!({"oid": null}),
        json!({"tid": TENANT}),
        json!({"aud": [AUDIENCE]}),
    ] {
        let mut claims = changes.clone();
        if claims["aud"].is_null() {
            claims["aud"] = json!(MANAGEMENT);
        }
        let token = mint.with(object_id("owner"), &claims);
        let reply = stand.rest().by(&token).get(&workspace("default")).await;
        assert_eq!(reply.status, 401, "{changes}: {reply:?}");
    }
    stand.stop().await;
}

/// Who fails too often is held back; who has a good token is not, at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_held_back_and_valid_tokens_are_not() {
    let stand = Stand::start(Plan::default().owned().set("limits", "{ failed_authentications: 5 }")).await;
    let (nobody, owner) = (stand.rest().nobody(), stand.as_("owner"));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(nobody.get("/subscriptions").await.status);
    }
    assert_eq!(statuses, [401; 5]);
    let held = nobody.get("/subscriptions").await.is(429);
    assert!(held.header("retry-after").is_some() && !held.code().is_empty());
    owner.get("/subscriptions").await.is(200);
    nobody.get("/openapi.json").await.is(200);
    stand.stop().await;
}

/// Nobody fills the audit with what he is refused: he is held back in that, and in nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_held_back_and_what_may_be_done_is_not() {
    let mut plan = Plan::default();
    plan.grant("scientist", "AzureML Data Scientist", &group());
    plan.grant("reader", "Reader", &group());
    let stand = Stand::start(plan.owned().set("limits", "{ refusals: 5 }")).await;
    let (scientist, reader) = (stand.as_("scientist"), stand.as_("reader"));
    let forbidden = async |caller: &Caller| caller.put(&workspace("lab"), json!({"location": "x"})).await;
    for _ in 0..5 {
        forbidden(&scientist).await.refuses(403, "AuthorizationFailed");
    }
    let held = forbidden(&scientist).await.is(429);
    assert!(held.header("retry-after").is_some() && !held.code().is_empty());
    let records = stand.gateway.store().audit_head().await.unwrap().unwrap().0;
    forbidden(&scientist).await.is(429);
    assert_eq!(stand.gateway.store().audit_head().await.unwrap().unwrap().0, records, "nothing is written");
    scientist.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    scientist.get(&endpoint("my-ep")).await.is(200);
    forbidden(&reader).await.refuses(403, "AuthorizationFailed");
    // Whoever has the right may lose races and err as often as he likes.
    let owner = stand.as_("owner");
    for _ in 0..8 {
        let stale = owner.put_if("\"1\"", &endpoint("my-ep"), endpoint_body("Key", &json!({}))).await;
        stale.refuses(412, "PreconditionFailed");
        owner.put(&endpoint("my-ep"), json!({})).await.refuses(400, "BadArgument");
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_as_much_as_the_limits_allow() {
    let limits = "{ endpoints: 2, deployments_per_endpoint: 2, instances_per_deployment: 2, \
                  role_definitions: 1, role_assignments: 3, request_timeout_max: 10s }";
    let stand = Stand::start(Plan::default().owned().set("limits", limits)).await;
    let owner = stand.as_("owner");
    let ep = |name: &str| (endpoint(name), endpoint_body("Key", &json!({})));
    let blue = |name: &str, urls: &[&str]| (deployment("ep-1", name), deployment_body(urls));
    let one = &["http://127.0.0.1:9"][..];
    let role = |n: u128| {
        let body = json!({"properties": {
            "roleName": format!("Role {n}"), "permissions": [{"actions": ["*/read"]}], "assignableScopes": ["/"],
        }});
        (role_id("", Uuid::from_u128(n)), body)
    };
    let grant =
        |n: u128| (grant_id("", Uuid::from_u128(n)), grant_body(builtin::DATA_SCIENTIST, Uuid::from_u128(n)));
    let mut slow = blue("red", one);
    slow.1["properties"]["requestSettings"] = json!({"requestTimeout": "PT11S"});
    for ((path, body), status) in [
        (ep("ep-1"), 201),
        (ep("ep-2"), 201),
        (ep("ep-3"), 400),
        (ep("ep-2"), 200),
        (slow, 400),
        (blue("blue", one), 201),
        (blue("green", &["http://127.0.0.1:9", "http://127.0.0.1:8"]), 201),
        (blue("blue", &["http://127.0.0.1:9", "http://127.0.0.1:8", "http://127.0.0.1:7"]), 400),
        (blue("red", one), 400),
        (role(1), 201),
        (role(2), 400),
        (role(1), 201),
        (grant(1), 201),
        (grant(2), 201),
        (grant(3), 400),
        (grant(2), 200),
    ] {
        let reply = owner.put(&path, body).await.is(status);
        assert_eq!(reply.code().is_empty(), status != 400, "{reply:?}");
    }
    stand.stop().await;
}
