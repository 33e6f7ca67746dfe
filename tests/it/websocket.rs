//! WebSockets: who gets one, what either end is told, and how they end.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::json;

use crate::support::instance::{Seen, ok};
use crate::support::mint::{Mint, now};
use crate::support::played::{Link, play};
use crate::support::stand::{TENANT, deployment, object_id};
use crate::support::{Plan, Raw, Stand, until};

/// The key and its answer of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// An unmasked "hi", as servers send it.
const HI: &[u8] = &[0x81, 2, b'h', b'i'];
/// 1008, "policy violation".
const POLICY: &[u8] = &[0x88, 2, 0x03, 0xf0];

fn answer_to(seen: &Seen) -> String {
    let key = seen.field("sec-websocket-key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// A sound 101 to a handshake.
fn accepted(seen: &Seen) -> String {
    let answer = answer_to(seen);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nx-own: kept\r\n\
         sec-websocket-accept: {answer}\r\n\r\n"
    )
}

/// A client's handshake.
fn asks(token: &str, more: &str) -> String {
    format!(
        "GET /endpoints/my-ep/live?a=b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

fn plain(token: &str) -> String {
    format!("GET /endpoints/my-ep/plain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn plan(url: &str, websocket: bool, more: &str) -> Plan {
    let mut plan = Plan::endpoint("aad_token", &[url]);
    plan.resources.retain(|(name, _)| name != "ep.yaml" && name != "blue.yaml");
    plan.add(
        "ep.yaml",
        format!("name: my-ep\nauth_mode: aad_token\ntraffic: {{ blue: 100 }}\nwebsocket: {websocket}\n"),
    );
    plan.add("blue.yaml", deployment("my-ep", "blue", &[url], more));
    plan
}

/// What reached an instance, and what became of its connections.
#[derive(Clone, Default)]
struct Log {
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<Mutex<usize>>,
}

/// An instance that says what it is told to handshakes, echoes on WebSockets, and answers all else 200.
async fn echo(says: impl Fn(&Seen) -> String + Clone + Send + Sync + 'static) -> (String, Log) {
    let log = Log::default();
    let kept = log.clone();
    let url = play(move |mut link: Link| {
        let (log, says) = (kept.clone(), says.clone());
        async move {
            while let Some(seen) = link.request().await {
                log.seen.lock().push(seen.clone());
                if seen.field("upgrade").is_none() {
                    link.write(ok("{}")).await;
                    continue;
                }
                let answer = says(&seen);
                link.write(&answer).await;
                if answer.starts_with("HTTP/1.1 101") {
                    while let Some(byte) = link.bytes(1).await {
                        link.write(byte).await;
                    }
                    break;
                }
            }
            *log.closed.lock() += 1;
        }
    })
    .await;
    (url, log)
}

async fn in_flight(stand: &Stand) -> f64 {
    stand.metric("scoregate_requests_in_flight{").await
}

#[tokio::test]
async fn a_websocket_is_relayed_once_the_instance_has_accepted_it() {
    let (go, going) = tokio::sync::watch::channel(false);
    let log = Log::default();
    let (kept, early) = (log.clone(), Arc::new(Mutex::new(None)));
    let seen_early = early.clone();
    let url = play(move |mut link: Link| {
        let (log, mut going, early) = (kept.clone(), going.clone(), seen_early.clone());
        async move {
            let seen = link.request().await.unwrap();
            log.seen.lock().push(seen.clone());
            // Whatever came too early would be here by the time the test lets it go on.
            tokio::select! {
                _ = going.wait_for(|go| *go) => {}
                bytes = link.bytes(1) => *early.lock() = Some(bytes),
            }
            link.write(accepted(&seen)).await;
            while let Some(byte) = link.bytes(1).await {
                link.write(byte).await;
            }
            *log.closed.lock() += 1;
        }
    })
    .await;
    let stand = Stand::start(plan(&url, true, "")).await;
    let mut client = Raw::connect(stand.gateway.data).await;
    let offers = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    // A client that does not wait, and whose bytes could pass for a request.
    let eager = "GET /smuggled HTTP/1.1\r\n\n\r\n";
    client.say(asks(&stand.token("scientist"), offers) + eager).await;
    until("the instance is asked", async || !log.seen.lock().is_empty()).await;
    client.say(HI).await;
    assert!((in_flight(&stand).await - 1.0).abs() < 0.5);
    go.send_replace(true);
    let answer = client.hear().await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.head);
    for (name, value) in [
        ("sec-websocket-accept", ANSWER),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("x-own", "kept"),
        ("azureml-model-deployment", "blue"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}\n{}", answer.head);
    }
    assert!(answer.field("content-length").is_none() && answer.field("transfer-encoding").is_none());
    let echoed = client.bytes(eager.len() + HI.len()).await.unwrap();
    assert_eq!(echoed, [eager.as_bytes(), HI].concat(), "every byte, in order, and no other");
    assert_eq!(*early.lock(), None, "nothing goes on before the instance has accepted");

    let seen = log.seen.lock().remove(0);
    assert_eq!(seen.line(), "GET /live?a=b HTTP/1.1");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name}\n{}", seen.head);
    }
    assert_ne!(seen.field("sec-websocket-key"), Some(KEY), "the handshake is the gateway's own");
    assert_eq!(seen.field("x-ms-client-principal-id"), Some(object_id("scientist").to_string().as_str()));
    assert!(seen.field("authorization").is_none());

    // More than any buffer holds.
    let large = vec![7_u8; 300_000];
    let (mut reading, mut writing) = client.stream.split();
    let mut back = vec![0; large.len()];
    let (wrote, read) = tokio::join!(
        tokio::io::AsyncWriteExt::write_all(&mut writing, &large),
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut back)
    );
    assert!(wrote.is_ok() && read.is_ok() && back == large);
    let one = async || {
        stand.metric("scoregate_requests_total{auth_mode=\"aad_token\",deployment=\"blue\",endpoint=\"my-ep\",status_class=\"1xx\"}").await
    };
    assert!(one().await < 0.5, "it is recorded when it ends");
    drop(client);
    until("the instance is left", async || *log.closed.lock() == 1).await;
    until("it is recorded and its place is free", async || {
        one().await > 0.5 && in_flight(&stand).await < 0.5
    })
    .await;
    assert!(stand.metric("scoregate_security_upgrade_refused{").await < 0.5);
    stand.stop().await;
}

