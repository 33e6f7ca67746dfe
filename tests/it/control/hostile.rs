//! Callers who may write an endpoint, and mean harm to the gateway or to others.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use super::{World, owned_site};
use crate::support::rest::{Body, deployment, deployment_body, endpoint, endpoint_body, say, workspace};

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
    let (site, stand) = owned_site("instances: { files: [ words, nonexistent.pem ] }\n").await;
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
    let (site, stand) = owned_site("instances: { files: [ roots.pem ] }\n").await;
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

/// A message has one reading on this listener too, and its credential one place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_with_two_readings_are_refused() {
    let world = World::start().await;
    world.owner.put(&endpoint("my-ep"), endpoint_body("Key", &json!({}))).await.is(201);
    let token = world.stand.management_token("owner");
    let own = format!("Authorization: Bearer {token}\r\n");
    let list = "GET /subscriptions?api-version=2024-10-01 HTTP/1.1";
    let host = "Host: a\r\n";
    let long = "a".repeat(70_000);
    let ep = endpoint("my-ep");
    for (what, line, fields, body, status) in [
        ("as it should be", list, format!("{host}{own}"), "", 200),
        ("the scheme in lower case", list, format!("{host}{}", own.replace("Bearer", "bearer")), "", 200),
        ("two credentials", list, format!("{host}{own}{own}"), "", 401),
        ("a list of credentials", list, format!("{host}{}", own.replace("\r\n", ", Bearer x\r\n")), "", 401),
        ("a cookie", list, format!("{host}Cookie: access_token={token}\r\n"), "", 401),
        ("another header", list, format!("{host}{}", own.replace("Auth", "X-Auth")), "", 401),
        (
            "a credential in the query",
            &format!("GET /subscriptions?api-version=2024-10-01&access_token={token} HTTP/1.1"),
            host.to_owned(),
            "",
            401,
        ),
        ("dots", "GET /a/../subscriptions?api-version=2024-10-01 HTTP/1.1", format!("{host}{own}"), "", 400),
        (
            "encoded dots",
            "GET /a/%2e%2E/subscriptions?api-version=2024-10-01 HTTP/1.1",
            format!("{host}{own}"),
            "",
            400,
        ),
        (
            "a fragment",
            "GET /subscriptions?api-version=2024-10-01#x HTTP/1.1",
            format!("{host}{own}"),
            "",
            400,
        ),
        (
            "a backslash",
            "GET /subscriptions\\x?api-version=2024-10-01 HTTP/1.1",
            format!("{host}{own}"),
            "",
            400,
        ),
        ("no host", list, own.clone(), "", 400),
        ("two hosts", list, format!("{host}{host}{own}"), "", 400),
        ("folding", list, format!("{host}X: a\r\n b\r\n{own}"), "", 400),
        ("two lengths", list, format!("{host}{own}Content-Length: 0\r\nContent-Length: 0\r\n"), "", 400),
        (
            "a length and chunks",
            list,
            format!("{host}{own}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            "0\r\n\r\n",
            400,
        ),
        ("a long line", &format!("GET /subscriptions?x={long} HTTP/1.1"), format!("{host}{own}"), "", 414),
        ("a long field", list, format!("{host}{own}X: {long}\r\n"), "", 431),
        (
            "another method by a header",
            &format!("POST {ep}?api-version=2024-10-01 HTTP/1.1"),
            format!("{host}{own}X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n"),
            "",
            405,
        ),
        ("TRACE", "TRACE /subscriptions?api-version=2024-10-01 HTTP/1.1", format!("{host}{own}"), "", 405),
    ] {
        let message = format!("{line}\r\n{fields}Connection: close\r\n\r\n{body}");
        let roots = world.stand.directory.path().join("control-ca.pem");
        let answer = say(world.stand.gateway.control, &roots, &message).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: one answer: {answer}");
        assert!(
            status == 200 || answer.contains("{\"error\":{\"code\":"),
            "{what}: ARM's envelope: {answer}"
        );
    }
    world.owner.get(&ep).await.is(200);
    world.stop().await;
}
