//! What the gateway takes for an answer of an instance, and what of it a client gets to see.
//!
//! Every case asks on one client connection, so that the worker and its connections to instances are the same, and
//! asks once more after the bad answer: nothing that came before may be mistaken for what comes then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::messages::tried;
use crate::support::instance::{Seen, ok};
use crate::support::played::{Link, play};
use crate::support::raw::Answer;
use crate::support::stand::deployment;
use crate::support::{Instance, Plan, Raw, Stand};

/// One line of a table: its name, what the instance writes, whether it then closes.
type Case = (&'static str, String, bool);

fn case(name: &'static str, answer: &str, close: bool) -> Case {
    (name, answer.to_owned(), close)
}

/// An instance that answers `/case/N` with case N, and everything else with what it was asked.
async fn instance(cases: &[Case]) -> Instance {
    let answers: Vec<_> =
        cases.iter().map(|(_, answer, close)| (answer.clone().into_bytes(), *close)).collect();
    Instance::scripted(Arc::new(move |seen: &Seen| {
        let path = seen.line().split(' ').nth(1).unwrap_or_default();
        match path.strip_prefix("/case/").and_then(|number| answers.get(number.parse::<usize>().ok()?)) {
            Some(answer) => answer.clone(),
            None => (ok(&format!("\"{path}\"")), false),
        }
    }))
    .await
}

fn request(method: &str, path: &str, token: &str) -> String {
    let body = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
    format!(
        "{method} /endpoints/my-ep{path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n{body}"
    )
}

/// A client that connects anew where its connection was ended.
struct Client<'a> {
    stand: &'a Stand,
    token: String,
    raw: Raw,
}

impl Client<'_> {
    async fn of(stand: &Stand) -> Client<'_> {
        Client { stand, token: stand.token("scientist"), raw: Raw::connect(stand.gateway.data).await }
    }

    async fn ask(&mut self, method: &str, path: &str) -> Option<Answer> {
        self.raw.say(request(method, path, &self.token)).await;
        self.raw.hear().await
    }

    async fn anew(&mut self) {
        self.raw = Raw::connect(self.stand.gateway.data).await;
    }

    /// A request that gets its own answer; gives the connection that it came to the instance on.
    async fn right(&mut self, case: &str, number: usize, instance: &Instance) -> usize {
        let path = format!("/right/{number}");
        let answer = self.ask("POST", &path).await.unwrap_or_else(|| panic!("{case}: then no answer"));
        assert_eq!((answer.status, answer.body), (200, format!("\"{path}\"").into_bytes()), "after {case}");
        instance.seen().pop().unwrap().connection
    }
}