#[tokio::test]
async fn an_endpoint_without_websockets_ignores_the_wish_and_counts_it() {
    let (url, log) = echo(accepted).await;
    let stand = Stand::start(plan(&url, false, "")).await;
    let token = stand.token("scientist");
    let mut client = Raw::connect(stand.gateway.data).await;
    client.say(asks(&token, "") + &plain(&token)).await;
    for _ in 0..2 {
        assert_eq!(client.hear().await.unwrap().status, 200, "HTTP goes on");
    }
    {
        let seen = log.seen.lock();
        assert!(seen.iter().all(|seen| seen.all("upgrade").is_empty()));
        assert_eq!((seen.len(), seen[1].line()), (2, "GET /plain HTTP/1.1"));
    }
    let refused = "scoregate_security_upgrade_refused{reason=\"websocket\"}";
    assert!((stand.metric(refused).await - 1.0).abs() < 0.5);
    // What follows is judged as HTTP again.
    client.say(asks(&token, "") + "rubbish\n\n").await;
    assert_eq!(client.hear().await.unwrap().status, 200);
    assert_eq!(client.hear().await.unwrap().status, 400);
    stand.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_not_sound_is_none() {
    let (url, log) = echo(accepted).await;
    let stand = Stand::start(plan(&url, true, "")).await;
    let good = asks(&stand.token("scientist"), "");
    for (from, to) in [
        ("Version: 13", "Version: 8"),
        (KEY, "c2hvcnQ="),
        ("Upgrade: websocket", "Upgrade: websocket, h2c"),
        ("GET /", "PUT /"),
    ] {
        let mut client = Raw::connect(stand.gateway.data).await;
        client.say(good.replace(from, to)).await;
        assert_eq!(client.hear().await.unwrap().status, 200, "{to}");
    }
    assert!(log.seen.lock().iter().all(|seen| seen.all("upgrade").is_empty()));
    stand.stop().await;
}

#[tokio::test]
async fn nobody_without_the_right_comes_as_far_as_the_instance() {
    let (url, log) = echo(accepted).await;
    let stand = Stand::start(plan(&url, true, "")).await;
    for (token, status) in [("none".to_owned(), 401), (stand.token("outsider"), 403)] {
        let mut client = Raw::connect(stand.gateway.data).await;
        client.say(asks(&token, "")).await;
        client.say(HI).await;
        assert_eq!(client.hear().await.unwrap().status, status);
    }
    assert!(log.seen.lock().is_empty());
    stand.stop().await;
}

#[tokio::test]
async fn an_instance_that_does_not_accept_soundly_gets_nothing() {
    for (from, to) in [
        ("sec-websocket-accept: ", "sec-websocket-accept: a"),
        ("upgrade: websocket", "upgrade: h2c"),
        ("connection: Upgrade\r\n", ""),
        ("x-own: kept", "sec-websocket-protocol: never-offered"),
        ("x-own: kept", "sec-websocket-extensions: never-offered"),
    ] {
        let (url, log) = echo(move |seen: &Seen| accepted(seen).replace(from, to)).await;
        let stand = Stand::start(plan(&url, true, "")).await;
        let mut client = Raw::connect(stand.gateway.data).await;
        client.say(asks(&stand.token("scientist"), "")).await;
        let answer = client.hear().await.unwrap();
        assert_eq!((answer.status, answer.reason()), (502, Some("instance_protocol")), "{from} -> {to}");
        until("its connection is closed", async || *log.closed.lock() == 1).await;
        stand.stop().await;
    }
}

#[tokio::test]
async fn any_other_status_is_an_answer_and_http_goes_on() {
    let says = |_: &Seen| "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!".to_owned();
    let (url, log) = echo(says).await;
    let stand = Stand::start(plan(&url, true, "")).await;
    let token = stand.token("scientist");
    let mut client = Raw::connect(stand.gateway.data).await;
    client.say(asks(&token, "")).await;
    let answer = client.hear().await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (403, &b"no!"[..]));
    assert_eq!(answer.field("ms-azureml-model-error-statuscode"), Some("403"));
    client.say(plain(&token)).await;
    assert_eq!(client.hear().await.unwrap().status, 200);
    let seen = log.seen.lock().clone();
    assert_ne!(seen[0].connection, seen[1].connection, "such a connection is not kept");
    stand.stop().await;
}

