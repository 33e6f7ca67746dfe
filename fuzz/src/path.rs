//! Text of a path: what is let pass has one reading, by whoever decodes it and however often, and none leads above itself.

use http::{Request, Version};
use percent_encoding::percent_decode;
use scoregate::net::conn::Conn;
use scoregate::net::framing::HeadLimits;
use scoregate::proxy::receive::receive;

/// How often a path is decoded by the most eager of servers.
const DECODED: usize = 4;

pub fn check(input: &[u8]) {
    let Some(path) = received(input) else { return };
    assert!(path.starts_with('/') && !path.contains(['?', '#', '\\']), "{path}");
    assert_eq!(received(path.as_bytes()).as_ref(), Some(&path), "not its own normal form");
    let count = segments(path.as_bytes()).len();
    let mut text = path.clone().into_bytes();
    for _ in 0..DECODED {
        text = percent_decode(&text).collect();
        let found = segments(&text);
        let shown = text.escape_ascii();
        assert_eq!(found.len(), count, "{path} has other segments as {shown}");
        for segment in &found {
            // Servlet containers cut parameters off.
            let bare = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            assert!(bare != b"." && bare != b"..", "{path} goes elsewhere as {shown}");
            assert!(!segment.contains(&0) && !segment.contains(&b'\n'), "{path} ends as {shown}");
        }
        let inner = found.split_last().map_or(&[][..], |(_, inner)| inner);
        assert!(inner.iter().all(|segment| !segment.is_empty()), "{path} is shorter as {shown}");
    }
}

/// The parts of a path, by any separator that somebody knows.
fn segments(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| matches!(byte, b'/' | b'\\')).skip(1).collect()
}

/// The path of a request with this target, if it is let pass. Of HTTP/1 the guard has looked at the target before.
fn received(target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let request = Request::builder().version(Version::HTTP_2).uri(target).header("host", "gateway").body(()).ok()?;
    let (head, ()) = request.into_parts();
    if head.uri.authority().is_some() {
        return None;
    }
    let limits = HeadLimits { line: 4096, field: 4096, fields: 4096, count: 10 };
    let conn = Conn::new(([127, 0, 0, 1], 9).into(), false);
    receive(&head, &conn, &limits).ok().map(|received| received.path.to_owned())
}
