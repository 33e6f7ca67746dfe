//! Pages of other origins: what the gateway answers for an endpoint, and what it never lets an instance say.

use std::sync::Arc;

use crate::support::raw::{Answer, ask};
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Stand, until};

const APP: &str = "https://app.example.com";
const RULES: &str = "cors: { allowed_origins: [ \"https://app.example.com\" ], allowed_headers: [ X-Tenant ], \
                     exposed_headers: [ X-Cost ], max_age: 600 }";

/// An instance that would open itself to everybody.
async fn open_instance() -> Instance {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nvary: accept\r\naccess-control-allow-origin: *\r\n\
                  access-control-allow-credentials: true\r\naccess-control-allow-methods: *\r\n\
                  access-control-expose-headers: secret\r\n\r\nok";
    Instance::scripted(Arc::new(move |_| (answer.as_bytes().to_vec(), false))).await
}

/// Endpoints `my-ep` with these fields and `plain` without, in key mode, at one instance.
async fn start(more: &str) -> (Stand, Instance, String) {
    let blue = open_instance().await;
    let mut plan = Plan::default();
    for (name, fields) in [("my-ep", more), ("plain", "")] {
        plan.add(
            &format!("{name}.yaml"),
            format!("name: {name}\nauth_mode: key\ntraffic: {{ blue: 100 }}\n{fields}\n"),
        );
        plan.add(&format!("{name}-blue.yaml"), deployment(name, "blue", &[&blue.url], ""));
    }
    let stand = Stand::start(plan).await;
    let key = stand.keys("my-ep").await.0;
    (stand, blue, key)
}

async fn send(stand: &Stand, method: &str, endpoint: &str, fields: &str) -> Answer {
    let head = format!(
        "{method} /endpoints/{endpoint}/score HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{fields}\r\n"
    );
    ask(stand.gateway.data, head).await.unwrap()
}

fn question(origin: &str) -> String {
    format!(
        "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
    )
}

