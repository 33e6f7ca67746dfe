//! Whether a head is one that can be decided about: one host, one path with one reading, nothing unexpected.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ipnet::IpNet;
use percent_encoding::percent_decode;

use crate::gate::fault::{Fault, Reason};
use crate::net::conn::Conn;
use crate::net::framing::{HeadLimits, Violation, is_host, is_target};

/// What the steps after this one go by.
#[derive(Debug)]
pub struct Received<'a> {
    /// The host as the client wrote it, port included.
    pub authority: &'a str,
    /// The host in lower case, without its port.
    pub host: Cow<'a, str>,
    /// The path, which has only one reading.
    pub path: &'a str,
}

fn malformed(detail: &'static str) -> Fault {
    Fault::new(Reason::Malformed).detail(detail).close()
}

/// A message that broke a rule before it was a request.
pub(super) fn refused(violation: Violation) -> Fault {
    match violation {
        Violation::Malformed(rule) => malformed(rule),
        Violation::LineTooLong => Fault::new(Reason::UriTooLong).close(),
        Violation::FieldsTooLarge => Fault::new(Reason::HeadersTooLarge).close(),
    }
}

/// What is read of a refused request's body so that its connection can go on, and for how long.
const UNREAD_BYTES: u64 = 256 * 1024;
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// Reads the body of a refused request to its end; false if it is too long for that, or too slow.
pub(super) async fn drained(mut body: Incoming) -> bool {
    if body.size_hint().lower() > UNREAD_BYTES {
        return false;
    }
    let reading = async {
        let mut left = UNREAD_BYTES;
        while let Some(frame) = body.frame().await {
            let length = frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            left = left.checked_sub(length)?;
        }
        Some(())
    };
    tokio::time::timeout(UNREAD_TIME, reading).await.is_ok_and(|read| read.is_some())
}

/// Checks a head.
pub fn receive<'a>(head: &'a Parts, conn: &Conn, limits: &HeadLimits) -> Result<Received<'a>, Fault> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Fault::new(Reason::MethodNotAllowed).close());
    }
    let authority = authority(head, conn)?;
    let known = |expected: &HeaderValue| expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !head.headers.get_all(EXPECT).iter().all(known) {
        return Err(Fault::new(Reason::ExpectationFailed).close());
    }
    let path = head.uri.path();
    if head.version == Version::HTTP_2 {
        check_unfollowed(head, limits)?;
    }
    check_path(path).map_err(malformed)?;
    let host = host_of(authority);
    let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    if conn.server_name().is_some_and(|name| *name != *host) {
        return Err(Fault::new(Reason::Misdirected));
    }
    Ok(Received { authority, host, path })
}

/// What the guard checks of an HTTP/1 head, for one that it did not follow.
fn check_unfollowed(head: &Parts, limits: &HeadLimits) -> Result<(), Fault> {
    let target = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if target.len() > limits.line {
        return Err(Fault::new(Reason::UriTooLong));
    }
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let too_large = head.headers.iter().any(|pair| field(pair) > limits.field);
    if too_large
        || head.headers.len() > limits.count
        || head.headers.iter().map(field).sum::<usize>() > limits.fields
    {
        return Err(Fault::new(Reason::HeadersTooLarge));
    }
    if !is_target(target.as_bytes()) {
        return Err(malformed("target"));
    }
    let digits = |value: &HeaderValue| {
        (1..=18).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_digit)
    };
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if !lengths.next().is_none_or(digits) || lengths.next().is_some() {
        return Err(malformed("content_length"));
    }
    Ok(())
}

/// The one authority of a request: `Host`, or `:authority`, or both if they are the same (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn authority<'a>(head: &'a Parts, conn: &Conn) -> Result<&'a str, Fault> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(|value| value.to_str().map_err(|_| malformed("host"))).transpose()?;
    if hosts.next().is_some() {
        return Err(malformed("host"));
    }
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    let scheme = if conn.tls { "https" } else { "http" };
    let other_scheme =
        head.version != Version::HTTP_2 && head.uri.scheme_str().is_some_and(|found| found != scheme);
    let authority = match (target, host) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            return Err(malformed("two_hosts"));
        }
        (_, Some(host)) => host,
        (Some(target), None) => target,
        (None, None) => return Err(malformed("host")),
    };
    if other_scheme || !is_host(authority.as_bytes()) {
        return Err(malformed("host"));
    }
    Ok(authority)
}

fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => authority.get(..at).unwrap_or(authority),
        _ => authority,
    }
}

/// The most times that a path is decoded to see what it hides.
const DECODED: usize = 4;

/// Refuses a path that a server behind us could read as another one. Repairing it would be guessing.
fn check_path(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err("target");
    }
    let mut segments = bytes.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err("empty_segment");
        }
    }
    if leads_elsewhere(bytes) {
        return Err("dot_segment");
    }
    let hex = |at: usize| bytes.get(at + 1..at + 3).map(<[u8]>::to_ascii_lowercase);
    for at in memchr::memchr_iter(b'%', bytes) {
        match hex(at).as_deref() {
            Some(b"2f" | b"5c") => return Err("encoded_separator"),
            Some(b"00" | b"0a" | b"0d") => return Err("encoded_control"),
            _ => {}
        }
    }
    if memchr::memchr(b'%', bytes).is_some() { check_decoded(bytes) } else { Ok(()) }
}