/// A WebSocket that is open, with one frame through.
async fn open(stand: &Stand, token: &str) -> Raw {
    let mut client = Raw::connect(stand.gateway.data).await;
    client.say(asks(token, "")).await;
    assert_eq!(client.hear().await.unwrap().status, 101);
    client.say(HI).await;
    assert_eq!(client.bytes(HI.len()).await.unwrap(), HI);
    client
}

#[tokio::test]
async fn whoever_loses_the_right_loses_the_websocket() {
    let (url, log) = echo(accepted).await;
    let stand = Stand::start(plan(&url, true, "")).await;
    let token = stand.token("scientist");
    let (mut whole, mut half) = (open(&stand, &token).await, open(&stand, &token).await);
    // The echo makes this the beginning of a frame towards the client.
    half.say(&HI[..3]).await;
    assert_eq!(half.bytes(3).await.unwrap(), &HI[..3]);
    // A change that takes nothing away ends nothing.
    stand.write("other.yaml", "name: other-ep\nauth_mode: key\n").await;
    whole.say(HI).await;
    assert_eq!(whole.bytes(HI.len()).await.unwrap(), HI);
    stand.remove("grant-2.yaml").await;
    assert_eq!(whole.bytes(POLICY.len()).await.unwrap(), POLICY);
    assert!(whole.closes().await && half.closes().await, "no word fits into the middle of a frame");
    until("the instance is left", async || *log.closed.lock() == 2).await;
    until("it is recorded", async || {
        stand.metric("scoregate_refusals_total{reason=\"not_authorized\"}").await > 1.5
    })
    .await;
    stand.stop().await;
}

#[tokio::test]
async fn a_websocket_ends_with_the_token() {
    let (url, log) = echo(accepted).await;
    let mint = Mint::new(TENANT);
    let authority = mint.serve().await;
    let identity = format!(
        "{{ clock_skew: 1s, entra: [ {{ authority: \"{authority}\", tenants: [ {TENANT} ], allow_http: true }} ] }}"
    );
    let stand = Stand::start(plan(&url, true, "").set("identity", &identity)).await;
    let token = mint.with(object_id("scientist"), &json!({ "exp": now() + 2 }));
    let mut client = open(&stand, &token).await;
    assert_eq!(client.bytes(POLICY.len()).await.unwrap(), POLICY);
    assert!(client.closes().await);
    until("the instance is left", async || *log.closed.lock() == 1).await;
    until("it is recorded", async || {
        stand.metric("scoregate_refusals_total{reason=\"token_expired\"}").await > 0.5
    })
    .await;
    stand.stop().await;
}

#[tokio::test]
async fn a_websocket_is_under_the_clocks_of_a_stream() {
    for (timeouts, reason) in
        [("{ idle_ms: 200 }", "idle_timeout"), ("{ idle_ms: 400, total_ms: 400 }", "total_timeout")]
    {
        let (url, log) = echo(accepted).await;
        let stand = Stand::start(plan(&url, true, &format!("timeouts: {timeouts}\n"))).await;
        let mut client = open(&stand, &stand.token("scientist")).await;
        assert!(client.closes().await, "{reason}");
        until("the instance is left", async || *log.closed.lock() == 1).await;
        let line = format!("scoregate_refusals_total{{reason=\"{reason}\"}}");
        until("the clock is recorded", async || stand.metric(&line).await > 0.5).await;
        stand.stop().await;
    }
}