/// Every field of CORS in an answer.
fn told(answer: &Answer) -> Vec<&str> {
    let fields = answer.head.lines().filter(|line| line.to_ascii_lowercase().starts_with("access-control-"));
    fields.collect()
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway_without_a_credential() {
    let (stand, blue, _) = start(RULES).await;
    let answer = send(&stand, "OPTIONS", "my-ep", &question(APP)).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{}", answer.head);
    for (name, value) in [
        ("access-control-allow-origin", APP),
        (
            "access-control-allow-headers",
            "authorization, content-type, azureml-model-deployment, x-ms-client-request-id, x-tenant",
        ),
        ("access-control-max-age", "600"),
        ("vary", "origin"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name} in\n{}", answer.head);
    }
    assert!(answer.field("access-control-allow-methods").unwrap().split(", ").any(|method| method == "POST"));
    assert!(answer.field("access-control-allow-credentials").is_none());
    assert!(answer.field("x-ms-request-id").is_some());
    assert_eq!(blue.count(), 0, "no instance is asked");
    stand.stop().await;
}

#[tokio::test]
async fn any_other_preflight_is_a_request_without_a_credential() {
    let (stand, blue, key) = start(RULES).await;
    for (endpoint, fields) in [
        ("my-ep", question("https://evil.example.com")),
        ("my-ep", question("null")),
        ("my-ep", question("https://app.example.com.evil.org")),
        ("my-ep", format!("{}Origin: {APP}\r\n", question(APP))),
        ("my-ep", format!("Origin: {APP}\r\n")),
        ("my-ep", "Access-Control-Request-Method: POST\r\n".to_owned()),
        ("plain", question(APP)),
    ] {
        let answer = send(&stand, "OPTIONS", endpoint, &fields).await;
        assert_eq!(
            (answer.status, answer.reason()),
            (401, Some("credential_missing")),
            "{endpoint} {fields}"
        );
    }
    assert_eq!(send(&stand, "OPTIONS", "nowhere", &question(APP)).await.status, 404);
    assert_eq!(blue.count(), 0);
    // OPTIONS itself is a method like any other.
    let answer = send(&stand, "OPTIONS", "my-ep", &format!("Authorization: Bearer {key}\r\n")).await;
    assert_eq!((answer.status, blue.count()), (200, 1));
    stand.stop().await;
}

#[tokio::test]
async fn answers_and_refusals_tell_who_may_read_them() {
    let (stand, blue, key) = start(RULES).await;
    let exposed = "access-control-expose-headers: x-ms-request-id, azureml-model-deployment, \
                   ms-azureml-model-error-statuscode, ms-azureml-model-error-reason, x-cost";
    let allowed = format!("access-control-allow-origin: {APP}");
    for (credential, status) in [(key.as_str(), 200), ("wrong", 401)] {
        let fields = format!("Authorization: Bearer {credential}\r\n");
        let answer = send(&stand, "POST", "my-ep", &format!("{fields}Origin: {APP}\r\n")).await;
        assert_eq!(answer.status, status);
        let mut found = told(&answer);
        found.sort_unstable();
        assert_eq!(found, [allowed.as_str(), exposed], "{}", answer.head);
        assert!(answer.head.contains("vary: origin"), "{}", answer.head);
        for origin in ["Origin: https://evil.example.com\r\n", ""] {
            let answer = send(&stand, "POST", "my-ep", &format!("{fields}{origin}")).await;
            assert_eq!((answer.status, told(&answer)), (status, vec![]), "{origin}");
            assert!(answer.head.contains("vary: origin"), "a cache must not mix them up:\n{}", answer.head);
        }
    }
    assert_eq!(blue.count(), 3);
    // Without rules an endpoint is as its instance says, and the gateway's refusals are nobody's.
    let own = stand.keys("plain").await.0;
    let answer =
        send(&stand, "POST", "plain", &format!("Authorization: Bearer {own}\r\nOrigin: {APP}\r\n")).await;
    assert_eq!(
        (answer.field("access-control-allow-origin"), answer.field("vary")),
        (Some("*"), Some("accept"))
    );
    let refused = send(&stand, "POST", "plain", &format!("Origin: {APP}\r\n")).await;
    assert_eq!((refused.status, told(&refused)), (401, vec![]));
    stand.stop().await;
}

#[tokio::test]
async fn a_page_reads_why_it_may_not_score_and_why_it_has_to_wait() {
    let blue = open_instance().await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url]);
    plan.resources.retain(|(name, _)| name != "ep.yaml");
    plan.add(
        "ep.yaml",
        format!(
            "name: my-ep\nauth_mode: aad_token\ntraffic: {{ blue: 100 }}\nrate_limit: {{ requests_per_second: 1 }}\n{RULES}\n"
        ),
    );
    let stand = Stand::start(plan).await;
    let fields = |who: &str| format!("Authorization: Bearer {}\r\nOrigin: {APP}\r\n", stand.token(who));
    let refused = send(&stand, "POST", "my-ep", &fields("outsider")).await;
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (403, Some(APP)));
    let mine = fields("scientist");
    until("the rate is used up", async || {
        let answer = send(&stand, "POST", "my-ep", &mine).await;
        assert_eq!(answer.field("access-control-allow-origin"), Some(APP));
        answer.status == 429
    })
    .await;
    // Questions use up nothing, and are answered when everything is used up.
    assert_eq!(send(&stand, "OPTIONS", "my-ep", &question(APP)).await.status, 204);
    stand.stop().await;
}

#[tokio::test]
async fn a_star_is_every_origin_and_a_change_of_the_rules_is_in_force() {
    let (stand, _, key) = start("cors: { allowed_origins: [ \"*\" ] }").await;
    let answer = send(&stand, "OPTIONS", "my-ep", &question("https://anywhere.example")).await;
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, Some("*")));
    assert!(answer.field("access-control-max-age").is_none() && answer.field("vary").is_none());
    let fields = format!("Authorization: Bearer {key}\r\nOrigin: null\r\n");
    let answer = send(&stand, "POST", "my-ep", &fields).await;
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (200, Some("*")));
    stand.write("my-ep.yaml", "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n").await;
    assert_eq!(send(&stand, "OPTIONS", "my-ep", &question("https://anywhere.example")).await.status, 401);
    stand.stop().await;
}
