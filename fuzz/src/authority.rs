//! `Host` and authority: a request has one, it names one host, and everybody reads the same one.

use http::uri::Authority;
use http::{HeaderValue, Request, Version};
use scoregate::net::conn::Conn;
use scoregate::net::framing::{HeadLimits, is_host};
use scoregate::proxy::receive::receive;

use super::input::Input;

/// The first byte says which version and how many hosts; then come lines: the target, and hosts.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let bits = input.byte();
    let mut lines = input.0.split(|byte| *byte == b'\n');
    let Some(Ok(target)) = lines.next().map(std::str::from_utf8) else { return };
    let version = if bits & 1 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    let mut request = Request::builder().uri(target).version(version);
    let hosts: Vec<HeaderValue> =
        lines.take(usize::from(bits >> 1 & 3)).filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    for host in &hosts {
        request = request.header("host", host);
    }
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    let conn = Conn::new(([127, 0, 0, 1], 9).into(), bits & 8 != 0);
    let limits = HeadLimits { line: 4096, field: 4096, fields: 4096, count: 10 };
    let Ok(received) = receive(&head, &conn, &limits) else { return };
    let (authority, host) = (received.authority, &*received.host);
    assert!(hosts.len() <= 1, "two hosts: {head:?}");
    assert!(is_host(authority.as_bytes()), "{authority}");
    for other in hosts.iter().map(HeaderValue::as_bytes).chain(head.uri.authority().map(|a| a.as_str().as_bytes())) {
        assert!(other.eq_ignore_ascii_case(authority.as_bytes()), "two readings: {head:?}");
    }
    // As the rest of the world reads it.
    let parsed: Authority = authority.parse().unwrap();
    assert_eq!(parsed.host().to_ascii_lowercase(), host, "{authority}");
    assert!(!authority.contains('@') && !host.bytes().any(|byte| byte.is_ascii_uppercase()), "{authority}");
    let bare = authority.len() == host.len();
    assert!(bare || authority.as_bytes()[host.len()] == b':', "{authority}");
}
