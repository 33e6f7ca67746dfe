//! Callers who may write an endpoint, and mean harm to the gateway or to others.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use super::owned_site;
use crate::support::rest::{Body, deployment, deployment_body, endpoint, endpoint_body, workspace};

/// A deployment whose instances are trusted by this file.
fn trusting(file: &str) -> Value {
    let mut body = deployment_body(&[]);
    let backend = json!({"urls": ["https://127.0.0.1:9"], "ca_file": file}).to_string();
    body["properties"]["properties"]["scoregate.backend"] = json!(backend);
    body
}

/// The path of `ca_file` is the caller's choice: something there that never ends, or never begins, holds up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_backend_names_is_read_with_bounds() {
    // Of these, the configuration lets callers name two.
    let (site, stand) = owned_site("instance_roots: [ words, nonexistent.pem ]\n").await;
    let process = site.serve();
    let owner = site.rest(&process).by(&stand.management_token("owner"));
    owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let pipe = site.path("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(site.path("words"), "no certificate\n").unwrap();
    let words = site.path("words").display().to_string();
    let directory = site.directory.path().display().to_string();
    let missing = site.path("nonexistent.pem").display().to_string();
    for file in ["/nonexistent/ca.pem", &missing, &words, &directory, &pipe, "/dev/zero"] {
        let path = deployment("my-ep", "blue");
        let token = owner.token.as_deref();
        let reply = owner.rest.try_call(Method::PUT, &path, trusting(file), token, &[]).await;
        let reply = reply.unwrap_or_else(|error| panic!("{file}: no answer: {error}"));
        let reply = reply.refuses(400, "BadArgument");
        assert!(!reply.json.to_string().contains("no certificate\\n"), "{reply:?}");
    }
    owner.call(Method::GET, &workspace("default"), Body::None, &[]).await.is(200);
    drop(process);
    stand.stop().await;
}

/// Whose roots are gone is on his own: the others are changed and served as before, after a start as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_cannot_be_used_any_more_takes_nobody_with_it() {
    let (site, stand) = owned_site("instance_roots: [ roots.pem ]\n").await;
    let process = site.serve();
    let owner = site.rest(&process).by(&stand.management_token("owner"));
    owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    owner.put(&endpoint("other-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let roots = site.path("roots.pem");
    std::fs::copy(site.path("control-ca.pem"), &roots).unwrap();
    owner.put(&deployment("my-ep", "blue"), trusting(&roots.display().to_string())).await.is(201);
    std::fs::remove_file(&roots).unwrap();
    owner.patch(&endpoint("other-ep"), json!({"tags": {"a": "b"}})).await.is(200);
    drop(process);

    let process = site.serve();
    let owner = site.rest(&process).by(&stand.management_token("owner"));
    owner.get(&endpoint("other-ep")).await.is(200);
    owner.patch(&endpoint("other-ep"), json!({"tags": {"a": "c"}})).await.is(200);
    owner.delete(&deployment("my-ep", "blue")).await.is(200);
    owner.delete(&endpoint("my-ep")).await.is(200);
    drop(process);
    stand.stop().await;
}