/// Looks at a path as whoever decodes it sees it, and whoever decodes that again.
fn check_decoded(path: &[u8]) -> Result<(), &'static str> {
    let decoded = |text: &[u8]| percent_decode(text).collect::<Vec<u8>>();
    let mut text = decoded(path);
    if leads_elsewhere(&text) {
        return Err("dot_segment");
    }
    if is_overlong(&text) {
        return Err("overlong_utf8");
    }
    let special = |text: &[u8]| text.iter().filter(|byte| b"/\\\0\r\n".contains(byte)).count();
    for _ in 0..DECODED {
        let again = decoded(&text);
        if again.len() == text.len() {
            return Ok(());
        }
        if leads_elsewhere(&again) || is_overlong(&again) || special(&again) != special(&text) {
            break;
        }
        text = again;
    }
    Err("double_encoding")
}

/// Whether a character is written with more bytes than it needs (RFC 3629 section 3), which old decoders read as a dot or a slash.
fn is_overlong(text: &[u8]) -> bool {
    text.windows(2).any(|pair| matches!(pair, [0xc0 | 0xc1, _] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
}

/// Whether a segment is `.` or `..`. Servlet containers cut parameters off before they look for those.
fn leads_elsewhere(path: &[u8]) -> bool {
    let bare =
        |segment: &[u8]| segment.split(|byte| *byte == b';').next().is_some_and(|s| s == b"." || s == b"..");
    path.split(|byte| *byte == b'/').any(bare)
}

/// The client's address: the peer's, or what a trusted proxy says it is.
pub(super) fn client_address(head: &Parts, conn: &Conn, trusted: &[IpNet]) -> IpAddr {
    let peer = conn.peer.ip();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() || !is_trusted(&peer) {
        return peer;
    }
    let fields = head.headers.get_all("x-forwarded-for").iter().rev();
    let addresses = fields.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    // From the nearest hop outwards; what an untrusted hop says about those before it is hearsay.
    let mut last = peer;
    for text in addresses {
        let Ok(address) = text.trim().parse::<IpAddr>() else { break };
        last = address;
        if !is_trusted(&address) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for good in [
            "/",
            "/score",
            "/v1/models/m:predict",
            "/a/",
            "/a..b/.c",
            "/%41",
            "/...",
            "/a%20b",
            "/100%25",
            "/%2541",
            "/%c3%a9",
            "/%e0%a4%85",
            "/%f0%9f%99%82",
            "/%e9",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for (bad, rule) in [
            ("*", "target"),
            ("", "target"),
            ("//", "empty_segment"),
            ("/a//b", "empty_segment"),
            ("/.", "dot_segment"),
            ("/..", "dot_segment"),
            ("/a/../b", "dot_segment"),
            ("/a/./b", "dot_segment"),
            ("/a/%2e%2E/b", "dot_segment"),
            ("/a/.%2e", "dot_segment"),
            ("/a%2Fb", "encoded_separator"),
            ("/a%5cb", "encoded_separator"),
            ("/a%00", "encoded_control"),
            ("/a%0d%0a", "encoded_control"),
            ("/%252e%252e/", "double_encoding"),
            ("/a%252F", "double_encoding"),
            ("/a%2525252f", "double_encoding"),
            ("/a/..;x=y/b", "dot_segment"),
            ("/a/..%3bx=y/b", "dot_segment"),
            ("/.%25%32%65/", "double_encoding"),
            ("/a%25%32%66b", "double_encoding"),
            ("/a%25%30%30", "double_encoding"),
            ("/a/..%253bx/b", "double_encoding"),
            ("/a%25252525252541", "double_encoding"),
            ("/a/%c0%ae%C0%AE/b", "overlong_utf8"),
            ("/a%c0%afb", "overlong_utf8"),
            ("/a%c1%9cb", "overlong_utf8"),
            ("/a%e0%80%afb", "overlong_utf8"),
            ("/a%f0%80%80%afb", "overlong_utf8"),
            ("/a%25c0%25afb", "double_encoding"),
        ] {
            assert_eq!(check_path(bad), Err(rule), "{bad}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let head = |forwarded: &[&str]| {
            let mut request = http::Request::builder().uri("/");
            for value in forwarded {
                request = request.header("x-forwarded-for", *value);
            }
            request.body(()).unwrap().into_parts().0
        };
        let conn = Conn::new("10.0.0.1:1".parse().unwrap(), false);
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let ask = |forwarded: &[&str], trusted: &[IpNet]| {
            client_address(&head(forwarded), &conn, trusted).to_string()
        };
        assert_eq!(ask(&["1.2.3.4"], &[]), "10.0.0.1");
        assert_eq!(ask(&["1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(ask(&["6.6.6.6, 1.2.3.4, 10.0.0.9"], &trusted), "1.2.3.4");
        assert_eq!(ask(&["6.6.6.6", "1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(ask(&["rubbish"], &trusted), "10.0.0.1");
    }

    #[test]
    fn a_length_is_digits_in_http2_too() {
        let limits = HeadLimits { line: 100, field: 100, fields: 100, count: 10 };
        let conn = Conn::new("10.0.0.1:1".parse().unwrap(), false);
        let with = |lengths: &[&str]| {
            let mut request = http::Request::builder().version(Version::HTTP_2).uri("http://a/score");
            for length in lengths {
                request = request.header(CONTENT_LENGTH, *length);
            }
            let head = request.body(()).unwrap().into_parts().0;
            receive(&head, &conn, &limits).map(drop).map_err(|fault| fault.detail)
        };
        for good in [&[][..], &["0"], &["007"], &["42"]] {
            assert_eq!(with(good), Ok(()), "{good:?}");
        }
        for bad in [&[""][..], &["+1"], &["-1"], &["1,1"], &["1", "1"], &["0x1"], &["1234567890123456789"]] {
            assert_eq!(with(bad), Err(Some("content_length")), "{bad:?}");
        }
    }

    #[test]
    fn hosts_lose_their_port_only() {
        for (authority, host) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
            assert_eq!(host_of(authority), host);
        }
    }
}
