//! Bounds on everything, and bodies that flow as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use super::messages::tried;
use crate::support::instance::ok;
use crate::support::played::{Link, play};
use crate::support::stand::deployment;
use crate::support::{Instance, PATIENCE, Plan, Raw, Stand, until};

fn head(token: &str, more: &str) -> String {
    format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    )
}

async fn start(limits: &str) -> (Stand, Instance) {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("aad_token", &[&blue.url]).set("limits", limits);
    (Stand::start(plan).await, blue)
}

/// Deployment `blue` at this instance with more request settings.
async fn start_played(url: &str, settings: &str, limits: &str) -> Stand {
    let plan = Plan::endpoint("aad_token", &[url]).set("limits", limits);
    let text = deployment("my-ep", "blue", &[url], "")
        .replace("max_concurrent_requests_per_instance: 512", settings);
    Stand::start(plan.blue(text)).await
}

async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded() {
    let (stand, blue) =
        start("{ request_line: 1024, header_field: 4096, header_bytes: 8192, header_count: 20 }").await;
    let token = stand.token("scientist");
    let auth = format!("Host: gateway\r\nAuthorization: Bearer {token}\r\n");
    let line = |length: usize| {
        let rest = "GET /endpoints/my-ep/ HTTP/1.1".len();
        format!("GET /endpoints/my-ep/{} HTTP/1.1\r\n{auth}\r\n", "a".repeat(length - rest))
    };
    let field = |length: usize| {
        format!("GET /endpoints/my-ep/a HTTP/1.1\r\n{auth}X: {}\r\n\r\n", "a".repeat(length - 3))
    };
    let count = |count: usize| {
        let fields = (2..count).map(|number| format!("X-{number}: a\r\n")).collect::<Vec<_>>().concat();
        format!("GET /endpoints/my-ep/a HTTP/1.1\r\n{auth}{fields}\r\n")
    };
    let bytes = |length: usize| {
        let (long, rest) = (format!("X: {}\r\n", "a".repeat(2995)), auth.len() + 2 * 3000 + 5);
        format!(
            "GET /endpoints/my-ep/a HTTP/1.1\r\n{auth}{long}{long}Y: {}\r\n\r\n",
            "a".repeat(length - rest)
        )
    };
    let options = |count: usize| {
        let (some, rest) = ("a, ".repeat(9), ",".repeat(count - 11));
        format!("GET /endpoints/my-ep/a HTTP/1.1\r\n{auth}Connection: {some}b\r\nConnection: {rest}\r\n\r\n")
    };
    let endless_line = format!("GET /endpoints/my-ep/{}", "a".repeat(3000));
    let endless_field = format!("GET /endpoints/my-ep/a HTTP/1.1\r\n{auth}X: {}", "a".repeat(6000));
    let cases = [
        ("line at the limit", line(1023), 200, ""),
        ("line beyond it", line(1030), 414, "UriTooLong"),
        ("line without an end", endless_line, 414, "UriTooLong"),
        ("field at the limit", field(4095), 200, ""),
        ("field beyond it", field(4100), 431, "RequestHeaderFieldsTooLarge"),
        ("field without an end", endless_field, 431, "RequestHeaderFieldsTooLarge"),
        ("count at the limit", count(20), 200, ""),
        ("count beyond it", count(21), 431, "RequestHeaderFieldsTooLarge"),
        ("names in Connection at the limit", options(20), 200, ""),
        ("names in Connection beyond it", options(21), 431, "RequestHeaderFieldsTooLarge"),
        ("bytes at the limit", bytes(8180), 200, ""),
        ("bytes beyond it", bytes(8300), 431, "RequestHeaderFieldsTooLarge"),
    ];
    tried("heads about a bound", cases.len());
    for (case, message, status, code) in cases {
        let before = blue.count();
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(message).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{case}: {}", answer.head);
        assert_eq!(blue.count() - before, usize::from(status == 200), "{case}");
        if status != 200 {
            assert!(raw.closes().await, "{case}: the connection goes on");
        }
    }
    for reason in ["uri_too_long", "headers_too_large"] {
        let counted = stand.metric(&format!("scoregate_security_limit{{reason=\"{reason}\"}}")).await;
        assert!(counted >= 2.0, "{reason}: {counted}");
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded() {
    let (stand, blue) = start("{ request_body: 1000 }").await;
    let token = stand.token("scientist");
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
    let chunked = |body: String| format!("{}{body}", head(&token, "Transfer-Encoding: chunked\r\n"));
    let length =
        |size: usize| format!("{}{}", head(&token, &format!("Content-Length: {size}\r\n")), "a".repeat(size));
    let cases = [
        ("length at the limit", length(1000), 200),
        ("length beyond it", length(1001), 413),
        ("length far beyond it", head(&token, "Content-Length: 999999999999\r\n"), 413),
        ("chunk at the limit", chunked(format!("{}0\r\n\r\n", chunk(1000))), 200),
        ("chunk beyond it", chunked(format!("{}0\r\n\r\n", chunk(1001))), 413),
        ("chunks beyond it", chunked(format!("{}0\r\n\r\n", chunk(300).repeat(4))), 413),
        ("chunks without an end", chunked(chunk(300).repeat(4)), 413),
        ("a chunk that only says so", chunked("ffffffffffff\r\n".to_owned() + &"a".repeat(2000)), 413),
    ];
    tried("bodies about a bound", cases.len());
    for (case, message, status) in cases {
        let whole = blue.seen().iter().filter(|seen| !seen.cut).count();
        let touched = blue.connections();
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(message).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, status, "{case}: {}", answer.head);
        let after = blue.seen().iter().filter(|seen| !seen.cut).count();
        assert_eq!(after - whole, usize::from(status == 200), "{case}");
        if status == 413 {
            assert_eq!(answer.code(), "RequestBodyTooLarge", "{case}");
            assert!(raw.closes().await, "{case}: the connection goes on");
            assert!(
                case.contains("chunk") || blue.connections() == touched,
                "{case}: an instance was touched"
            );
        }
    }
    assert!(blue.seen().iter().all(|seen| seen.body.len() <= 1000));
    assert!(stand.metric("scoregate_security_limit{reason=\"body_too_large\"}").await >= 6.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_are_not_worth_their_framing_are_bounded() {
    let (stand, blue) = start("{ small_chunks: 100 }").await;
    let token = stand.token("scientist");
    let message = |small: usize, large: usize| {
        let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
        let chunks = chunk(1).repeat(small) + &chunk(64).repeat(large);
        format!("{}{chunks}0\r\n\r\n", head(&token, "Transfer-Encoding: chunked\r\n"))
    };
    let mut raw = Raw::connect(stand.gateway.data).await;
    for (small, large) in [(50, 0), (0, 500), (49, 5), (1, 0)] {
        raw.say(message(small, large)).await;
        assert_eq!(raw.hear().await.expect("an answer").status, 200, "{small} small ones");
        assert_eq!(blue.seen().last().unwrap().body.len(), small + 64 * large);
    }
    let whole = blue.seen().iter().filter(|seen| !seen.cut).count();
    for (before, small) in [(0, 101), (0, 150), (0, 5_000), (100, 1)] {
        if before > 0 {
            raw = Raw::connect(stand.gateway.data).await;
            raw.say(message(before, 0)).await;
            assert_eq!(raw.hear().await.expect("an answer").status, 200);
        }
        raw.say(message(small, 0)).await;
        let answer = raw.hear().await.expect("an answer");
        assert_eq!((answer.status, answer.reason()), (400, Some("malformed")), "{small} more");
        assert!(raw.closes().await);
        raw = Raw::connect(stand.gateway.data).await;
    }
    assert_eq!(
        blue.seen().iter().filter(|seen| !seen.cut).count(),
        whole + 1,
        "no other body came to its end"
    );
    // Another connection has its own.
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(message(100, 1)).await;
    assert_eq!(raw.hear().await.expect("an answer").status, 200);
    assert!(blue.seen().iter().filter(|seen| seen.cut).all(|seen| seen.body.len() <= 100));
    assert_eq!(stand.counted("scoregate_security_bad_request{reason=\"small_chunks\"}").await, 4);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_to_come_in_time() {
    let (stand, blue) = start("{ header_time: 300ms }").await;
    let token = stand.token("scientist");
    let good = head(&token, "Content-Length: 0\r\n");
    for (case, said) in [
        ("nothing", ""),
        ("a byte", "P"),
        ("an empty line", "\r\n"),
        ("half a preface of HTTP/2", "PRI * HTTP/2.0\r\n"),
        ("a line", "POST /endpoints/my-ep/score HTTP/1.1\r\n"),
        ("all but the end", good.strip_suffix("\r\n").unwrap()),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(said).await;
        let answer = raw.hear().await;
        assert!(answer.is_none_or(|answer| answer.status == 408), "{case}");
        assert!(raw.closes().await, "{case}");
    }
    assert_eq!(blue.connections(), 0);
    // Drop by drop: bytes that come do not start the clock anew.
    let mut raw = Raw::connect(stand.gateway.data).await;
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    let dripping = async {
        raw.say("POST /endpoints/my-ep/score HTTP/1.1\r\nX: ").await;
        let mut scratch = [0; 64];
        loop {
            tokio::select! {
                read = raw.stream.read(&mut scratch) => return read.unwrap_or(0),
                _ = drops.tick() => {}
            }
            let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, b"a").await;
        }
    };
    assert_eq!(soon("the dripping client is closed", dripping).await, 0);
    // The second head on a connection, too; and a request that is worked on is not a head.
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(&good).await;
    assert_eq!(raw.hear().await.unwrap().status, 200);
    raw.say("POST /endpoints").await;
    assert!(raw.closes().await);
    assert!(stand.metric("scoregate_security_slow_client{reason=\"header\"}").await >= 7.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (open, may) = unbounded_channel();
    let may = Arc::new(tokio::sync::Mutex::new(may));
    let url = play(move |mut link: Link| {
        let may = may.clone();
        async move {
            while let Some(seen) = link.request().await {
                if !seen.body.is_empty() {
                    may.lock().await.recv().await;
                }
                link.write(ok("{}")).await;
            }
        }
    })
    .await;
    let plan =
        Plan::endpoint("aad_token", &[&url]).set("limits", "{ idle_connection: 500ms, header_time: 500ms }");
    let stand = Stand::start(plan).await;
    let token = stand.token("scientist");
    let mut idle = Raw::connect(stand.gateway.data).await;
    let mut busy = Raw::connect(stand.gateway.data).await;
    busy.say(head(&token, "Content-Length: 2\r\n") + "{}").await;
    idle.say(head(&token, "Content-Length: 0\r\n")).await;
    assert_eq!(idle.hear().await.unwrap().status, 200);
    assert!(idle.closes().await);
    // The busy one is older and still there.
    open.send(()).unwrap();
    assert_eq!(busy.hear().await.unwrap().status, 200);
    assert!(busy.closes().await);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_coming_is_408() {
    let (stand, blue) = start("{ body_progress: 200ms }").await;
    let token = stand.token("scientist");
    for (case, message) in [
        ("nothing of it", head(&token, "Content-Length: 9\r\n")),
        ("a part of it", head(&token, "Content-Length: 9\r\n") + "{\"x\""),
        ("no chunk", head(&token, "Transfer-Encoding: chunked\r\n")),
        ("no last chunk", head(&token, "Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n"),
        ("after 100", head(&token, "Content-Length: 9\r\nExpect: 100-continue\r\n")),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(message).await;
        let mut answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        if answer.status == 100 {
            answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        }
        assert_eq!((answer.status, answer.reason()), (408, Some("body_stalled")), "{case}");
        assert!(raw.closes().await, "{case}: the connection goes on");
        assert!(blue.seen().iter().all(|seen| seen.cut), "{case}");
    }
    assert!(stand.metric("scoregate_security_slow_client{reason=\"body\"}").await >= 5.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_does_not_use_up_the_instance_s_time() {
    let blue = Instance::named("blue").await;
    let stand =
        start_played(&blue.url, "max_concurrent_requests_per_instance: 512, request_timeout_ms: 500", "{}")
            .await;
    let token = stand.token("scientist");
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(head(&token, "Content-Length: 40\r\n")).await;
    // The beat of a client that is slow: a second in all, twice the instance's time.
    let mut beat = tokio::time::interval(Duration::from_millis(25));
    for _ in 0..40 {
        beat.tick().await;
        raw.say("a").await;
    }
    let answer = raw.hear().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(blue.seen().remove(0).body.len(), 40);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_takes_no_body_is_408_in_its_own_time() {
    let url = play(|link: Link| async move {
        // Takes nothing.
        std::future::pending::<()>().await;
        drop(link);
    })
    .await;
    let settings = "max_concurrent_requests_per_instance: 9, request_timeout_ms: 300";
    let stand = start_played(&url, settings, "{ request_total: 1h, header_time: 1s }").await;
    let mut raw = Raw::connect(stand.gateway.data).await;
    let size = 64 << 20;
    raw.say(head(&stand.token("scientist"), &format!("Content-Length: {size}\r\n"))).await;
    let (mut read, mut write) = raw.stream.split();
    let sending = async {
        let block = vec![b'a'; 1 << 20];
        while tokio::io::AsyncWriteExt::write_all(&mut write, &block).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let mut some = [0; 256];
    let count = tokio::select! {
        count = soon("an answer", read.read(&mut some)) => count.unwrap(),
        () = sending => 0,
    };
    assert!(some[..count].starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&some[..count]));
    drop(raw);
    stand.stop().await;
}

/// And an instance is not waited for without end, whatever its deployment allows and its client does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_request_is_bounded_before_its_answer_too() {
    let held = held().await;
    let settings = "max_concurrent_requests_per_instance: 9, request_timeout_ms: 60000";
    let stand = start_played(&held.url, settings, "{ request_total: 500ms }").await;
    let token = stand.token("scientist");
    for message in [head(&token, "Content-Length: 0\r\n"), head(&token, "Content-Length: 9\r\n") + "{}"] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(message).await;
        assert_eq!(raw.hear().await.unwrap().status, 408);
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_bounded() {
    let (stand, blue) = start("{ connections_per_address: 3 }").await;
    let token = stand.token("scientist");
    let good = head(&token, "Content-Length: 0\r\n");
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(&good).await;
        assert_eq!(raw.hear().await.unwrap().status, 200);
        open.push(raw);
    }
    for _ in 0..3 {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(&good).await;
        assert!(raw.hear().await.is_none(), "a fourth connection was taken");
    }
    for raw in &mut open {
        raw.say(&good).await;
        assert_eq!(raw.hear().await.unwrap().status, 200);
    }
    assert_eq!(blue.count(), 6);
    // A place that is given back is free.
    drop(open);
    until("a connection is taken again", async || {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(&good).await;
        raw.hear().await.is_some_and(|answer| answer.status == 200)
    })
    .await;
    stand.stop().await;
}

/// An instance that holds every request until it is told to answer, and says how many it holds.
struct Held {
    url: String,
    go: watch::Sender<bool>,
    holding: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

async fn held() -> Held {
    let (go, _) = watch::channel(false);
    let (holding, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (go_, holding_, most_) = (go.clone(), holding.clone(), most.clone());
    let url = play(move |mut link: Link| {
        let (mut go, holding, most) = (go_.subscribe(), holding_.clone(), most_.clone());
        async move {
            while link.request().await.is_some() {
                let now = holding.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let _ = go.wait_for(|go| *go).await;
                holding.fetch_sub(1, Ordering::SeqCst);
                link.write(ok("{}")).await;
            }
        }
    })
    .await;
    Held { url, go, holding, most }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_be_pending_are_429() {
    let held = held().await;
    let settings =
        "max_concurrent_requests_per_instance: 2, max_queue_wait_ms: 60000, request_timeout_ms: 60000";
    let stand = start_played(&held.url, settings, "{}").await;
    let token = stand.token("scientist");
    let good = head(&token, "Content-Length: 0\r\n");
    let mut clients = Vec::new();
    for (working, queued) in [(1, 0.0), (2, 0.0), (2, 1.0), (2, 2.0)] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(&good).await;
        let wait = "scoregate_queue_depth{deployment=\"blue\",endpoint=\"my-ep\"}";
        until("it is held or waits", async || {
            let waiting = stand.metric(wait).await;
            held.holding.load(Ordering::SeqCst) == working && waiting >= queued
        })
        .await;
        clients.push(raw);
    }
    let mut raw = Raw::connect(stand.gateway.data).await;
    for _ in 0..2 {
        raw.say(&good).await;
        let answer = raw.hear().await.unwrap();
        assert_eq!((answer.status, answer.reason()), (429, Some("too_many_pending_request")));
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    held.go.send(true).unwrap();
    for raw in &mut clients {
        assert_eq!(raw.hear().await.unwrap().status, 200);
    }
    assert_eq!(held.most.load(Ordering::SeqCst), 2);
    assert!(stand.metric("scoregate_security_limit{reason=\"too_many_pending_request\"}").await >= 2.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_place_and_places_of_an_endpoint_are_bounded() {
    for (settings, limits, reason) in [
        (
            "max_concurrent_requests_per_instance: 1, max_queue_wait_ms: 100, request_timeout_ms: 60000",
            "{}",
            "too_many_pending_request",
        ),
        (
            "max_concurrent_requests_per_instance: 9, request_timeout_ms: 60000",
            "{ requests_per_endpoint: 1 }",
            "endpoint_busy",
        ),
    ] {
        let held = held().await;
        let stand = start_played(&held.url, settings, limits).await;
        let token = stand.token("scientist");
        let good = head(&token, "Content-Length: 0\r\n");
        let mut first = Raw::connect(stand.gateway.data).await;
        first.say(&good).await;
        until("it is held", async || held.holding.load(Ordering::SeqCst) == 1).await;
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(&good).await;
        let answer = raw.hear().await.unwrap();
        assert_eq!(
            (answer.status, answer.reason(), answer.field("retry-after")),
            (429, Some(reason), Some("1"))
        );
        held.go.send(true).unwrap();
        assert_eq!(first.hear().await.unwrap().status, 200);
        raw.say(&good).await;
        assert_eq!(raw.hear().await.unwrap().status, 200, "the place is free again");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_authentications_of_an_address_are_bounded_and_good_ones_are_not() {
    let (stand, blue) = start("{ failed_authentications: 10 }").await;
    let good = head(&stand.token("scientist"), "Content-Length: 0\r\n");
    let mut raw = Raw::connect(stand.gateway.data).await;
    for number in 0..20 {
        raw.say(head("nonsense", "Content-Length: 0\r\n")).await;
        let answer = raw.hear().await.unwrap();
        let expected = if number < 10 { 401 } else { 429 };
        assert_eq!(answer.status, expected, "failure {number}");
        assert_eq!(answer.field("www-authenticate").is_some(), expected == 401);
        assert_eq!(answer.field("retry-after").is_some(), expected == 429);
        raw.say(&good).await;
        assert_eq!(raw.hear().await.unwrap().status, 200, "a good client is served");
    }
    assert_eq!(blue.count(), 20);
    assert!(stand.metric("scoregate_security_limit{reason=\"failed_authentications\"}").await >= 10.0);
    stand.stop().await;
}

/// An instance that sends an event whenever it is told to, and tells when the gateway has left it.
async fn streaming() -> (String, tokio::sync::mpsc::UnboundedSender<&'static str>, UnboundedReceiver<usize>) {
    let (say, say_what) = unbounded_channel::<&'static str>();
    let (left, gone) = unbounded_channel();
    let say_what = Arc::new(tokio::sync::Mutex::new(say_what));
    let url = play(move |mut link: Link| {
        let (say_what, left) = (say_what.clone(), left.clone());
        async move {
            while link.request().await.is_some() {
                link.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
                let mut say_what = say_what.lock().await;
                loop {
                    let what = tokio::select! {
                        what = say_what.recv() => what,
                        () = link.closed() => { let _ = left.send(link.number); return }
                    };
                    match what {
                        Some("end") | None => break,
                        Some(event) => {
                            link.write(format!("{:x}\r\n{event}\r\n", event.len())).await;
                        }
                    }
                }
                link.write("0\r\n\r\n").await;
            }
        }
    })
    .await;
    (url, say, gone)
}

/// Reads until a text has come.
async fn read_until(raw: &mut Raw, text: &str) {
    let mut all = String::new();
    let reading = async {
        while !all.contains(text) {
            let mut some = [0; 4096];
            let count = raw.stream.read(&mut some).await.unwrap();
            assert!(count > 0, "it ended with {all}");
            all.push_str(&String::from_utf8_lossy(&some[..count]));
        }
    };
    soon(text, reading).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_one_by_one_and_a_client_that_leaves_ends_the_work() {
    let (url, say, mut gone) = streaming().await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&url])).await;
    let good = head(&stand.token("scientist"), "Content-Length: 0\r\n");
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(&good).await;
    read_until(&mut raw, "text/event-stream").await;
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        // Each is there before the next is written.
        say.send(event).unwrap();
        read_until(&mut raw, event).await;
    }
    say.send("end").unwrap();
    read_until(&mut raw, "0\r\n\r\n").await;
    // In the middle of an answer.
    raw.say(&good).await;
    read_until(&mut raw, "text/event-stream").await;
    say.send("data: 4\n\n").unwrap();
    read_until(&mut raw, "data: 4").await;
    drop(raw);
    soon("the instance is told", gone.recv()).await.unwrap();
    until("no request is in flight", async || {
        stand.metric("scoregate_requests_in_flight{deployment=\"blue\"").await < 0.5
    })
    .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_answer_ends_the_work() {
    let (left, mut gone) = unbounded_channel();
    let (came, mut arrived) = unbounded_channel();
    let url = play(move |mut link: Link| {
        let (left, came) = (left.clone(), came.clone());
        async move {
            let seen = link.request().await;
            let _ = came.send(seen.is_some_and(|seen| seen.cut));
            link.closed().await;
            let _ = left.send(());
        }
    })
    .await;
    let stand =
        start_played(&url, "max_concurrent_requests_per_instance: 9, request_timeout_ms: 60000", "{}").await;
    let token = stand.token("scientist");
    // The whole request is there; or only a part of its body.
    for (message, cut) in [
        (head(&token, "Content-Length: 2\r\n") + "{}", false),
        (head(&token, "Content-Length: 9\r\n") + "{}", true),
        (head(&token, "Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n", true),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(message).await;
        if cut {
            until("it is in flight", async || {
                stand.metric("scoregate_requests_in_flight{deployment=\"blue\"").await > 0.5
            })
            .await;
            drop(raw);
            assert!(soon("the request arrives", arrived.recv()).await.unwrap());
        } else {
            assert!(!soon("the request arrives", arrived.recv()).await.unwrap());
            drop(raw);
        }
        soon("the instance is told", gone.recv()).await.unwrap();
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stops_coming_is_cut() {
    let (url, say, mut gone) = streaming().await;
    for limits in ["{ response_idle: 200ms }", "{ request_total: 1s }"] {
        let stand = start_played(&url, "max_concurrent_requests_per_instance: 9", limits).await;
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(head(&stand.token("scientist"), "Content-Length: 0\r\n")).await;
        say.send("data: 1\n\n").unwrap();
        assert!(raw.hear().await.is_none(), "{limits}: the answer looks whole");
        soon("the instance is told", gone.recv()).await.unwrap();
        stand.stop().await;
    }
}

/// A model that writes much to a client that reads nothing is held up; what the gateway keeps is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_holds_up_the_instance_and_is_then_left() {
    let (written, mut end) = unbounded_channel();
    let url = play(move |mut link: Link| {
        let written = written.clone();
        async move {
            if link.request().await.is_none() {
                return;
            }
            let (mut count, block) = (0_usize, vec![b'a'; 64 * 1024]);
            let mut going = link.write("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n").await;
            while going {
                going = link.write(&block).await;
                count += block.len();
            }
            let _ = written.send(count);
        }
    })
    .await;
    let plan = Plan::endpoint("aad_token", &[&url]).set("limits", "{ write_stall: 500ms }");
    let stand = Stand::start(plan).await;
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(head(&stand.token("scientist"), "Content-Length: 0\r\n")).await;
    let count = soon("the instance is held up and left", end.recv()).await.unwrap();
    // Buffers of two loopback sockets take some megabytes; a gateway that buffers would have taken all of it.
    assert!(count < 64 << 20, "{count}");
    assert!(stand.metric("scoregate_security_slow_client{reason=\"write\"}").await >= 1.0);
    drop(raw);
    stand.stop().await;
}

async fn h2(stand: &Stand) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(stand.gateway.data).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn h2_request(path: &str, token: &str) -> http::request::Builder {
    http::Request::post(format!("http://gateway{path}")).header("authorization", format!("Bearer {token}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_with_prior_knowledge_is_served_by_the_same_rules() {
    let (stand, blue) = start("{ request_body: 1000 }").await;
    let token = stand.token("scientist");
    let mut sender = h2(&stand).await;
    let good = "/endpoints/my-ep/score";
    let long = "a".repeat(1001);
    for (case, path, fields, body, status) in [
        ("good", good, vec![], "{}", 200),
        ("host that is the authority", good, vec![("host", "gateway")], "{}", 200),
        ("host that is not", good, vec![("host", "other")], "{}", 400),
        ("two slashes", "/endpoints/my-ep//score", vec![], "{}", 400),
        ("two dots", "/endpoints/my-ep/a/%2e%2e", vec![], "{}", 400),
        ("backslash", "/endpoints/my-ep/a%5cb", vec![], "{}", 400),
        ("unknown expectation", good, vec![("expect", "200-ok")], "{}", 417),
        ("two credentials", good, vec![("authorization", "Bearer a")], "{}", 401),
        ("too large", good, vec![], long.as_str(), 413),
        ("forged fields", good, vec![("x-forwarded-for", "evil-42"), ("x_real_ip", "evil-42")], "{}", 200),
        ("good again", good, vec![], "", 200),
    ] {
        let before = blue.count();
        let mut request = h2_request(path, &token);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let answer = soon(case, sender.send_request(request)).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, http::Version::HTTP_2), "{case}");
        let told = soon(case, answer.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(blue.count() - before, usize::from(status == 200), "{case}");
        if status == 200 {
            let seen = blue.seen().pop().unwrap();
            assert_eq!(
                (seen.line(), seen.body.as_slice()),
                ("POST /score HTTP/1.1", body.as_bytes()),
                "{case}"
            );
            assert_eq!(seen.field("x-forwarded-host"), Some("gateway"), "{case}");
            assert!(
                !seen.head.contains("evil-42") && !seen.head.contains("\nauthorization"),
                "{case}: {}",
                seen.head
            );
            assert_eq!(seen.all("host").len(), 1, "{case}");
        } else {
            let json: serde_json::Value = serde_json::from_slice(&told).unwrap();
            assert!(json["error"]["code"].is_string(), "{case}: {json}");
        }
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_at_most_a_hundred_streams() {
    let held = held().await;
    let settings = "max_concurrent_requests_per_instance: 512, request_timeout_ms: 60000";
    let stand = start_played(&held.url, settings, "{}").await;
    let token = stand.token("scientist");
    let mut sender = h2(&stand).await;
    let warm = sender
        .send_request(http::Request::get("http://gateway/endpoints/none").body(Full::default()).unwrap());
    assert_eq!(soon("a first answer", warm).await.unwrap().status(), 404);
    let asked: Vec<_> = (0..120)
        .map(|_| {
            let request =
                h2_request("/endpoints/my-ep/score", &token).body(Full::new(Bytes::from("{}"))).unwrap();
            tokio::spawn(sender.send_request(request))
        })
        .collect();
    until("a hundred are held", async || held.holding.load(Ordering::SeqCst) == 100).await;
    held.go.send(true).unwrap();
    for asked in asked {
        assert_eq!(soon("an answer", asked).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(held.most.load(Ordering::SeqCst), 100);
    stand.stop().await;
}
