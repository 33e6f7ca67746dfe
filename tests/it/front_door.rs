//! One request goes the whole way.

use crate::support::raw::ask;
use crate::support::{Instance, Plan, Stand};

fn score(token: &str, body: &str) -> String {
    format!(
        "POST /endpoints/my-ep/score?a=b HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\nx-ms-client-request-id: order-42\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorized_request_reaches_the_instance_and_its_answer_the_client() {
    let blue = Instance::named("blue").await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let answer = ask(stand.gateway.data, score(&stand.token("scientist"), "{\"x\":1}")).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"{\"instance\":\"blue\"}"[..]),
        "{}",
        answer.head
    );
    assert_eq!(answer.field("azureml-model-deployment"), Some("blue"));
    assert_eq!(answer.field("x-ms-client-request-id"), Some("order-42"));
    assert_eq!(answer.field("x-request-id"), answer.field("x-ms-request-id"));

    let seen = blue.seen().remove(0);
    assert_eq!((seen.line(), seen.body.as_slice()), ("POST /score?a=b HTTP/1.1", &b"{\"x\":1}"[..]));
    assert_eq!(seen.field("authorization"), None);
    assert_eq!(seen.field("host").map(|host| format!("http://{host}")).as_deref(), Some(blue.url.as_str()));
    assert_eq!(
        seen.field("x-ms-client-principal-id"),
        Some(crate::support::stand::object_id("scientist").to_string().as_str())
    );
    assert_eq!(seen.field("x-request-id"), answer.field("x-request-id"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-host"), Some("gateway"));

    let refused = ask(stand.gateway.data, score(&stand.token("outsider"), "")).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (403, "AuthorizationFailed"));
    assert_eq!(blue.count(), 1, "nothing of a refused request reaches an instance");
    stand.stop().await;
}
