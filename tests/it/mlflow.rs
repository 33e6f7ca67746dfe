//! MLflow's own server, `mlflow models serve`, run by the gateway as its instance.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::raw::{Answer, ask};
use crate::support::{Plan, Stand, until_within};

/// The longest that it takes to start, on a machine that is busy.
const START: Duration = Duration::from_secs(180);

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocols/run.py");

/// Installs the server once, and saves its model.
fn make(directory: &str) {
    let made = Command::new("python3").args([RUN, "mlflow_server.py", "make", directory]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

async fn send(stand: &Stand, line: &str, kind: &str, body: &str) -> Answer {
    let token = stand.token("scientist");
    let message = format!(
        "{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(stand.gateway.data, message).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mlflows_server_scores_behind_the_gateway_and_ends_with_it() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().display().to_string();
    let given = directory.clone();
    tokio::task::spawn_blocking(move || make(&given)).await.unwrap();
    let plan = Plan::endpoint("aad_token", &[]).blue(format!(
        "name: blue\nendpoint_name: my-ep\nallowed_paths: [ mlflow ]\nreadiness_route: /ping\n\
         readiness_probe: {{ initial_delay: 0, period: 1, timeout: 5, failure_threshold: 3 }}\n\
         environment: {{ image: x, inference_config: {{ scoring_route: {{ path: /invocations, port: 1 }} }} }}\n\
         request_settings: {{ max_concurrent_requests_per_instance: 4, request_timeout_ms: 60000 }}\n\
         backend: {{ command: [ python3, {RUN:?}, mlflow_server.py, serve, {directory:?}, \"{{port}}\" ] }}\n"
    ));
    let stand = Stand::start(plan).await;
    let split = json!({ "dataframe_split": { "columns": ["a"], "data": [[1], [2]] } }).to_string();
    let score = "POST /endpoints/my-ep/score";
    let mut first = None;
    until_within(START, "MLflow's server is ready", async || {
        let answer = send(&stand, score, "application/json", &split).await;
        // Until it is ready there is no instance, rather than one that fails.
        let none = (answer.status, answer.reason()) == (503, Some("no_instance"));
        assert!(none || answer.status == 200, "{}", answer.head);
        first = Some(answer);
        !none
    })
    .await;
    let first = first.unwrap();
    let pid = first.json()["predictions"]["pid"].as_i64().unwrap();
    let doubled = |answer: &Answer| answer.json()["predictions"]["doubled"].clone();
    assert_eq!(doubled(&first), json!([2, 4]));
    let other = "POST /endpoints/my-ep/invocations";
    for (line, kind, body) in [
        (other, "application/json", split.as_str()),
        (other, "text/csv", "a\n1\n2\n"),
        (score, "application/json", r#"{"inputs": {"a": [1, 2]}}"#),
        (score, "application/json; charset=utf-8", r#"{"dataframe_records": [{"a": 1}, {"a": 2}]}"#),
    ] {
        let answer = send(&stand, line, kind, body).await;
        assert_eq!((answer.status, doubled(&answer)), (200, json!([2, 4])), "{body}: {}", answer.head);
        assert_eq!(answer.field("azureml-model-deployment"), Some("blue"));
    }
    // Its own errors are its own.
    for (kind, body, status) in [("application/xml", "<a/>", 415), ("application/json", "{", 400)] {
        let answer = send(&stand, score, kind, body).await;
        let said = (answer.status, answer.reason(), answer.field("server"));
        assert_eq!(said, (status, Some("model_error"), Some("uvicorn")), "{body}");
    }
    let version = send(&stand, "GET /endpoints/my-ep/version", "text/plain", "").await;
    assert_eq!(version.status, 200, "{}", version.head);
    for path in ["/metrics", "/", "/docs", "/openapi.json", "/invocations/x"] {
        let answer = send(&stand, &format!("GET /endpoints/my-ep{path}"), "text/plain", "").await;
        assert_eq!((answer.status, answer.reason()), (404, Some("path_not_allowed")), "{path}");
    }
    stand.stop().await;
    let alive = std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    assert!(!alive, "what MLflow started ends with it");
}
