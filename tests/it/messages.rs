//! What the gateway takes for a request, and what of it an instance gets to see.
//!
//! Every case is a raw socket, and every case looks at both ends: at the answer, and at what reached the instance.

use std::sync::Arc;

use crate::support::instance::ok;
use crate::support::raw::Answer;
use crate::support::stand::{deployment, object_id};
use crate::support::{Instance, Plan, Raw, Stand, until};

/// A request that must never be answered and never be seen.
const SMUGGLED: &str = "GET {ep}/smuggled HTTP/1.1\r\n{auth}\r\n";

/// Puts endpoint, host and credential into a message of a table.
fn fill(template: &str, token: &str) -> String {
    let auth = format!("Host: gateway\r\nAuthorization: Bearer {token}\r\n");
    template.replace("{auth}", &auth).replace("{ep}", "/endpoints/my-ep").replace("{token}", token)
}

async fn stand(more: &str) -> (Stand, Instance) {
    let blue = Instance::named("blue").await;
    let plan =
        Plan::endpoint("aad_token", &[&blue.url]).blue(deployment("my-ep", "blue", &[&blue.url], more));
    (Stand::start(plan).await, blue)
}

/// A refusal in the gateway's own words.
fn check_refusal(case: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{case}: {}", answer.head);
    let json = answer.json();
    for field in ["/error/code", "/error/message"] {
        let text = json.pointer(field).and_then(|text| text.as_str()).unwrap_or_default();
        assert!(!text.is_empty(), "{case}: no {field} in {json} after\n{}", answer.head);
    }
}

/// Says how many cases a test tried; each looked at both ends.
pub(super) fn tried(what: &str, cases: usize) {
    println!("{cases} cases: {what}");
}

/// Each message is answered with this status and nothing else, the connection ends, and no instance is touched, even
/// if a second request stands behind the first.
async fn refuse_all(cases: &[(&str, &str, u16)]) {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    for (case, template, status) in cases {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(&format!("{template}{SMUGGLED}"), &token)).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        check_refusal(case, &answer, *status);
        assert!(raw.closes().await, "{case}: the connection goes on");
        assert_eq!(blue.connections(), 0, "{case}: an instance was touched: {:?}", blue.seen());
    }
    assert!(stand.metric("scoregate_panics_total").await < 0.5);
    tried("messages refused, no instance touched", cases.len());
    stand.stop().await;
}

/// The same message behind a good one in one write: the good one is answered first.
async fn refuse_after_a_good_one(cases: &[(&str, &str, u16)]) {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    let good = "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 2\r\n\r\n{}";
    for (number, (case, template, status)) in cases.iter().enumerate() {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(&format!("{good}{template}{SMUGGLED}"), &token)).await;
        let first = raw.hear().await.unwrap_or_else(|| panic!("{case}: no first answer"));
        assert_eq!(first.status, 200, "{case}: {}", first.head);
        let second = raw.hear().await.unwrap_or_else(|| panic!("{case}: no second answer"));
        check_refusal(case, &second, *status);
        assert!(raw.closes().await, "{case}: the connection goes on");
        assert_eq!(blue.count(), number + 1, "{case}");
    }
    assert!(blue.seen().iter().all(|seen| seen.line() == "POST /score HTTP/1.1" && seen.body == b"{}"));
    tried("messages refused behind a good one, which alone the instance saw", cases.len());
    stand.stop().await;
}

