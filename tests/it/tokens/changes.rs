//! Credentials over time: connections stay open, and what they were opened with does not.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use super::endpoints::{issued, world};
use super::{World, score};
use crate::support::mint::now;
use crate::support::rest::{deployment, deployment_body, endpoint, endpoint_body};
use crate::support::stand::object_id;
use crate::support::{Raw, until};

/// Between two requests.
const PACE: Duration = Duration::from_millis(20);
/// No leeway, so that a token's end is its end.
const EXACT: &str = "clock_skew: 0s, ";

/// One client on one connection.
enum Client {
    Http1(Raw),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn http1(world: &World) -> Client {
        Client::Http1(Raw::connect(world.stand.gateway.data).await)
    }

    async fn http2(world: &World) -> Client {
        let stream = TcpStream::connect(world.stand.gateway.data).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client::Http2(sender)
    }

    /// The status of a scoring request; no credential if it is empty.
    async fn score(&mut self, name: &str, credential: &str) -> u16 {
        match self {
            Client::Http1(raw) => {
                raw.say(score(name, credential)).await;
                raw.hear().await.unwrap().status
            }
            Client::Http2(sender) => {
                let mut request = http::Request::post(format!("http://gateway/endpoints/{name}/score"));
                if !credential.is_empty() {
                    request = request.header("authorization", format!("Bearer {credential}"));
                }
                let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
                sender.send_request(request).await.unwrap().status().as_u16()
            }
        }
    }

