//! The end of the process, announced and at once, and its start after a sudden end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::instance::Holding;
use crate::support::pki::{connect, connector};
use crate::support::raw::ask;
use crate::support::rest::{API_VERSION, endpoint, endpoint_body};
use crate::support::site::{Process, Site};
use crate::support::stand::deployment;
use crate::support::{Instance, PATIENCE, Plan, Raw, Stand, until};

const ENDPOINT: &str = "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n";

fn score(key: &str, deployment: &str) -> String {
    format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         azureml-model-deployment: {deployment}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
}

/// Endpoint `my-ep` with deployment `blue` that holds its requests, and `green` that does not.
async fn site(limits: &str) -> (Site, Holding, Instance) {
    let (blue, green) = (Holding::named("blue").await, Instance::named("green").await);
    let patient = |name: &str, url: &str| {
        deployment("my-ep", name, &[url], "").replace("512 }", "512, request_timeout_ms: 60000 }")
    };
    let files = [
        ("ep.yaml", ENDPOINT.to_owned()),
        ("blue.yaml", patient("blue", &blue.url)),
        ("green.yaml", patient("green", &green.url)),
    ];
    (Site::new(&files, &format!("limits: {limits}\n")), blue, green)
}

async fn not_ready(process: &Process) {
    until("it is not ready any more", async || {
        process.look("/readyz").await == (503, "not ready\n".to_owned())
    })
    .await;
}

/// The type of each frame of HTTP/2 that comes until the end of the connection.
async fn frames(mut stream: TcpStream) -> Vec<u8> {
    let mut types = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        types.push(head[3]);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut rest = vec![0; length as usize];
        if stream.read_exact(&mut rest).await.is_err() {
            break;
        }
    }
    types
}

const GOAWAY: u8 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_announced_and_then_what_is_in_flight_finishes() {
    let (site, blue, _green) = site("{ drain_notice: 3s }").await;
    let mut process = site.serve();
    let key = site.key().await;
    let mut busy = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(process.data).await;
        raw.say(score(&key, "blue")).await;
        busy.push(raw);
    }
    let mut idle = Raw::connect(process.data).await;
    idle.say(score(&key, "green")).await;
    assert_eq!(idle.hear().await.unwrap().status, 200);
    let mut http2 = TcpStream::connect(process.data).await.unwrap();
    // The preface and empty settings (RFC 9113 section 3.4).
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let http2 = tokio::spawn(frames(http2));
    until("twenty requests are in flight", async || blue.sent() == 20).await;

    process.signal("-TERM");
    not_ready(&process).await;
    // Balancers have not noticed yet: new connections and old ones are served.
    let late = ask(process.data, score(&key, "green")).await.unwrap();
    assert_eq!(late.status, 200, "served during the notice");
    idle.say(score(&key, "green")).await;
    let answer = idle.hear().await.unwrap();
    assert_eq!((answer.status, answer.field("connection")), (200, None));

    process.refuses_connections().await;
    assert!(idle.closes().await, "a connection without a request is closed");
    let frames = tokio::time::timeout(PATIENCE, http2).await.unwrap().unwrap();
    assert!(frames.contains(&GOAWAY), "{frames:?}");
    assert!(process.child.try_wait().unwrap().is_none(), "it waits for what is in flight");
    assert_eq!(process.look("/livez").await.0, 200, "it can be looked at to the end");
    blue.go.send_replace(true);
    let mut good = 0;
    for raw in &mut busy {
        let answer = raw.hear().await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"blue"[..]));
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(raw.closes().await);
        good += 1;
    }
    assert_eq!(process.ended().await, Some(0));
    let is_record = |record: &serde_json::Value| record["EndpointName"] == "my-ep";
    until("every request has its record", async || process.logged(is_record) == 23).await;
    println!("SIGTERM with 20 requests in flight: {good} finished, exit 0, 23 records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_of_the_control_plane_comes_into_force_before_the_end() {
    let stand = Stand::start(Plan::default().owned()).await;
    let root = std::fs::read_to_string(stand.directory.path().join("control-ca.pem")).unwrap();
    let (control, body) = (stand.gateway.control, endpoint_body("key", &serde_json::Value::Null).to_string());
    let head = format!(
        "PUT {}?api-version={API_VERSION} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        endpoint("late"),
        stand.management_token("owner"),
        body.len()
    );
    let mut stream = connect(&connector(&root, None, &["http/1.1"]), control, "localhost").await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; 25];
    let reading = stream.read_exact(&mut begun);
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    let stopping = tokio::spawn(stand.stop());
    until("nothing new is accepted", async || TcpStream::connect(control).await.is_err()).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", answer.escape_ascii());
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_notice_too() {
    for (second, code) in [("-TERM", 143), ("-INT", 130)] {
        let (site, _blue, _green) = site("{ drain_notice: 600s }").await;
        let mut process = site.serve();
        process.signal("-TERM");
        not_ready(&process).await;
        assert!(process.child.try_wait().unwrap().is_none());
        process.signal(second);
        assert_eq!(process.ended().await, Some(code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_in_time_is_cut() {
    let (site, blue, _green) = site("{ drain_notice: 0s, drain: 200ms }").await;
    let mut process = site.serve();
    let mut busy = Raw::connect(process.data).await;
    busy.say(score(&site.key().await, "blue")).await;
    until("the request is in flight", async || blue.sent() == 1).await;
    process.signal("-TERM");
    assert!(busy.hear().await.is_none(), "cut, not answered");
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_it_answers_again_in_less_than_5_s() {
    let (site, _blue, _green) = site("{ drain_notice: 0s }").await;
    let mut process = site.serve();
    let key = site.key().await;
    let decisions = async |process: &Process| {
        let mut statuses = Vec::new();
        for (key, deployment) in [(key.as_str(), "green"), ("sgk_wrong", "green"), (key.as_str(), "none")] {
            statuses.push(ask(process.data, score(key, deployment)).await.unwrap().status);
        }
        statuses
    };
    assert_eq!(decisions(&process).await, [200, 401, 404]);
    process.signal("-KILL");
    assert_eq!(process.ended().await, None);
    let begun = Instant::now();
    let process = site.serve();
    assert_eq!(ask(process.data, score(&key, "green")).await.unwrap().status, 200);
    let took = begun.elapsed();
    println!("SIGKILL, start, first good answer: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(decisions(&process).await, [200, 401, 404]);
}