fn unsound() -> Vec<Case> {
    let large = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(66_000));
    let large_all = format!(
        "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
        (0..70).map(|n| format!("x-{n}: {}\r\n", "a".repeat(1000))).collect::<Vec<_>>().concat()
    );
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
        (0..200).map(|n| format!("x-{n}: a\r\n")).collect::<Vec<_>>().concat()
    );
    vec![
        case("folded field", "HTTP/1.1 200 OK\r\nx-a: a\r\n b\r\ncontent-length: 0\r\n\r\n", false),
        case(
            "field folded with a tab",
            "HTTP/1.1 200 OK\r\nx-a: a\r\n\tb\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        case("NUL in a field", "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 0\r\n\r\n", false),
        case("CR in a field", "HTTP/1.1 200 OK\r\nx-a: a\rb: c\r\ncontent-length: 0\r\n\r\n", false),
        case("NUL in a name", "HTTP/1.1 200 OK\r\nx\0a: a\r\ncontent-length: 0\r\n\r\n", false),
        case("space before a colon", "HTTP/1.1 200 OK\r\nx-a : a\r\ncontent-length: 0\r\n\r\n", false),
        case("no colon", "HTTP/1.1 200 OK\r\nx-a\r\ncontent-length: 0\r\n\r\n", false),
        case("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x", false),
        case("equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}", false),
        case("list of equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}", false),
        case("list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\n{}x", false),
        case("no length in a length", "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n{}", false),
        case("length of letters", "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}", false),
        case("length with a plus", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}", false),
        case("negative length", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", false),
        case(
            "length and coding",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}x\r\n0\r\n\r\n",
            false,
        ),
        case(
            "coding and length",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            false,
        ),
        case(
            "chunked twice",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
        case(
            "chunked, then gzip",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            true,
        ),
        case(
            "coding in 1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            true,
        ),
        case("status 099", "HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", false),
        case("status 600", "HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n", false),
        case("status 999", "HTTP/1.1 999 High\r\ncontent-length: 2\r\n\r\n{}", false),
        case("status of letters", "HTTP/1.1 OK OK\r\ncontent-length: 0\r\n\r\n", false),
        case("status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", false),
        case(
            "101 unasked",
            "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            false,
        ),
        case("101 without fields", "HTTP/1.1 101 Switching\r\n\r\n", false),
        case("another version", "HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        case("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n", false),
        case("garbage", "\x16\x03\x01\x02\0\x01\0\r\n\r\n", false),
        case("a body alone", "{\"x\":1}\r\n\r\n", false),
        ("one field over 64 KiB", large, false),
        ("fields over 64 KiB", large_all, false),
        ("201 fields", many, false),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsound_answers_are_502_and_end_their_connection() {
    let cases = unsound();
    let blue = instance(&cases).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for (number, (case, _, _)) in cases.iter().enumerate() {
        for method in ["POST", "GET"] {
            let before = blue.count();
            let answer = client.ask(method, &format!("/case/{number}")).await;
            let answer = answer.unwrap_or_else(|| panic!("{case}: no answer"));
            assert_eq!(
                (answer.status, answer.reason()),
                (502, Some("instance_protocol")),
                "{case}: {}",
                answer.head
            );
            assert_eq!(answer.code(), "InstanceProtocolError", "{case}");
            assert_eq!(blue.count(), before + 1, "{case}: an answer was given, so nothing is sent again");
            let bad = blue.seen().pop().unwrap().connection;
            let next = client.right(case, number, &blue).await;
            assert!(next > bad, "{case}: connection {bad} was used again");
        }
    }
    let counted = stand.metric("scoregate_security_upstream_protocol{reason=\"head\"}").await;
    assert!(counted >= 40.0, "{counted}");
    tried("unsound answers, each to a POST and a GET, asked for once", cases.len());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_answer_is_passed_on_as_cut() {
    let cases = [
        case("length", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"x\":1", true),
        case("length, nothing of it", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", true),
        case("chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"x\":", true),
        case("no last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", true),
        case(
            "no end of the last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            true,
        ),
        case("no chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        case(
            "odd size",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n{}\r\n0\r\n\r\n",
            false,
        ),
        case(
            "size beyond 64 bits",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
            false,
        ),
        case(
            "longer than its size",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
            false,
        ),
        case(
            "bare LF after the data",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
            false,
        ),
    ];
    let blue = instance(&cases).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for (number, (case, _, _)) in cases.iter().enumerate() {
        // The answer ends with its connection, or it would be a whole one.
        let answer = client.ask("POST", &format!("/case/{number}")).await;
        assert!(answer.is_none_or(|answer| answer.status == 502), "{case}: the answer looks whole");
        let bad = blue.seen().pop().unwrap().connection;
        client.anew().await;
        let next = client.right(case, number, &blue).await;
        assert_ne!(next, bad, "{case}: connection {bad} was used again");
    }
    let counted = stand.metric("scoregate_security_upstream_protocol{reason=\"body\"}").await;
    assert!(counted >= 8.0, "{counted}");
    tried("answers that were cut, each asked for once", cases.len());
    stand.stop().await;
}

/// (case, what the instance writes, whether it closes, the client's status, the client's body)
type Sound = (&'static str, &'static str, bool, u16, &'static str);

const SOUND: &[Sound] = &[
    ("length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", false, 200, "{}"),
    (
        "chunks",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n",
        false,
        200,
        "{}",
    ),
    (
        "chunks with trailers",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-a: b\r\n\r\n",
        false,
        200,
        "{}",
    ),
    ("until the end", "HTTP/1.1 200 OK\r\n\r\n{}", true, 200, "{}"),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", true, 200, "{}"),
    ("no reason phrase", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}", false, 200, "{}"),
    ("empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, 200, ""),
    ("201", "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}", false, 201, "{}"),
    ("204", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, ""),
    (
        "301 is not followed",
        "HTTP/1.1 301 Moved\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        false,
        301,
        "",
    ),
    ("304", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", false, 304, ""),
    ("404", "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", false, 404, "{}"),
    ("401 is the model's own", "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}", false, 401, "{}"),
    ("599", "HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\n{}", false, 599, "{}"),
    (
        "100 first",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        false,
        200,
        "{}",
    ),
    (
        "103 first",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        false,
        200,
        "{}",
    ),
    (
        "several interim",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        false,
        200,
        "{}",
    ),
    ("close said", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", true, 200, "{}"),
    (
        "close said and not done",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        false,
        200,
        "{}",
    ),
    ("bytes behind it", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}x", false, 200, "{}"),
    (
        "an answer behind it",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        false,
        200,
        "{}",
    ),
    (
        "an answer behind the last chunk",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        false,
        200,
        "{}",
    ),
    (
        "an answer behind a 204",
        "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        false,
        204,
        "",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_answers_pass_and_nothing_behind_them_is_an_answer() {
    let cases: Vec<Case> = SOUND.iter().map(|(name, answer, close, ..)| case(name, answer, *close)).collect();
    let blue = instance(&cases).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for (number, (case, raw, close, status, body)) in SOUND.iter().enumerate() {
        let answer = client.ask("POST", &format!("/case/{number}")).await;
        let answer = answer.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(
            (answer.status, String::from_utf8_lossy(&answer.body)),
            (*status, (*body).into()),
            "{case}"
        );
        let failed = *status >= 400;
        assert_eq!(answer.reason(), failed.then_some("model_error"), "{case}");
        let original = status.to_string();
        let said = answer.field("ms-azureml-model-error-statuscode");
        assert_eq!(said, failed.then_some(original.as_str()), "{case}");
        let first = blue.seen().pop().unwrap().connection;
        let next = client.right(case, number, &blue).await;
        let ends = *close || raw.contains("close") || raw.contains("poison") || raw.ends_with('x');
        assert_eq!(next == first, !ends, "{case}: connection {first}, then {next}");
    }
    tried("sound answers, and whether the instance saw its connection again", SOUND.len());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_the_instance_s_connection_stays_there() {
    let evil = [
        "connection: x-hop, keep-alive, x-request-id, content-length\r\nx-hop: evil-42",
        "keep-alive: evil-42",
        "proxy-connection: evil-42",
        "proxy-authenticate: evil-42",
        "proxy-authentication-info: evil-42",
        "te: evil-42",
        "trailer: evil-42",
        "upgrade: evil-42",
        "x-request-id: evil-42",
        "x-ms-request-id: evil-42\r\nx-ms-request-id: evil-42",
        "azureml-model-deployment: evil-42",
        "ms-azureml-model-error-reason: evil-42\r\nms-azureml-model-error-statuscode: evil-42",
    ];
    let cases: Vec<Case> = evil
        .iter()
        .map(|fields| {
            let answer =
                format!("HTTP/1.1 200 OK\r\n{fields}\r\nx-kept: yes\r\ncontent-length: 2\r\n\r\n{{}}");
            ("hop", answer, false)
        })
        .collect();
    let blue = instance(&cases).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for (number, fields) in evil.iter().enumerate() {
        let answer = client.ask("POST", &format!("/case/{number}")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]), "{fields}");
        assert!(!answer.head.contains("evil-42"), "{fields}: {}", answer.head);
        assert_eq!(answer.field("x-kept"), Some("yes"), "{fields}");
        let count = |name: &str| answer.head.lines().filter(|line| line.starts_with(name)).count();
        for name in ["x-request-id:", "x-ms-request-id:", "azureml-model-deployment:", "content-length:"] {
            assert_eq!(count(name), 1, "{fields}: {name} in\n{}", answer.head);
        }
        client.right(fields, number, &blue).await;
    }
    tried("answers with fields of the connection", evil.len());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_sent_again_only_if_nothing_of_it_was_done() {
    // Reads a request and closes without a word, as often as it is told to.
    let (blue, failures) = {
        let failures = Arc::new(AtomicUsize::new(0));
        let left = failures.clone();
        let script = move |seen: &Seen| {
            let fail =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if fail { (Vec::new(), true) } else { (ok(&format!("\"{}\"", seen.line())), false) }
        };
        (Instance::scripted(Arc::new(script)).await, failures)
    };
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    let mut before = 0;
    for (case, method, fail, status, sent) in [
        ("a POST once", "POST", 1, 502, 1),
        ("a GET once", "GET", 1, 200, 2),
        ("a GET twice", "GET", 2, 200, 3),
        ("a GET always", "GET", 3, 502, 3),
        ("a DELETE once", "DELETE", 1, 502, 1),
        ("nobody", "POST", 0, 200, 1),
    ] {
        failures.store(fail, Ordering::SeqCst);
        let answer = client.ask(method, "/a").await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!((answer.status, blue.count() - before), (status, sent), "{case}");
        if status == 502 {
            assert_eq!(answer.reason(), Some("connection_broken"), "{case}");
        }
        let connections: Vec<_> = blue.seen().split_off(before).iter().map(|seen| seen.connection).collect();
        assert!(connections.windows(2).all(|pair| pair[0] != pair[1]), "{case}: {connections:?}");
        before = blue.count();
        failures.store(0, Ordering::SeqCst);
    }
    assert!(stand.metric("scoregate_retries_total{").await >= 5.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_the_instance_closed_costs_no_request() {
    // Answers one request on each connection as if more were welcome, and closes.
    let blue = Instance::scripted(Arc::new(|seen: &Seen| (ok(&format!("\"{}\"", seen.line())), true))).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for number in 0..30 {
        let answer = client.ask("POST", &format!("/{number}")).await.unwrap();
        let body = format!("\"POST /{number} HTTP/1.1\"");
        assert_eq!((answer.status, answer.body), (200, body.into_bytes()), "request {number}");
    }
    assert_eq!((blue.count(), blue.connections()), (30, 30));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_s_own_errors_can_be_failed_dependencies() {
    let answers = [200, 201, 204, 302, 400, 404, 500, 503];
    let cases: Vec<Case> = answers
        .iter()
        .map(|status| ("status", format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"), false))
        .collect();
    let blue = instance(&cases).await;
    for (mode, azure) in [("passthrough", false), ("failed_dependency", true)] {
        let plan = Plan::endpoint("aad_token", &[&blue.url]).data_plane(&format!("model_errors: {mode}"));
        let stand = Stand::start(plan).await;
        let mut client = Client::of(&stand).await;
        for (number, status) in answers.iter().enumerate() {
            let answer = client.ask("POST", &format!("/case/{number}")).await.unwrap();
            let failed = if azure { *status != 200 } else { *status >= 400 };
            let expected = if azure && failed { 424 } else { *status };
            assert_eq!(answer.status, expected, "{mode} {status}: {}", answer.head);
            let (word, original) = (failed.then_some("model_error"), status.to_string());
            let said = answer.field("ms-azureml-model-error-statuscode");
            assert_eq!(
                (answer.reason(), said),
                (word, failed.then_some(original.as_str())),
                "{mode} {status}"
            );
            assert_eq!(answer.field("azureml-model-deployment"), Some("blue"), "{mode} {status}");
        }
        stand.stop().await;
    }
    tried("statuses of a model, each in both manners", answers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_are_dropped_and_not_endless() {
    let answer = |interim: usize| {
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(interim)
            + "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    };
    let (few, many) = (answer(16), answer(17));
    let blue = instance(&[("16", few, false), ("17", many, false), ("0", answer(0), false)]).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let mut client = Client::of(&stand).await;
    for (number, status, reason) in [(0, 200, None), (1, 502, Some("instance_protocol")), (2, 200, None)] {
        let answer = client.ask("POST", &format!("/case/{number}")).await.unwrap();
        assert_eq!((answer.status, answer.reason()), (status, reason), "{number}: {}", answer.head);
    }
    stand.stop().await;
}

async fn stand_of(urls: &[&str], settings: &str) -> Stand {
    let plan = Plan::endpoint("aad_token", urls);
    let text = deployment("my-ep", "blue", urls, "").replace(
        "max_concurrent_requests_per_instance: 512",
        &format!("max_concurrent_requests_per_instance: 512, {settings}"),
    );
    Stand::start(plan.blue(text)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_answer_in_time_is_408_and_its_connection_ends() {
    let (left, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let url = play(move |mut link: Link| {
        let left = left.clone();
        async move {
            while let Some(seen) = link.request().await {
                if seen.line().contains("/slow") {
                    link.closed().await;
                    let _ = left.send(link.number);
                    return;
                }
                link.write(ok("{}")).await;
            }
        }
    })
    .await;
    let stand = stand_of(&[&url], "request_timeout_ms: 500").await;
    let mut client = Client::of(&stand).await;
    assert_eq!(client.ask("POST", "/fast").await.unwrap().status, 200);
    for method in ["POST", "GET"] {
        let answer = client.ask(method, "/slow").await.unwrap();
        assert_eq!((answer.status, answer.reason()), (408, Some("instance_timeout")), "{method}");
        let ended = tokio::time::timeout(crate::support::PATIENCE, gone.recv()).await;
        assert!(ended.expect("the request was not cancelled").is_some(), "{method}");
    }
    assert_eq!(client.ask("POST", "/fast").await.unwrap().status, 200);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_not_there_is_502_unless_another_is() {
    // Bound and never listening, so that nobody else gets the port.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let free = format!("http://{}", taken.local_addr().unwrap().as_socket().unwrap());
    let stand = stand_of(&[&free], "request_timeout_ms: 5000").await;
    let mut client = Client::of(&stand).await;
    for method in ["POST", "GET"] {
        let answer = client.ask(method, "/a").await.unwrap();
        assert_eq!((answer.status, answer.reason()), (502, Some("connect_failed")), "{method}");
        assert_eq!(answer.code(), "InstanceUnreachable");
    }
    stand.stop().await;

    let blue = Instance::named("blue").await;
    let stand = stand_of(&[&free, &blue.url], "request_timeout_ms: 5000").await;
    let mut client = Client::of(&stand).await;
    for number in 0..6 {
        let answer = client.ask("POST", "/a").await.unwrap();
        assert_eq!(answer.status, 200, "request {number}: nothing was sent, so it is sent elsewhere");
    }
    assert_eq!(blue.count(), 6);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_by_their_nature_end_with_their_head() {
    let cases = [
        case("HEAD with a length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", false),
        case("HEAD with a coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false),
        case("304 with a length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", false),
    ];
    let blue = instance(&cases).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    for (number, (case, answer, _)) in cases.iter().enumerate() {
        let mut raw = Raw::connect(stand.gateway.data).await;
        let token = stand.token("scientist");
        // The next answer begins right behind the head: `Raw` would take it for the body otherwise.
        raw.say(
            request("HEAD", &format!("/case/{number}"), &token)
                .replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let mut all = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut raw.stream, &mut all);
        tokio::time::timeout(crate::support::PATIENCE, read).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&all);
        assert!(text.starts_with(answer.split(" \r").next().unwrap().get(..12).unwrap()), "{case}: {text}");
        assert!(text.ends_with("\r\n\r\n") && text.matches("\r\n\r\n").count() == 1, "{case}: {text}");
    }
    assert_eq!(blue.count(), 3);
    tried("answers without a body", cases.len());
    stand.stop().await;
}