    /// Scores until the credential is refused; it has to be good before its end, and from its end on it must not be.
    async fn until_its_end(&mut self, name: &str, credential: &str, end: i64) -> usize {
        let mut answered = 0;
        loop {
            let before = now();
            let status = self.score(name, credential).await;
            match status {
                200 => assert!(before < end, "answered {} s after its end", before - end),
                401 => assert!(now() >= end, "refused {} s before its end", end - now()),
                other => panic!("{other}"),
            }
            if status == 401 {
                return answered;
            }
            answered += 1;
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Settings of a world whose tokens end soon and exactly.
async fn exact(limits: &str) -> (World, crate::support::rest::Caller) {
    let limits = format!("{{ failed_authentications: 1000000{limits} }}");
    let (tenants, mint) = (super::TENANT, super::Mint::new(super::TENANT));
    let authority = mint.serve().await;
    let identity = format!("{{ {EXACT}{} }}", super::entra(&[(&authority, tenants)]));
    let (mut made, _) = world(&[("identity", &identity), ("limits", &limits)]).await;
    made.mint = mint;
    let token = made.mint.with(object_id("owner"), &json!({ "aud": crate::support::stand::MANAGEMENT }));
    let owner = made.stand.rest().by(&token);
    (made, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_on_the_connection_that_it_was_good_on() {
    let (world, owner) = exact(", aml_token_life: 3s").await;
    let mut clients = [
        (Client::http1(&world).await, "aad-ep"),
        (Client::http2(&world).await, "aad-ep"),
        (Client::http1(&world).await, "aml-a"),
        (Client::http2(&world).await, "aml-a"),
    ];
    let from_gateway = owner.post(&format!("{}/token", endpoint("aml-a")), "").await.is(200);
    let aml_end = from_gateway.json["expiryTimeUtc"].as_i64().unwrap();
    let aml = from_gateway.json["accessToken"].as_str().unwrap();
    let end = now() + 3;
    let entra = world.mint.with(object_id("scorer"), &json!({ "exp": end }));
    let all = clients.iter_mut().map(async |(client, name)| {
        let (token, end) = if *name == "aml-a" { (aml, aml_end) } else { (entra.as_str(), end) };
        let answered = client.until_its_end(name, token, end).await;
        // What follows on the connection is judged by itself.
        let fresh = world.mint.token(object_id("scorer"));
        let expected = if *name == "aml-a" { 401 } else { 200 };
        assert_eq!(client.score(name, &fresh).await, expected, "{name}");
        assert_eq!(client.score(name, token).await, 401, "{name}");
        answered
    });
    let answered: Vec<usize> = futures_util::future::join_all(all).await;
    assert!(answered.iter().all(|count| *count > 1), "{answered:?}");
    let fresh: usize = 2;
    assert_eq!(world.blue.count(), answered.iter().sum::<usize>() + fresh);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_remembered() {
    let (world, _) = exact("").await;
    let begin = now() + 2;
    let early = world.mint.with(object_id("scorer"), &json!({ "nbf": begin, "iat": begin }));
    let mut client = Client::http1(&world).await;
    loop {
        let before = now();
        let status = client.score("aad-ep", &early).await;
        match status {
            200 => assert!(now() >= begin),
            other => assert!(other == 401 && before < begin, "{other}"),
        }
        if status == 200 {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    world.stand.stop().await;
}

/// Every request and every stream stands for itself: none inherits from the one before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_inherits_a_credential() {
    let (world, owner) = world(&[]).await;
    let (good, stranger) = (world.mint.token(object_id("scorer")), world.mint.token(object_id("stranger")));
    let ((key, _), aml) = (world.stand.keys("key-a").await, issued(&owner, "aml-a").await);
    let forged = format!("{good}A");
    for mut client in [Client::http1(&world).await, Client::http2(&world).await] {
        for (name, credential, status) in [
            ("aad-ep", good.as_str(), 200),
            ("aad-ep", "", 401),
            ("aad-ep", &good, 200),
            ("aad-ep", &stranger, 403),
            ("aad-ep", &good, 200),
            ("aad-ep", &forged, 401),
            ("key-a", &good, 401),
            ("key-a", &key, 200),
            ("key-a", "", 401),
            ("key-b", &key, 401),
            ("aml-a", &aml, 200),
            ("aml-b", &aml, 401),
            ("aml-a", "", 401),
            ("aml-a", &aml, 200),
        ] {
            let seen = world.blue.count();
            assert_eq!(client.score(name, credential).await, status, "{name} after others");
            assert_eq!(world.blue.count() - seen, usize::from(status == 200), "{name}");
        }
    }
    // Three requests in one breath.
    let mut raw = Raw::connect(world.stand.gateway.data).await;
    let bare = "POST /endpoints/aad-ep/score HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\n{}";
    let seen = world.blue.count();
    raw.say(format!("{}{bare}{}", score("aad-ep", &good), score("aad-ep", &good))).await;
    let mut statuses = Vec::new();
    while let Some(answer) = raw.hear().await {
        statuses.push(answer.status);
        if statuses.len() == 3 {
            break;
        }
    }
    assert!(statuses.starts_with(&[200, 401]), "{statuses:?}");
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(world.blue.count() - seen, passed, "{statuses:?}");
    world.stand.stop().await;
}

/// That a token is genuine is remembered; what it may do is not, whoever asks at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_at_two_endpoints_at_once_is_two_decisions() {
    let (world, _) = world(&[]).await;
    let who = object_id("one-endpoint");
    let scope = endpoint("aad-b");
    let grant = format!("role: AzureML Data Scientist\nprincipal_id: {who}\nscope: {scope}\n");
    world.stand.write("one.yaml", &grant).await;
    let token = world.mint.token(who);
    let clients = (0..8).map(async |number| {
        let mut client = Client::http1(&world).await;
        for turn in 0..25 {
            let (name, status) = if (number + turn) % 2 == 0 { ("aad-b", 200) } else { ("aad-ep", 403) };
            assert_eq!(client.score(name, &token).await, status, "{name}");
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(world.blue.count(), 100);
    world.stand.remove("one.yaml").await;
    assert_eq!(Client::http1(&world).await.score("aad-b", &token).await, 403);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_replaced_ends_on_open_connections_and_the_other_does_not() {
    let (world, owner) = world(&[]).await;
    let (primary, secondary) = world.stand.keys("key-a").await;
    for h2 in [false, true] {
        let (primary, secondary) =
            if h2 { world.stand.keys("key-a").await } else { (primary.clone(), secondary.clone()) };
        let mut clients = Vec::new();
        for key in [&primary, &secondary] {
            let client = if h2 { Client::http2(&world).await } else { Client::http1(&world).await };
            clients.push((client, key.clone()));
        }
        for (client, key) in &mut clients {
            assert_eq!(client.score("key-a", key).await, 200);
        }
        let path = format!("{}/regenerateKeys", endpoint("key-a"));
        owner.post(&path, json!({ "keyType": "Primary" })).await.any(&[200, 202]);
        let (fresh, kept) = world.stand.keys("key-a").await;
        assert_eq!(kept, secondary);
        for ((client, key), status) in clients.iter_mut().zip([401, 200]) {
            assert_eq!(client.score("key-a", key).await, status);
            assert_eq!(client.score("key-a", &fresh).await, 200);
        }
    }
    world.stand.stop().await;
}

/// Modes and lives of an endpoint: what was issued in one is nothing in the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_issued_ends_with_the_mode_and_with_the_endpoint() {
    let (world, owner) = world(&[]).await;
    let (name, path) = ("life-ep", endpoint("life-ep"));
    let mode = async |mode: &str, statuses: &[u16]| {
        owner.put(&path, endpoint_body(mode, &json!({ "blue": 100 }))).await.any(statuses);
    };
    let make = async |mode: &str| {
        owner.put(&path, endpoint_body(mode, &json!({}))).await.is(201);
        owner.put(&deployment(name, "blue"), deployment_body(&[&world.blue.url])).await.is(201);
        owner.put(&path, endpoint_body(mode, &json!({ "blue": 100 }))).await.is(200);
    };
    let mut client = Client::http1(&world).await;
    let mut stream = Client::http2(&world).await;
    let mut both =
        async |credential: &str| (client.score(name, credential).await, stream.score(name, credential).await);
    make("AMLToken").await;
    let first = issued(&owner, name).await;
    assert_eq!(both(&first).await, (200, 200));
    for other in ["Key", "AADToken"] {
        mode(other, &[200]).await;
        assert_eq!(both(&first).await, (401, 401), "{other}");
    }
    mode("AMLToken", &[200]).await;
    assert_eq!(both(&first).await, (401, 401), "of an earlier epoch");
    let second = issued(&owner, name).await;
    assert_eq!((both(&second).await, both(&first).await), ((200, 200), (401, 401)));
    // The same again under the same name is another endpoint.
    let (key, _) = world.stand.keys(name).await;
    owner.delete(&path).await.any(&[200, 202, 204]);
    until("the endpoint is gone", async || both(&second).await == (404, 404)).await;
    make("AMLToken").await;
    assert_eq!((both(&second).await, both(&first).await), ((401, 401), (401, 401)));
    mode("Key", &[200]).await;
    assert_eq!(both(&key).await, (401, 401), "a key of its predecessor");
    let (own, _) = world.stand.keys(name).await;
    assert_eq!(both(&own).await, (200, 200));
    world.stand.stop().await;
}
