//! One request: its fields, its path, its body (RFC 9113 section 8).

use super::Got::{self, Leave, Reset, Status};
use super::World;
use crate::messages::tried;
use crate::support::frames::*;
use crate::support::until;

/// A change of a good request, what the client gets, and whether the instance sees it.
type Case = (&'static str, fn(&mut Fields) -> &mut Fields, Got, usize);

const FIELDS: &[Case] = &[
    ("nothing changed", |f| f, Status(200), 1),
    ("connection", |f| f.add("connection", "close"), Reset(PROTOCOL_ERROR), 0),
    ("keep-alive", |f| f.add("keep-alive", "timeout=5"), Reset(PROTOCOL_ERROR), 0),
    ("proxy-connection", |f| f.add("proxy-connection", "close"), Reset(PROTOCOL_ERROR), 0),
    ("transfer-encoding", |f| f.add("transfer-encoding", "chunked"), Reset(PROTOCOL_ERROR), 0),
    ("upgrade", |f| f.add("upgrade", "h2c"), Reset(PROTOCOL_ERROR), 0),
    ("te that is not trailers", |f| f.add("te", "gzip"), Reset(PROTOCOL_ERROR), 0),
    ("te that is two things", |f| f.add("te", "trailers, gzip"), Reset(PROTOCOL_ERROR), 0),
    ("te: trailers", |f| f.add("te", "trailers"), Status(200), 1),
    ("http2-settings", |f| f.add("http2-settings", "AAMAAABk"), Status(200), 1),
    ("upper case in a name", |f| f.add("X-Upper", "a"), Leave(PROTOCOL_ERROR), 0),
    ("upper case in the credential's name", |f| f.add("Authorization", "a"), Leave(PROTOCOL_ERROR), 0),
    ("space in a name", |f| f.add("x a", "a"), Leave(PROTOCOL_ERROR), 0),
    ("colon in a name", |f| f.add("x:a", "a"), Leave(PROTOCOL_ERROR), 0),
    ("CR LF in a name", |f| f.add("x\r\ny", "a"), Leave(PROTOCOL_ERROR), 0),
    ("NUL in a name", |f| f.add("x\0", "a"), Leave(PROTOCOL_ERROR), 0),
    ("a name that is empty", |f| f.add("", "a"), Leave(PROTOCOL_ERROR), 0),
    ("a name that is not ASCII", |f| f.add("x\u{e9}", "a"), Leave(PROTOCOL_ERROR), 0),
    ("CR in a value", |f| f.add("x-a", "a\rb"), Leave(PROTOCOL_ERROR), 0),
    ("LF in a value", |f| f.add("x-a", "a\nb"), Leave(PROTOCOL_ERROR), 0),
    ("a field in a value", |f| f.add("x-a", "a\r\nx-real-ip: 6.6.6.6"), Leave(PROTOCOL_ERROR), 0),
    (
        "a request in a value",
        |f| f.add("x-a", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        Leave(PROTOCOL_ERROR),
        0,
    ),
    ("NUL in a value", |f| f.add("x-a", "a\0b"), Leave(PROTOCOL_ERROR), 0),
    ("DEL in a value", |f| f.add("x-a", "a\x7fb"), Leave(PROTOCOL_ERROR), 0),
    ("two credentials", |f| f.add("authorization", "Bearer a"), Status(401), 0),
    ("an unknown expectation", |f| f.add("expect", "200-ok"), Status(417), 0),
];

const PSEUDO: &[Case] = &[
    ("no method", |f| f.drop(":method"), Reset(PROTOCOL_ERROR), 0),
    ("no scheme", |f| f.drop(":scheme"), Reset(PROTOCOL_ERROR), 0),
    ("no path", |f| f.drop(":path"), Reset(PROTOCOL_ERROR), 0),
    ("an empty path", |f| f.set(":path", ""), Reset(PROTOCOL_ERROR), 0),
    ("an empty method", |f| f.set(":method", ""), Leave(PROTOCOL_ERROR), 0),
    ("a method that is none", |f| f.set(":method", "GET /x HTTP/1.1\r\nx: "), Leave(PROTOCOL_ERROR), 0),
    ("a scheme that is none", |f| f.set(":scheme", "ht tp"), Reset(PROTOCOL_ERROR), 0),
    ("two methods", |f| f.first(":method", "GET"), Reset(PROTOCOL_ERROR), 0),
    ("two paths", |f| f.first(":path", "/"), Reset(PROTOCOL_ERROR), 0),
    ("two authorities", |f| f.first(":authority", "gateway"), Reset(PROTOCOL_ERROR), 0),
    ("a pseudo-field behind a field", |f| f.drop(":path").add(":path", "/"), Reset(PROTOCOL_ERROR), 0),
    ("a status", |f| f.first(":status", "200"), Reset(PROTOCOL_ERROR), 0),
    ("one that is unknown", |f| f.first(":x", "a"), Leave(PROTOCOL_ERROR), 0),
    ("a protocol without CONNECT", |f| f.first(":protocol", "websocket"), Reset(PROTOCOL_ERROR), 0),
    (
        "extended CONNECT",
        |f| f.set(":method", "CONNECT").first(":protocol", "websocket"),
        Reset(PROTOCOL_ERROR),
        0,
    ),
    ("CONNECT", |f| f.set(":method", "CONNECT").drop(":scheme").drop(":path"), Status(405), 0),
    ("CONNECT with a path", |f| f.set(":method", "CONNECT"), Reset(PROTOCOL_ERROR), 0),
    ("TRACE", |f| f.set(":method", "TRACE"), Status(405), 0),
    ("a method of its own", |f| f.set(":method", "PURGE"), Status(200), 1),
];

const HOSTS: &[Case] = &[
    ("host that is the authority", |f| f.add("host", "gateway"), Status(200), 1),
    ("host that is not", |f| f.add("host", "other"), Status(400), 0),
    ("host with another port", |f| f.add("host", "gateway:81"), Status(400), 0),
    ("two hosts", |f| f.add("host", "gateway").add("host", "gateway"), Status(400), 0),
    ("host alone", |f| f.drop(":authority").add("host", "gateway"), Status(200), 1),
    ("neither", |f| f.drop(":authority"), Status(400), 0),
    ("an empty authority", |f| f.set(":authority", ""), Reset(PROTOCOL_ERROR), 0),
    ("userinfo", |f| f.set(":authority", "a@gateway"), Status(400), 0),
    ("a path in it", |f| f.set(":authority", "gateway/x"), Reset(PROTOCOL_ERROR), 0),
    ("a comma in it", |f| f.set(":authority", "gateway,other"), Status(400), 0),
    ("CR LF in it", |f| f.set(":authority", "gateway\r\nx: a"), Reset(PROTOCOL_ERROR), 0),
];

const PATHS: &[Case] = &[
    ("a query", |f| f.set(":path", "/endpoints/my-ep/score?a=b"), Status(200), 1),
    ("dots", |f| f.set(":path", "/endpoints/other/../my-ep/score"), Status(400), 0),
    ("one dot", |f| f.set(":path", "/endpoints/my-ep/./score"), Status(400), 0),
    ("encoded dots", |f| f.set(":path", "/endpoints/my-ep/%2e%2E/x"), Status(400), 0),
    ("dots encoded twice", |f| f.set(":path", "/endpoints/my-ep/%252e%252e/x"), Status(400), 0),
    ("two slashes", |f| f.set(":path", "/endpoints/my-ep//score"), Status(400), 0),
    ("an encoded slash", |f| f.set(":path", "/endpoints/my-ep%2fscore"), Status(400), 0),
    ("an encoded backslash", |f| f.set(":path", "/endpoints/my-ep/a%5cb"), Status(400), 0),
    ("a backslash", |f| f.set(":path", "/endpoints/my-ep/a\\b"), Status(400), 0),
    ("an encoded NUL", |f| f.set(":path", "/endpoints/my-ep/a%00"), Status(400), 0),
    ("encoded CR LF", |f| f.set(":path", "/endpoints/my-ep/a%0d%0a"), Status(400), 0),
    ("half an escape", |f| f.set(":path", "/endpoints/my-ep/a%2"), Status(400), 0),
    ("a space", |f| f.set(":path", "/endpoints/my-ep/a b"), Reset(PROTOCOL_ERROR), 0),
    ("CR LF", |f| f.set(":path", "/endpoints/my-ep/a HTTP/1.1\r\nx: "), Reset(PROTOCOL_ERROR), 0),
    ("NUL", |f| f.set(":path", "/endpoints/my-ep/a\0"), Reset(PROTOCOL_ERROR), 0),
    ("not ASCII", |f| f.set(":path", "/endpoints/my-ep/\u{e9}"), Status(400), 0),
    // The parser cuts it off, so that nobody behind gets to see it.
    ("a fragment", |f| f.set(":path", "/endpoints/my-ep/score#a"), Status(200), 1),
    ("a path in a fragment", |f| f.set(":path", "/endpoints/my-ep/score#/../../x?a=b"), Status(200), 1),
    ("a fragment in a query", |f| f.set(":path", "/endpoints/my-ep/score?a=b#c"), Status(200), 1),
    ("an endpoint in a fragment", |f| f.set(":path", "/endpoints/other#/../my-ep/score"), Status(404), 0),
    ("an asterisk", |f| f.set(":path", "*"), Status(400), 0),
    ("no slash", |f| f.set(":path", "endpoints/my-ep/score"), Reset(PROTOCOL_ERROR), 0),
    ("a whole address", |f| f.set(":path", "http://gateway/endpoints/my-ep/score"), Reset(PROTOCOL_ERROR), 0),
    ("too long", |f| f.set(":path", format!("/endpoints/my-ep/{}", "a".repeat(16_400))), Status(414), 0),
];

/// Each is said on a connection of its own, with a body of two bytes; and afterwards the gateway is as it was.
async fn try_all(cases: &[Case]) {
    let world = World::start("{}", "").await;
    let mut wrong = Vec::new();
    for (case, change, expected, seen) in cases {
        let before = world.blue.count();
        let mut fields = world.score();
        change(&mut fields);
        let mut wire = world.wire().await;
        // Long blocks go in pieces.
        let block = fields.block();
        let (first, rest) = block.split_at(block.len().min(16_384));
        let ends = if rest.is_empty() { END_HEADERS } else { 0 };
        wire.say(frame(HEADERS, ends, 1, first)).await;
        if !rest.is_empty() {
            wire.say(frame(CONTINUATION, END_HEADERS, 1, rest)).await;
        }
        wire.say(frame(DATA, END_STREAM, 1, "{}")).await;
        let got = world.got(&mut wire, 1).await;
        let reached = world.blue.count() - before;
        if (got, reached) != (*expected, *seen) {
            wrong.push(format!("{case}: {got:?} and {reached} seen, not {expected:?} and {seen}"));
        }
        if let Leave(_) = got {
            wire.leave().await;
        } else {
            // The connection is as good as before.
            wire.say(world.score().with(3, "{}")).await;
            assert_eq!(world.got(&mut wire, 3).await, Status(200), "after {case}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    tried("HTTP/2 requests by hand, as they should or should not be seen", cases.len());
    let refused = cases.iter().filter(|(.., got, _)| matches!(got, Reset(_) | Leave(_))).count();
    let counted = async || world.counted("bad_request", "h2").await.to_string() == refused.to_string();
    until("what was not sound is counted, each once", counted).await;
    assert!(world.stand.metric("scoregate_panics_total").await < 0.5);
    for seen in world.blue.seen() {
        assert!(!seen.head.contains("http2-settings") && !seen.head.contains("evil"), "{}", seen.head);
        assert!(seen.all("host").len() == 1, "{}", seen.head);
        let target = seen.line().split(' ').nth(1).unwrap();
        assert!(["/score", "/score?a=b"].contains(&target), "{}", seen.head);
    }
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_sound_or_refused() {
    try_all(FIELDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudo_fields_are_sound_or_refused() {
    try_all(PSEUDO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_host() {
    try_all(HOSTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_have_one_reading() {
    try_all(PATHS).await;
}

/// Frames of one stream behind a good head, and what became of it. The instance sees a whole request or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_agrees_with_the_data() {
    let world = World::start("{}", "").await;
    let with = |length: &str| {
        let mut fields = world.score();
        for length in length.split('&') {
            fields.add("content-length", length);
        }
        fields
    };
    let data = |flags: u8, body: &str| frame(DATA, flags, 1, body);
    let end = END_STREAM;
    let cases: Vec<(&str, Vec<Vec<u8>>, Got, usize)> = vec![
        ("agrees", vec![with("2").with(1, "{}")], Status(200), 1),
        ("in two frames", vec![with("2").open(1), data(0, "{"), data(end, "}")], Status(200), 1),
        ("and an empty end", vec![with("2").open(1), data(0, "{}"), data(end, "")], Status(200), 1),
        ("padded", vec![with("2").open(1), frame(DATA, end | PADDED, 1, b"\x03{}\0\0\0")], Status(200), 1),
        ("too little data", vec![with("3").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("too much data", vec![with("1").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("too much data, no end", vec![with("1").open(1), data(0, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("no data", vec![with("2").alone(1)], Reset(PROTOCOL_ERROR), 0),
        ("none, and there is some", vec![with("0").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("not a number", vec![with("2x").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("a sign", vec![with("+2").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("negative", vec![with("-2").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("a list", vec![with("2, 2").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("empty", vec![with("").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("twice", vec![with("2&2").with(1, "{}")], Status(400), 0),
        ("two of them", vec![with("2&3").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("larger than a number", vec![with("99999999999999999999").with(1, "{}")], Reset(PROTOCOL_ERROR), 0),
        ("larger than a body may be", vec![with("999999999999").open(1)], Status(413), 0),
        (
            "trailers come too early",
            vec![with("3").open(1), data(0, "{}"), frame(HEADERS, 5, 1, field("x-t", "a"))],
            Reset(PROTOCOL_ERROR),
            0,
        ),
        (
            "trailers without an end",
            vec![world.score().open(1), data(0, "{}"), frame(HEADERS, 4, 1, field("x-t", "a"))],
            Reset(PROTOCOL_ERROR),
            0,
        ),
    ];
    for (case, frames, expected, seen) in cases {
        let whole = |world: &World| world.blue.seen().iter().filter(|seen| !seen.cut).count();
        let before = whole(&world);
        let mut wire = world.wire().await;
        wire.say(frames.concat()).await;
        assert_eq!(world.got(&mut wire, 1).await, expected, "{case}");
        wire.say(world.score().with(3, "{}")).await;
        assert_eq!(world.got(&mut wire, 3).await, Status(200), "after {case}");
        assert_eq!(whole(&world) - before, seen + 1, "{case}");
    }
    for seen in world.blue.seen().iter().filter(|seen| !seen.cut) {
        assert_eq!(seen.body, b"{}");
    }
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_of_a_client_are_dropped() {
    let world = World::start("{}", "").await;
    for (name, value) in [
        ("x-forwarded-for", "evil-42"),
        ("authorization", "Bearer evil-42"),
        ("content-length", "42"),
        ("x-any", "evil-42"),
    ] {
        let mut wire = world.wire().await;
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, field(name, value));
        wire.say([world.score().open(1), frame(DATA, 0, 1, "{}"), trailers].concat()).await;
        assert_eq!(world.got(&mut wire, 1).await, Status(200), "{name}");
        let seen = world.blue.seen().pop().unwrap();
        assert_eq!((seen.body.as_slice(), seen.trailers.len()), (&b"{}"[..], 0), "{name}");
        assert!(!seen.head.contains("42\r\n") || name == "content-length", "{}", seen.head);
    }
    // No credential comes from them, and no pseudo-field.
    let mut wire = world.wire().await;
    let mut nobody = world.score();
    nobody.drop("authorization");
    let credential = field("authorization", format!("Bearer {}", world.key));
    wire.say([nobody.open(1), frame(HEADERS, 5, 1, credential)].concat()).await;
    assert_eq!(world.got(&mut wire, 1).await, Status(401));
    assert_eq!(world.blue.count(), 4);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_are_joined_and_deceiving_names_are_dropped() {
    let world = World::start("{}", "forward_cookies: true\n").await;
    let mut wire = world.wire().await;
    let mut fields = world.score();
    fields.add("cookie", "a=1").add("cookie", "b=2; c=3").add("cookie", "d=4");
    for name in ["x_forwarded_for", "x_real_ip", "x-forwarded-for", "x-ms-client-principal-id", "forwarded"] {
        fields.add(name, "evil-42");
    }
    wire.say(fields.with(1, "{}")).await;
    assert_eq!(world.got(&mut wire, 1).await, Status(200));
    let seen = world.blue.seen().remove(0);
    assert_eq!(seen.field("cookie"), Some("a=1; b=2; c=3; d=4"));
    assert!(!seen.head.contains("evil-42"), "{}", seen.head);
    assert!(world.counted("header_stripped", "underscore").await >= 2.0);
    assert!(world.counted("header_stripped", "forged").await >= 3.0);
    world.stand.stop().await;
}
