//! Every one of Project Wycheproof's vectors for JSON Web Signatures, presented to a gateway that trusts the vector's own key.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{TENANT, World};
use crate::support::mint::{KID, Mint, now};
use crate::support::raw::ask;
use crate::support::stand::AUDIENCE;

const VECTORS: &str = include_str!("../../data/wycheproof/json_web_signature_test.json");

/// Serves each group's key as an issuer of its own, beside a sound key of the test's. What verifies a MAC also makes it: such
/// groups have a secret instead of a public key, and it is served as if it were one.
async fn serve(groups: &[Value], mint: &Mint) -> Vec<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let issuers: Vec<String> = (0..groups.len()).map(|at| format!("{base}/{at}")).collect();
    let mut documents = Vec::new();
    for (issuer, group) in issuers.iter().zip(groups) {
        let path = issuer.strip_prefix(&base).unwrap();
        let key = group.get("public").unwrap_or(&group["private"]);
        let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
        documents.push((format!("{path}/.well-known/openid-configuration"), metadata));
        documents.push((format!("{path}/keys"), json!({ "keys": [key, mint.jwk(KID)] })));
    }
    let answer = async |uri: Uri, State(documents): State<Vec<(String, Value)>>| {
        let found = documents.into_iter().find(|(path, _)| path == uri.path());
        found.map(|(_, document)| Json(document)).ok_or(StatusCode::NOT_FOUND)
    };
    let router = Router::new().fallback(answer).with_state(documents);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    issuers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_vector_opens_an_endpoint() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let groups = vectors["testGroups"].as_array().unwrap();
    let mint = Mint::new(TENANT);
    let issuers = serve(groups, &mint).await;
    let entries: Vec<String> = issuers
        .iter()
        .map(|issuer| format!("{{ issuer: \"{issuer}\", audiences: [ \"{AUDIENCE}\" ], allow_http: true }}"))
        .collect();
    let identity = format!("{{ issuers: [ {} ] }}", entries.join(", "));
    let settings = ("identity", identity);
    let world = World::with(mint, Vec::new(), |plan| plan.settings.push(settings)).await;
    // Each issuer's set is there: what the test's key signed for it is known, and may not.
    for issuer in &issuers {
        let claims = json!({ "iss": issuer, "aud": AUDIENCE, "sub": "somebody", "exp": now() + 600 });
        let answer = world.ask("aad-ep", &world.mint.sign(&super::good_head(), &claims)).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (403, "AuthorizationFailed"), "{issuer}");
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for vector in groups.iter().flat_map(|group| group["tests"].as_array().unwrap()) {
        count += 1;
        // Valid or not: even the valid ones name no issuer, no audience and no end.
        let message = super::score("aad-ep", vector["jws"].as_str().unwrap());
        let answer = ask(world.stand.gateway.data, message).await.unwrap();
        let codes = ["InvalidAuthenticationToken", "AuthenticationFailed"];
        if answer.status != 401 || !codes.contains(&answer.code().as_str()) || world.blue.connections() > 0 {
            wrong.push(format!("{}: {} {}", vector["tcId"], answer.status, answer.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((count, world.blue.count()), (401, 0));
    println!("{count} vectors");
    world.stand.stop().await;
}