const FIELDS: &[(&str, &str, u16)] = &[
    ("bare CR in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\rb\r\n\r\n", 400),
    ("bare CR before the end", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\r\r\n\r\n", 400),
    ("bare CR hides a field", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\rContent-Length: 9\r\n\r\n", 400),
    ("bare CR as an empty line", "GET {ep}/score HTTP/1.1\r\n{auth}\r\r\n\r\n", 400),
    ("NUL in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\0b\r\n\r\n", 400),
    ("control 1 in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\x01b\r\n\r\n", 400),
    ("vertical tab in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: \x0bb\r\n\r\n", 400),
    ("form feed in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: b\x0c\r\n\r\n", 400),
    ("control 31 in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\x1fb\r\n\r\n", 400),
    ("DEL in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\x7fb\r\n\r\n", 400),
    ("NUL in a name", "GET {ep}/score HTTP/1.1\r\n{auth}X\0A: a\r\n\r\n", 400),
    ("space in a name", "GET {ep}/score HTTP/1.1\r\n{auth}X A: a\r\n\r\n", 400),
    ("parenthesis in a name", "GET {ep}/score HTTP/1.1\r\n{auth}X(A): a\r\n\r\n", 400),
    ("slash in a name", "GET {ep}/score HTTP/1.1\r\n{auth}X/A: a\r\n\r\n", 400),
    ("non-ASCII in a name", "GET {ep}/score HTTP/1.1\r\n{auth}X-\u{e9}: a\r\n\r\n", 400),
    ("empty name", "GET {ep}/score HTTP/1.1\r\n{auth}: a\r\n\r\n", 400),
    ("no colon", "GET {ep}/score HTTP/1.1\r\n{auth}X-A\r\n\r\n", 400),
    ("space before the colon", "GET {ep}/score HTTP/1.1\r\n{auth}X-A : a\r\n\r\n", 400),
    ("tab before the colon", "GET {ep}/score HTTP/1.1\r\n{auth}X-A\t: a\r\n\r\n", 400),
    ("space before Host's colon", "GET {ep}/score HTTP/1.1\r\nHost : gateway\r\n\r\n", 400),
    ("space before a length's colon", "GET {ep}/score HTTP/1.1\r\n{auth}Content-Length : 5\r\n\r\n", 400),
    (
        "space before a coding's colon",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("folded with a space", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\r\n b\r\n\r\n", 400),
    ("folded with a tab", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\r\n\tb\r\n\r\n", 400),
    ("folded first field", "GET {ep}/score HTTP/1.1\r\n X-A: a\r\n{auth}\r\n", 400),
    (
        "folded coding",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("line of one space", "GET {ep}/score HTTP/1.1\r\n{auth} \r\n\r\n", 400),
    ("bare LF after the first line", "GET {ep}/score HTTP/1.1\n{auth}\r\n", 400),
    ("bare LF after a field", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\nX-B: b\r\n\r\n", 400),
    ("bare LF as the empty line", "GET {ep}/score HTTP/1.1\r\n{auth}\n", 400),
    ("bare LF before the first line", "\nGET {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_another_reader_could_take_otherwise_are_refused() {
    refuse_all(FIELDS).await;
}

const FIRST_LINES: &[(&str, &str, u16)] = &[
    ("HTTP/0.9", "GET {ep}/score\r\n{auth}\r\n", 400),
    ("no target", "GET HTTP/1.1\r\n{auth}\r\n", 400),
    ("empty target", "GET  HTTP/1.1\r\n{auth}\r\n", 400),
    ("two spaces after the method", "GET  {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two spaces before the version", "GET {ep}/score  HTTP/1.1\r\n{auth}\r\n", 400),
    ("space at the end", "GET {ep}/score HTTP/1.1 \r\n{auth}\r\n", 400),
    ("space at the start", " GET {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("tabs for spaces", "GET\t{ep}/score\tHTTP/1.1\r\n{auth}\r\n", 400),
    ("version in lower case", "GET {ep}/score http/1.1\r\n{auth}\r\n", 400),
    ("version 1.2", "GET {ep}/score HTTP/1.2\r\n{auth}\r\n", 400),
    ("version 1.10", "GET {ep}/score HTTP/1.10\r\n{auth}\r\n", 400),
    ("version 2.0", "GET {ep}/score HTTP/2.0\r\n{auth}\r\n", 400),
    ("version 0.9", "GET {ep}/score HTTP/0.9\r\n{auth}\r\n", 400),
    ("another protocol", "GET {ep}/score ICAP/1.0\r\n{auth}\r\n", 400),
    ("empty method", " {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("method that is no token", "G@T {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("method with a control", "GET\x01 {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("four parts", "GET {ep}/score x HTTP/1.1\r\n{auth}\r\n", 400),
    ("two empty lines before it", "\r\n\r\nGET {ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("TLS in clear text", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n", 400),
    ("CONNECT with an authority", "CONNECT gateway:443 HTTP/1.1\r\n{auth}\r\n", 405),
    ("CONNECT with a path", "CONNECT {ep}/score HTTP/1.1\r\n{auth}\r\n", 405),
    ("TRACE", "TRACE {ep}/score HTTP/1.1\r\n{auth}\r\n", 405),
    ("unknown expectation", "GET {ep}/score HTTP/1.1\r\n{auth}Expect: 200-ok\r\n\r\n", 417),
    (
        "expectation with a parameter",
        "GET {ep}/score HTTP/1.1\r\n{auth}Expect: 100-continue;a=b\r\n\r\n",
        417,
    ),
    (
        "second expectation",
        "GET {ep}/score HTTP/1.1\r\n{auth}Expect: 100-continue\r\nExpect: payment\r\n\r\n",
        417,
    ),
    ("h2c preface that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_lines_of_any_other_form_are_refused() {
    refuse_all(FIRST_LINES).await;
}

const HOSTS: &[(&str, &str, u16)] = &[
    ("missing", "GET {ep}/score HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n", 400),
    ("missing in 1.0", "GET {ep}/score HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n", 400),
    ("empty", "GET {ep}/score HTTP/1.1\r\nHost:\r\nAuthorization: Bearer {token}\r\n\r\n", 400),
    ("repeated", "GET {ep}/score HTTP/1.1\r\n{auth}Host: gateway\r\n\r\n", 400),
    ("repeated in another case", "GET {ep}/score HTTP/1.1\r\n{auth}hOST: other\r\n\r\n", 400),
    ("list", "GET {ep}/score HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("user", "GET {ep}/score HTTP/1.1\r\nHost: user@gateway\r\n\r\n", 400),
    ("path", "GET {ep}/score HTTP/1.1\r\nHost: gateway/x\r\n\r\n", 400),
    ("scheme", "GET {ep}/score HTTP/1.1\r\nHost: http://gateway\r\n\r\n", 400),
    ("query", "GET {ep}/score HTTP/1.1\r\nHost: gateway?x\r\n\r\n", 400),
    ("space", "GET {ep}/score HTTP/1.1\r\nHost: gate way\r\n\r\n", 400),
    ("percent escape", "GET {ep}/score HTTP/1.1\r\nHost: gate%77ay\r\n\r\n", 400),
    ("non-ASCII", "GET {ep}/score HTTP/1.1\r\nHost: g\u{e4}teway\r\n\r\n", 400),
    ("port only", "GET {ep}/score HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
    ("port in letters", "GET {ep}/score HTTP/1.1\r\nHost: gateway:http\r\n\r\n", 400),
    ("port beyond 65535", "GET {ep}/score HTTP/1.1\r\nHost: gateway:65536\r\n\r\n", 400),
    ("two ports", "GET {ep}/score HTTP/1.1\r\nHost: gateway:80:80\r\n\r\n", 400),
    ("open bracket", "GET {ep}/score HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("no address in brackets", "GET {ep}/score HTTP/1.1\r\nHost: [gateway]\r\n\r\n", 400),
    ("text behind brackets", "GET {ep}/score HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_are_none_are_refused() {
    refuse_all(HOSTS).await;
}

const LENGTHS: &[(&str, &str, u16)] = &[
    (
        "length, then coding",
        "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "coding, then length",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "coding and length 0",
        "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "equal lengths",
        "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0\r\ncontent-length: 5\r\n\r\n", 400),
    ("list of lengths", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0, 0\r\n\r\n", 400),
    ("length with a plus", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: +0\r\n\r\n", 400),
    ("length with a minus", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: -1\r\n\r\n", 400),
    ("length in hex", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0x0\r\n\r\n", 400),
    ("length with a point", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0.0\r\n\r\n", 400),
    ("length with an exponent", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0e0\r\n\r\n", 400),
    ("length with a space", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0 0\r\n\r\n", 400),
    ("empty length", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length:\r\n\r\n", 400),
    ("19 digits", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 0000000000000000000\r\n\r\n", 400),
    ("beyond 64 bits", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 18446744073709551616\r\n\r\n", 400),
    ("other digits", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: \u{660}\r\n\r\n", 400),
    ("another coding", "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    ("identity", "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    (
        "two codings",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked twice in one",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked twice",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked, then identity",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked with a comma",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked with a parameter",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked in quotes",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("xchunked", "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("empty coding", "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    (
        "chunked behind a vertical tab",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("coding in 1.0", "POST {ep}/score HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_with_two_readings_are_refused() {
    refuse_all(LENGTHS).await;
}

const TARGETS: &[(&str, &str, u16)] = &[
    ("another authority", "GET http://other{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("another port", "GET http://gateway:81{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("user in the authority", "GET http://user@gateway{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("another scheme", "GET ftp://gateway{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("https in clear text", "GET https://gateway{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("no authority", "GET http://{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("nothing but a scheme", "GET http:// HTTP/1.1\r\n{auth}\r\n", 400),
    ("empty host", "GET http://:80{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("open bracket", "GET http://[::1{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two ports", "GET http://gateway:80:80/ HTTP/1.1\r\n{auth}\r\n", 400),
    ("authority form", "GET gateway:80 HTTP/1.1\r\n{auth}\r\n", 400),
    ("a name", "GET score HTTP/1.1\r\n{auth}\r\n", 400),
    ("a colon", "GET : HTTP/1.1\r\n{auth}\r\n", 400),
    ("a query", "GET ?a=b HTTP/1.1\r\n{auth}\r\n", 400),
    ("asterisk", "OPTIONS * HTTP/1.1\r\n{auth}\r\n", 400),
    ("two slashes first", "GET //gateway{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("fragment", "GET {ep}/score#a HTTP/1.1\r\n{auth}\r\n", 400),
    ("fragment in the query", "GET {ep}/score?a#b HTTP/1.1\r\n{auth}\r\n", 400),
    ("backslash", "GET {ep}\\score HTTP/1.1\r\n{auth}\r\n", 400),
    ("backslash in the query", "GET {ep}/score?a\\b HTTP/1.1\r\n{auth}\r\n", 400),
    ("control", "GET {ep}/sc\x01ore HTTP/1.1\r\n{auth}\r\n", 400),
    ("NUL", "GET {ep}/score\0 HTTP/1.1\r\n{auth}\r\n", 400),
    ("DEL", "GET {ep}/score\x7f HTTP/1.1\r\n{auth}\r\n", 400),
    ("tab", "GET {ep}/sc\tore HTTP/1.1\r\n{auth}\r\n", 400),
    ("bare CR", "GET {ep}/sc\rore HTTP/1.1\r\n{auth}\r\n", 400),
    ("space", "GET {ep}/sc ore HTTP/1.1\r\n{auth}\r\n", 400),
    ("non-ASCII", "GET {ep}/scor\u{e9} HTTP/1.1\r\n{auth}\r\n", 400),
    ("non-ASCII in the query", "GET {ep}/score?\u{e9} HTTP/1.1\r\n{auth}\r\n", 400),
    ("quote", "GET {ep}/\"score\" HTTP/1.1\r\n{auth}\r\n", 400),
    ("angle brackets", "GET {ep}/<score> HTTP/1.1\r\n{auth}\r\n", 400),
    ("percent alone", "GET {ep}/score% HTTP/1.1\r\n{auth}\r\n", 400),
    ("half an escape", "GET {ep}/score%4 HTTP/1.1\r\n{auth}\r\n", 400),
    ("escape of letters", "GET {ep}/%zzscore HTTP/1.1\r\n{auth}\r\n", 400),
    ("bad escape in the query", "GET {ep}/score?a=%u0041 HTTP/1.1\r\n{auth}\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_are_no_plain_path_are_refused() {
    refuse_all(TARGETS).await;
}

const PATHS: &[(&str, &str, u16)] = &[
    ("dots with more bytes than they need", "GET {ep}/%c0%ae%c0%ae/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("a slash with more bytes than it needs", "GET {ep}/..%c0%afscore HTTP/1.1\r\n{auth}\r\n", 400),
    ("dot segment", "GET {ep}/./score HTTP/1.1\r\n{auth}\r\n", 400),
    ("dot segment at the end", "GET {ep}/. HTTP/1.1\r\n{auth}\r\n", 400),
    ("two dots", "GET {ep}/../my-ep/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two dots at the end", "GET {ep}/score/.. HTTP/1.1\r\n{auth}\r\n", 400),
    ("two dots before the endpoint", "GET /endpoints/other/..{ep}/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded dot", "GET {ep}/%2e/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded dots", "GET {ep}/%2e%2E/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("half encoded dots", "GET {ep}/.%2e/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("dots for the endpoint", "GET /endpoints/..%2fmy-ep/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two slashes", "GET {ep}//score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two slashes before the endpoint", "GET /endpoints//my-ep/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("two slashes in absolute form", "GET http://gateway{ep}//score HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded slash", "GET {ep}%2Fscore HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded backslash", "GET {ep}/a%5cscore HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded NUL", "GET {ep}/score%00 HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded CR and LF", "GET {ep}/score%0d%0aX-A:%20b HTTP/1.1\r\n{auth}\r\n", 400),
    ("encoded LF", "GET {ep}/score%0A HTTP/1.1\r\n{auth}\r\n", 400),
    ("dots encoded twice", "GET {ep}/%252e%252E/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("slash encoded twice", "GET {ep}/a%252fscore HTTP/1.1\r\n{auth}\r\n", 400),
    ("dots encoded three times", "GET {ep}/%25252e%25252e/score HTTP/1.1\r\n{auth}\r\n", 400),
    ("dot segment with a parameter", "GET {ep}/..;a=b/score HTTP/1.1\r\n{auth}\r\n", 400),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_with_two_readings_are_refused() {
    refuse_all(PATHS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_behind_a_good_one_is_refused_after_its_answer() {
    let picked = |table: &[(&'static str, &'static str, u16)], names: &[&str]| {
        table.iter().filter(|row| names.contains(&row.0)).copied().collect::<Vec<_>>()
    };
    let mut cases =
        picked(FIELDS, &["bare CR hides a field", "folded with a space", "bare LF as the empty line"]);
    cases.extend(picked(FIRST_LINES, &["HTTP/0.9", "CONNECT with an authority", "unknown expectation"]));
    cases.extend(picked(FIRST_LINES, &["two empty lines before it"]));
    cases.extend(picked(HOSTS, &["missing", "repeated"]));
    cases.extend(picked(LENGTHS, &["length, then coding", "two lengths", "coding in 1.0"]));
    cases.extend(picked(TARGETS, &["nothing but a scheme", "another authority", "fragment"]));
    cases.extend(picked(PATHS, &["two dots", "encoded slash"]));
    assert_eq!(cases.len(), 17);
    refuse_after_a_good_one(&cases).await;
}

/// Broken chunks show only once the request is on its way: no instance may ever see a whole request of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_with_two_readings_are_refused_and_cut() {
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(1100));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(6));
    let trailers = format!("2\r\n{{}}\r\n0\r\nX-A: {}\r\n\r\n", "x".repeat(9000));
    let cases: &[(&str, &str)] = &[
        ("no size", "\r\n{}\r\n0\r\n\r\n"),
        ("size in letters", "zz\r\n{}\r\n0\r\n\r\n"),
        ("size with a prefix", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("size with a plus", "+2\r\n{}\r\n0\r\n\r\n"),
        ("size with a minus", "-2\r\n{}\r\n0\r\n\r\n"),
        ("size behind a space", " 2\r\n{}\r\n0\r\n\r\n"),
        ("size before a space", "2 \r\n{}\r\n0\r\n\r\n"),
        ("size with an underscore", "0_2\r\n{}\r\n0\r\n\r\n"),
        ("size of 17 digits", "00000000000000002\r\n{}\r\n0\r\n\r\n"),
        ("size beyond 64 bits", "10000000000000002\r\n{}\r\n0\r\n\r\n"),
        ("bare LF after the size", "2\n{}\r\n0\r\n\r\n"),
        ("bare CR after the size", "2\r{}\r\n0\r\n\r\n"),
        ("bare LF after the data", "2\r\n{}\n0\r\n\r\n"),
        ("data longer than its size", "2\r\n{}}\r\n0\r\n\r\n"),
        ("data shorter than its size", "3\r\n{}\r\n0\r\n\r\n"),
        ("bare LF in an extension", "2;a\n{}\r\n0\r\n\r\n"),
        ("bare CR in an extension", "2;a\rb\r\n{}\r\n0\r\n\r\n"),
        ("NUL in an extension", "2;a\0\r\n{}\r\n0\r\n\r\n"),
        ("long extension", &long),
        ("many extensions", &many),
        ("bare LF after the last size", "2\r\n{}\r\n0\n\r\n"),
        ("bare LF at the end", "2\r\n{}\r\n0\r\n\n"),
        ("trailer without a colon", "2\r\n{}\r\n0\r\nX-A\r\n\r\n"),
        ("folded trailer", "2\r\n{}\r\n0\r\nX-A: a\r\n b\r\n\r\n"),
        ("bare LF in a trailer", "2\r\n{}\r\n0\r\nX-A: a\nX-B: b\r\n\r\n"),
        ("long trailers", &trailers),
        ("a request for a chunk", "GET {ep}/smuggled HTTP/1.1\r\n{auth}\r\n"),
    ];
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    for (case, body) in cases {
        let head = "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n";
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(&format!("{head}{body}{SMUGGLED}"), &token)).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        check_refusal(case, &answer, 400);
        assert!(raw.closes().await, "{case}: the connection goes on");
        assert!(blue.seen().iter().all(|seen| seen.cut), "{case}: {:?}", blue.seen());
    }
    // One that is whole, so that whatever was on its way has had its time.
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(fill(
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
        &token,
    ))
    .await;
    assert_eq!(raw.hear().await.unwrap().status, 200);
    let whole: Vec<_> = blue.seen().into_iter().filter(|seen| !seen.cut).collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
    assert_eq!(whole[0].body, b"{}");
    let counted = stand.metric("scoregate_security_bad_request{reason=\"chunk\"}").await;
    assert!(counted > 10.0, "{counted}");
    tried("chunks refused, the body cut at the instance", cases.len());
    stand.stop().await;
}

/// What stands next to what is refused: (case, message, first line at the instance, body there).
const GOOD: &[(&str, &str, &str, &str)] = &[
    ("one empty line first", "\r\nGET {ep}/score HTTP/1.1\r\n{auth}\r\n", "GET /score HTTP/1.1", ""),
    ("HTTP/1.0", "GET {ep}/score HTTP/1.0\r\n{auth}\r\n", "GET /score HTTP/1.1", ""),
    ("tab in a value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A: a\tb\r\n\r\n", "GET /score HTTP/1.1", ""),
    (
        "no space behind the colon",
        "GET {ep}/score HTTP/1.1\r\n{auth}X-A:a\r\n\r\n",
        "GET /score HTTP/1.1",
        "",
    ),
    ("empty value", "GET {ep}/score HTTP/1.1\r\n{auth}X-A:\r\n\r\n", "GET /score HTTP/1.1", ""),
    (
        "bytes above 127 in a value",
        "GET {ep}/score HTTP/1.1\r\n{auth}X-A: \u{e9}\r\n\r\n",
        "GET /score HTTP/1.1",
        "",
    ),
    (
        "every sign of a token",
        "GET {ep}/score HTTP/1.1\r\n{auth}X!#$%&'*+-.^`|~: a\r\n\r\n",
        "GET /score HTTP/1.1",
        "",
    ),
    ("a method of its own", "REPORT {ep}/x HTTP/1.1\r\n{auth}\r\n", "REPORT /x HTTP/1.1", ""),
    ("DELETE", "DELETE {ep}/x HTTP/1.1\r\n{auth}\r\n", "DELETE /x HTTP/1.1", ""),
    ("OPTIONS with a path", "OPTIONS {ep}/x HTTP/1.1\r\n{auth}\r\n", "OPTIONS /x HTTP/1.1", ""),
    (
        "host with a port",
        "GET {ep}/score HTTP/1.1\r\nHost: gateway:8080\r\nAuthorization: Bearer {token}\r\n\r\n",
        "GET /score HTTP/1.1",
        "",
    ),
    (
        "host that is an address",
        "GET {ep}/score HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Bearer {token}\r\n\r\n",
        "GET /score HTTP/1.1",
        "",
    ),
    (
        "absolute form",
        "GET http://gateway{ep}/score?a=b HTTP/1.1\r\n{auth}\r\n",
        "GET /score?a=b HTTP/1.1",
        "",
    ),
    ("absolute form in capitals", "GET HTTP://GATEWAY{ep}/x HTTP/1.1\r\n{auth}\r\n", "GET /x HTTP/1.1", ""),
    (
        "percent escapes",
        "GET {ep}/a%20b/%C3%A9?q=%2F%00 HTTP/1.1\r\n{auth}\r\n",
        "GET /a%20b/%C3%A9?q=%2F%00 HTTP/1.1",
        "",
    ),
    (
        "dots that are no segment",
        "GET {ep}/a..b/.c/...?../ HTTP/1.1\r\n{auth}\r\n",
        "GET /a..b/.c/...?../ HTTP/1.1",
        "",
    ),
    ("slash at the end", "GET {ep}/v1/ HTTP/1.1\r\n{auth}\r\n", "GET /v1/ HTTP/1.1", ""),
    (
        "slashes in the query",
        "GET {ep}/x?u=http://a//b HTTP/1.1\r\n{auth}\r\n",
        "GET /x?u=http://a//b HTTP/1.1",
        "",
    ),
    (
        "colon in the path",
        "POST {ep}/v1/m:predict HTTP/1.1\r\n{auth}Content-Length: 0\r\n\r\n",
        "POST /v1/m:predict HTTP/1.1",
        "",
    ),
    ("endpoint in capitals", "GET /endpoints/MY-EP/score HTTP/1.1\r\n{auth}\r\n", "GET /score HTTP/1.1", ""),
    ("length", "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 2\r\n\r\n{}", "POST /score HTTP/1.1", "{}"),
    (
        "18 digits",
        "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: 000000000000000002\r\n\r\n{}",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "length amid spaces",
        "POST {ep}/score HTTP/1.1\r\n{auth}Content-Length: \t 2 \r\n\r\n{}",
        "POST /score HTTP/1.1",
        "{}",
    ),
    ("GET with a body", "GET {ep}/x HTTP/1.1\r\n{auth}Content-Length: 2\r\n\r\n{}", "GET /x HTTP/1.1", "{}"),
    (
        "GET with chunks",
        "GET {ep}/x HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "GET /x HTTP/1.1",
        "{}",
    ),
    (
        "chunks",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "coding in capitals",
        "POST {ep}/score HTTP/1.1\r\n{auth}TRANSFER-ENCODING: ChUnKeD\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "16 digits of a chunk",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0000000000000002\r\n{}\r\n0\r\n\r\n",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "chunk extension",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\n{}\r\n0;c\r\n\r\n",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "several zeros for the end",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n000\r\n\r\n",
        "POST /score HTTP/1.1",
        "{}",
    ),
    (
        "no chunk but the last",
        "POST {ep}/score HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /score HTTP/1.1",
        "",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_neighbours_of_what_is_refused_pass() {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    for (number, (case, template, line, body)) in GOOD.iter().enumerate() {
        let mut raw = Raw::connect(stand.gateway.data).await;
        // Two at once: the second shows that the end of the first was found.
        raw.say(fill(template, &token)).await;
        if *case != "HTTP/1.0" {
            raw.say(fill("GET /endpoints/none/ HTTP/1.1\r\n{auth}\r\n", &token)).await;
        }
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, 200, "{case}: {} {}", answer.head, answer.json());
        if *case == "HTTP/1.0" {
            assert!(raw.closes().await, "{case}");
        } else {
            assert_eq!(raw.hear().await.map(|answer| answer.status), Some(404), "{case}");
        }
        assert_eq!(blue.count(), number + 1, "{case}");
        let seen = blue.seen().pop().unwrap();
        assert_eq!((seen.line(), seen.cut), (*line, false), "{case}");
        assert_eq!(String::from_utf8_lossy(&seen.body), *body, "{case}");
        let lengths = seen.all("content-length").len() + seen.all("transfer-encoding").len();
        assert!(lengths <= 1, "{case}: {}", seen.head);
    }
    tried("good messages, line and body as they should be at the instance", GOOD.len());
    stand.stop().await;
}

/// A client that begins a body for a request that is refused: (case, token, first line and fields, status).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_of_a_refused_request_is_never_a_request() {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("aad_token", &[&blue.url]).set("limits", "{ request_body: 1000000 }");
    let stand = Stand::start(plan).await;
    let (good, outsider) = (stand.token("scientist"), stand.token("outsider"));
    let smuggled = fill(SMUGGLED, &good);
    let cases: &[(&str, &str, &str, u16)] = &[
        ("no credential", "", "POST /endpoints/my-ep/score HTTP/1.1", 401),
        ("bad credential", "Authorization: Bearer nonsense\r\n", "POST /endpoints/my-ep/score HTTP/1.1", 401),
        ("no right", "{outsider}", "POST /endpoints/my-ep/score HTTP/1.1", 403),
        ("no endpoint", "{good}", "POST /endpoints/none/score HTTP/1.1", 404),
        ("bad path", "{good}", "POST /endpoints/my-ep//score HTTP/1.1", 400),
    ];
    for (case, credential, line, status) in cases {
        let credential = credential
            .replace("{good}", &format!("Authorization: Bearer {good}\r\n"))
            .replace("{outsider}", &format!("Authorization: Bearer {outsider}\r\n"));
        for size in [smuggled.len(), 200 * 1024, 900_000] {
            let case = format!("{case}, {size} bytes");
            let mut body = smuggled.repeat(size.div_ceil(smuggled.len()));
            body.truncate(size);
            for chunked in [false, true] {
                let framing = if chunked {
                    "Transfer-Encoding: chunked".to_owned()
                } else {
                    format!("Content-Length: {size}")
                };
                let start = if chunked { format!("{size:x}\r\n") } else { String::new() };
                let mut raw = Raw::connect(stand.gateway.data).await;
                raw.say(format!("{line}\r\nHost: gateway\r\n{credential}{framing}\r\n\r\n{start}{body}"))
                    .await;
                let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
                check_refusal(&case, &answer, *status);
                // Either the rest was read and dropped, or the connection ends.
                if chunked {
                    raw.say("\r\n0\r\n\r\n").await;
                }
                raw.say("GET /endpoints/none/ HTTP/1.1\r\nHost: gateway\r\n\r\n").await;
                if let Some(next) = raw.hear().await {
                    assert_eq!(next.status, 404, "{case}: {}", next.head);
                }
                assert_eq!(blue.connections(), 0, "{case}");
            }
        }
    }
    // By its length alone, before a byte of it.
    for size in [1_000_001, 999_999_999_999_999_999_u64] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(
            &format!("POST {{ep}}/score HTTP/1.1\r\n{{auth}}Content-Length: {size}\r\n\r\n{SMUGGLED}"),
            &good,
        ))
        .await;
        let answer = raw.hear().await.unwrap();
        check_refusal("too large", &answer, 413);
        assert!(raw.closes().await);
        assert_eq!(blue.connections(), 0);
    }
    tried("refusals of requests with bodies, no instance touched", cases.len());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_asked_for_only_after_authorization() {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("aad_token", &[&blue.url]).set("limits", "{ request_body: 1000 }");
    let stand = Stand::start(plan).await;
    let (good, outsider) = (stand.token("scientist"), stand.token("outsider"));
    let ask = |credential: &str, length: u64| {
        format!(
            "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\n{credential}Content-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (case, credential, length, status) in [
        ("no credential", String::new(), 2, 401),
        ("no right", bearer(&outsider), 2, 403),
        ("too large", bearer(&good), 1001, 413),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(ask(&credential, length)).await;
        check_refusal(case, &raw.hear().await.unwrap(), status);
        assert!(raw.closes().await, "{case}: a body that was not asked for is not waited for");
        assert_eq!(blue.connections(), 0, "{case}");
    }
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(ask(&bearer(&good), 2)).await;
    assert_eq!(raw.hear().await.unwrap().status, 100);
    raw.say("{}").await;
    assert_eq!(raw.hear().await.unwrap().status, 200);
    let seen = blue.seen().remove(0);
    assert_eq!((seen.body.as_slice(), seen.all("expect").len()), (&b"{}"[..], 0));
    // A body that comes unasked is taken, too.
    raw.say(format!("{}{{}}", ask(&bearer(&good), 2))).await;
    let mut answer = raw.hear().await.unwrap();
    if answer.status == 100 {
        answer = raw.hear().await.unwrap();
    }
    assert_eq!((answer.status, blue.count()), (200, 2));
    stand.stop().await;
}

/// Fields that no instance may see as a client wrote them.
const FORGED: &[&str] = &[
    "Proxy-Authorization",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Anything",
    "Cookie",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Client-Cert",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-Host",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-ID",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-MS-CLIENT-PRINCIPAL-IDP",
    "X-MS-CLIENT-PRINCIPAL-TYPE",
    "X-MS-CLIENT-TENANT-ID",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "Remote-User",
    "X-Request-Id",
    "X-MS-Request-Id",
    "traceparent",
];

/// Every name in its own and in other spellings, on one request each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_say_what_only_the_gateway_may_say() {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    let mut raw = Raw::connect(stand.gateway.data).await;
    for name in FORGED {
        let spellings = [
            (*name).to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1).to_lowercase(),
        ];
        let fields = spellings.map(|name| format!("{name}: evil-42\r\n")).concat();
        raw.say(fill(&format!("GET {{ep}}/x HTTP/1.1\r\n{{auth}}{fields}X-Kept: yes\r\n\r\n"), &token)).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.head);
        assert!(!answer.head.contains("evil-42"), "{name}: {}", answer.head);
        let seen = blue.seen().pop().unwrap();
        assert!(!seen.head.contains("evil-42"), "{name} got through:\n{}", seen.head);
        check_set_once(&seen.head, &answer);
        assert_eq!(seen.field("x-kept"), Some("yes"));
    }
    assert_eq!(blue.count(), FORGED.len());
    let forged = stand.metric("scoregate_security_header_stripped{reason=\"forged\"}").await;
    let underscore = stand.metric("scoregate_security_header_stripped{reason=\"underscore\"}").await;
    assert!(forged >= 20.0 && underscore >= 40.0, "{forged} {underscore}");
    tried("forged fields in all spellings, none at the instance", FORGED.len());
    stand.stop().await;
}

/// What the gateway says is there exactly once and is its own.
fn check_set_once(head: &str, answer: &Answer) {
    let all = |name: &str| {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.to_lowercase().replace('_', "-") == name)
            .map(|(_, value)| value.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let scientist = object_id("scientist").to_string();
    let id = answer.field("x-request-id").unwrap();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "gateway"),
        ("azureml-model-deployment", "blue"),
        ("x-ms-client-principal-id", scientist.as_str()),
        ("x-request-id", id),
        ("x-ms-request-id", id),
    ] {
        assert_eq!(all(name), [value], "{name} in\n{head}");
    }
    for name in ["host", "traceparent", "x-ms-client-principal-type", "x-ms-client-tenant-id"] {
        assert_eq!(all(name).len(), 1, "{name} in\n{head}");
    }
    for name in ["authorization", "cookie", "connection", "te", "upgrade", "forwarded"] {
        assert_eq!(all(name).len(), 0, "{name} in\n{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_cannot_take_away_what_the_gateway_says() {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    let cases: &[(&str, &str)] = &[
        ("one name", "Connection: x-request-id\r\n"),
        (
            "many names",
            "Connection: x-ms-client-principal-id, X-Forwarded-For,x-ms-request-id , traceparent\r\n",
        ),
        ("several fields", "Connection: x-forwarded-proto\r\nconnection: azureml-model-deployment\r\n"),
        ("credential and length", "Connection: authorization, content-length\r\n"),
        ("host", "Connection: host, x-forwarded-host\r\n"),
        ("coding", "Connection: transfer-encoding\r\n"),
        ("keep-alive", "Connection: keep-alive, X-Forwarded-For\r\nKeep-Alive: timeout=5\r\n"),
        ("underscores", "Connection: x_request_id, x_forwarded_for\r\n"),
        ("nonsense", "Connection: ,, \"x\", x-request-id;a, @\r\n"),
        ("itself", "Connection: connection\r\n"),
        (
            "upgrade to h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ),
        (
            "upgrade to WebSocket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ),
    ];
    for (number, (case, fields)) in cases.iter().enumerate() {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(
            &format!("POST {{ep}}/score HTTP/1.1\r\n{{auth}}{fields}Content-Length: 2\r\n\r\n{{}}"),
            &token,
        ))
        .await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, 200, "{case}: {}", answer.head);
        assert_eq!(blue.count(), number + 1, "{case}");
        let seen = blue.seen().pop().unwrap();
        check_set_once(&seen.head, &answer);
        assert_eq!((seen.body.as_slice(), seen.field("content-length")), (&b"{}"[..], Some("2")), "{case}");
    }
    // A field that is the client's own goes with the connection that it names it for.
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(fill("GET {ep}/x HTTP/1.1\r\n{auth}Connection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n", &token))
        .await;
    assert_eq!(raw.hear().await.unwrap().status, 200);
    let seen = blue.seen().pop().unwrap();
    assert_eq!((seen.field("x-hop"), seen.field("x-end")), (None, Some("2")));
    tried("connection fields, the gateway's own whole at the instance", cases.len());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_of_a_client_are_dropped() {
    let (stand, blue) = stand("").await;
    let token = stand.token("scientist");
    for trailer in [
        "X-Forwarded-For: evil-42",
        "Authorization: Bearer evil-42",
        "Content-Length: 7",
        "X-MS-CLIENT-PRINCIPAL-ID: evil-42",
        "X-Any: evil-42\r\nX-More: evil-42",
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(
            &format!(
                "POST {{ep}}/score HTTP/1.1\r\n{{auth}}Trailer: X-Any\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\n{{}}\r\n0\r\n{trailer}\r\n\r\n"
            ),
            &token,
        ))
        .await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{trailer}: no answer"));
        assert_eq!(answer.status, 200, "{trailer}: {}", answer.head);
        let seen = blue.seen().pop().unwrap();
        assert_eq!((seen.body.as_slice(), seen.trailers.len()), (&b"{}"[..], 0), "{trailer}");
        check_set_once(&seen.head, &answer);
        assert!(!seen.head.contains("evil-42"));
    }
    // No credential ever comes from a trailer.
    let mut raw = Raw::connect(stand.gateway.data).await;
    raw.say(format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.hear().await.unwrap().status, 401);
    assert_eq!(blue.count(), 5);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_and_the_credential_go_on_only_where_a_deployment_says_so() {
    let fields = "Cookie: a=1\r\ncookie: b=2; c=3\r\nCookie: d=4\r\nConnection: authorization\r\n";
    for (more, cookie, authorization) in [
        ("", None, false),
        ("forward_cookies: true\n", Some("a=1; b=2; c=3; d=4"), false),
        ("forward_authorization: true\n", None, true),
        ("forward_cookies: true\nforward_authorization: true\n", Some("a=1; b=2; c=3; d=4"), true),
    ] {
        let (stand, blue) = stand(more).await;
        let token = stand.token("scientist");
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(&format!("GET {{ep}}/x HTTP/1.1\r\n{{auth}}{fields}\r\n"), &token)).await;
        assert_eq!(raw.hear().await.unwrap().status, 200, "{more}");
        let seen = blue.seen().remove(0);
        assert_eq!(seen.field("cookie"), cookie, "{more}");
        let bearer = format!("Bearer {token}");
        assert_eq!(seen.field("authorization"), authorization.then_some(bearer.as_str()), "{more}");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trusted_proxy_says_about_the_client_is_kept_and_its_own_address_joined() {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("aad_token", &[&blue.url]).data_plane("trusted_proxies: [ 127.0.0.0/8 ]");
    let stand = Stand::start(plan).await;
    let token = stand.token("scientist");
    for (said, kept) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7, 127.0.0.1"),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7, 127.0.0.1"),
        ("X-Forwarded-For: nonsense\r\n", "127.0.0.1"),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(fill(&format!("GET {{ep}}/x HTTP/1.1\r\n{{auth}}{said}\r\n"), &token)).await;
        assert_eq!(raw.hear().await.unwrap().status, 200);
        assert_eq!(blue.seen().pop().unwrap().field("x-forwarded-for"), Some(kept), "{said}");
    }
    stand.stop().await;
}

/// Many clients at once, of which some send what is refused: nobody gets another's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_never_mixed_up() {
    let echo = Instance::scripted(Arc::new(|seen| (ok(&format!("\"{}\"", seen.line())), false))).await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&echo.url])).await;
    let (token, address) = (stand.token("scientist"), stand.gateway.data);
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let token = token.clone();
            tokio::spawn(async move {
                let mut raw = Raw::connect(address).await;
                let mut all = String::new();
                for number in 0..8 {
                    all.push_str(&fill(
                        &format!("GET {{ep}}/{client}/{number} HTTP/1.1\r\n{{auth}}\r\n"),
                        &token,
                    ));
                }
                raw.say(all + "BAD\r\n\r\n").await;
                for number in 0..8 {
                    let answer = raw.hear().await.unwrap();
                    assert_eq!(answer.body, format!("\"GET /{client}/{number} HTTP/1.1\"").as_bytes());
                }
                assert_eq!(raw.hear().await.unwrap().status, 400);
                assert!(raw.closes().await);
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(echo.count(), 16 * 8);
    until("the refusals are counted", async || {
        stand.metric("scoregate_security_bad_request{reason=\"request_line\"}").await >= 16.0
    })
    .await;
    stand.stop().await;
}

/// A refusal comes once the rest of a short body is gone, so that the connection can go on; else it says that it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_whether_its_connection_goes_on() {
    let (stand, blue) = stand("").await;
    let refused = "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer none\r\n";
    for (case, fields, body, goes_on) in [
        ("a body that comes behind its head", "Content-Length: 2\r\n", "{}", true),
        ("chunks", "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", true),
        ("a long body", "Content-Length: 300000\r\n", "", false),
        (
            "one that is not sent before it is asked for",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "",
            false,
        ),
    ] {
        let mut raw = Raw::connect(stand.gateway.data).await;
        raw.say(format!("{refused}{fields}\r\n")).await;
        // The gateway has the head alone for as long as it takes to refuse it.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        raw.say(body).await;
        let answer = raw.hear().await.unwrap_or_else(|| panic!("{case}: no answer"));
        assert_eq!(answer.status, 401, "{case}");
        assert_eq!(answer.field("connection"), (!goes_on).then_some("close"), "{case}");
        if goes_on {
            raw.say(fill("GET {ep}/score HTTP/1.1\r\n{auth}\r\n", &stand.token("scientist"))).await;
            assert_eq!(raw.hear().await.expect("the next answer").status, 200, "{case}");
        } else {
            assert!(raw.closes().await, "{case}");
        }
    }
    assert_eq!(blue.count(), 2);
    stand.stop().await;
}
