use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { line: 64, field: 64, fields: 256, count: 8 };

/// What passed in all, the number of heads, or the first violation.
fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, u64), Violation> {
    let (mut framing, mut pending, mut out) = (Framing::new(LIMITS), Vec::new(), Vec::new());
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut passed = 0;
        framing.advance(&pending, &mut passed)?;
        out.extend(pending.drain(..passed));
    }
    Ok((out, framing.heads()))
}

fn whole(text: &str) -> Result<u64, Violation> {
    let (out, heads) = read(&[text.as_bytes()])?;
    assert_eq!(out, text.as_bytes(), "a sound message passes as it is");
    Ok(heads)
}

const SOUND: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nhost:a:80\r\n\r\n",
    "GET /a%20b?c=[1] HTTP/1.0\r\nHost: [::1]:8080\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:chunked\r\n\r\n0\r\nX-T: v\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\ttab\r\n\r\n",
];

#[test]
fn sound_messages_pass_whole_and_in_pieces() {
    for text in SOUND {
        let heads = whole(text).unwrap_or_else(|violation| panic!("{violation:?}: {text:?}"));
        assert!(heads > 0);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), Ok((text.as_bytes().to_vec(), heads)), "{text:?}");
    }
}

#[test]
fn every_doubt_is_a_refusal() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    let body =
        |chunks: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let cases: Vec<(String, &str)> = vec![
        ("GET / HTTP/1.1\nHost: a\n\n".into(), "bare_lf"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), "bare_lf"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET /\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), "request_line"),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        ("GET /% HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        ("GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n".into(), "target"),
        (head("X: y"), "host"),
        (head("Host:"), "host"),
        (head("Host: a\r\nHost: a"), "host"),
        (head("Host: a,b"), "host"),
        (head("Host: a b"), "host"),
        (head("Host: a:99999"), "host"),
        (head("Host: u@a"), "host"),
        (head("Host: a/b"), "host"),
        (head("Host: [::1"), "host"),
        (head("Host : a"), "field_name"),
        (head("Host: a\r\nX Y: z"), "field_name"),
        (head("Host: a\r\n: z"), "field_name"),
        (head("Host: a\r\nX"), "field_without_colon"),
        (head("Host: a\r\n folded: z"), "folded_line"),
        (head("Host: a\r\nX: y\r\n\tz"), "folded_line"),
        (head("Host: a\r\nX: a\rb"), "control_in_field"),
        (head("Host: a\r\nX: a\u{0}b"), "control_in_field"),
        (head("Host: a\r\nX: a\u{7f}b"), "control_in_field"),
        (head("Host: a\r\nContent-Length: 1\r\nContent-Length: 1"), "content_length"),
        (head("Host: a\r\nContent-Length: 1, 1"), "content_length"),
        (head("Host: a\r\nContent-Length: +1"), "content_length"),
        (head("Host: a\r\nContent-Length: -1"), "content_length"),
        (head("Host: a\r\nContent-Length: 0x1"), "content_length"),
        (head("Host: a\r\nContent-Length: 1 1"), "content_length"),
        (head("Host: a\r\nContent-Length:"), "content_length"),
        (head("Host: a\r\nContent-Length: 1234567890123456789"), "content_length"),
        (head("Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"), "two_lengths"),
        (head("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "transfer_encoding"),
        (head("Host: a\r\nTransfer-Encoding: gzip, chunked"), "transfer_encoding"),
        (head("Host: a\r\nTransfer-Encoding: identity"), "transfer_encoding"),
        (head("Host: a\r\nTransfer-Encoding: xchunked"), "transfer_encoding"),
        (head("Host: a\r\nTransfer-Encoding: \u{b}chunked"), "control_in_field"),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(), "transfer_encoding"),
        (body("\r\n"), "chunk"),
        (body("g\r\n"), "chunk"),
        (body(" 1\r\na\r\n"), "chunk"),
        (body("1 \r\na\r\n"), "chunk"),
        (body("0x1\r\na\r\n"), "chunk"),
        (body("+1\r\na\r\n"), "chunk"),
        (body("1\na\r\n"), "chunk"),
        (body("1\r\nab\r\n"), "chunk"),
        (body("1\r\na\n"), "chunk"),
        (body("00000000000000001\r\na\r\n"), "chunk"),
        (body("1;a\nb\r\na\r\n"), "chunk"),
        (body(&format!("1;{}\r\n", "a".repeat(1025))), "chunk_extension"),
        (body("0\r\nX\r\n\r\n"), "trailer"),
        (body("0\r\nX : y\r\n\r\n"), "trailer"),
        (body("0\r\nX: y\n\r\n"), "trailer"),
        (body("0\r\n folded\r\n\r\n"), "trailer"),
        (body("0\r\n\rx"), "trailer"),
        (body(&format!("0\r\nX: {}\r\n\r\n", "a".repeat(9000))), "trailer"),
    ];
    for (text, rule) in cases {
        assert_eq!(whole(&text), Err(Malformed(rule)), "{text:?}");
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).err(), Some(Malformed(rule)), "in pieces: {text:?}");
    }
}

#[test]
fn sizes_are_bounded_before_a_line_ends() {
    assert_eq!(whole(&format!("GET /{}", "a".repeat(64))), Err(Violation::LineTooLong));
    let field = |text: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{text}");
    assert_eq!(whole(&field(&"a".repeat(65))), Err(Violation::FieldsTooLarge));
    assert_eq!(
        whole(&field(&"X: 12345678901234567890123456789012345678901234567890\r\n".repeat(6))),
        Err(Violation::FieldsTooLarge)
    );
    assert_eq!(whole(&field(&"X: 1\r\n".repeat(8))), Err(Violation::FieldsTooLarge));
}

proptest! {
    #[test]
    fn cutting_a_message_in_pieces_changes_nothing(which in 0..SOUND.len(), noise in any::<(usize, u8)>(), cut in 1_usize..9) {
        let mut text = SOUND[which].as_bytes().to_vec();
        let at = noise.0 % text.len();
        text[at] = noise.1;
        let whole = read(&[&text]);
        let pieces: Vec<&[u8]> = text.chunks(cut).collect();
        match (whole, read(&pieces)) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{:?} {:?}", a, b),
        }
    }
}

#[test]
fn behind_a_head_that_asks_for_a_websocket_nothing_passes_until_it_is_told_to_stay() {
    let limits = HeadLimits { line: 1024, field: 1024, fields: 4096, count: 16 };
    let asks = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: WebSocket\r\n";
    for (head, holds) in [
        (format!("{asks}\r\n"), true),
        (format!("{asks}content-length: 0\r\n\r\n"), true),
        (asks.replace("WebSocket", "h2c") + "\r\n", false),
        (asks.replace("1.1", "1.0") + "\r\n", false),
    ] {
        let mut framing = Framing::new(limits);
        let (bytes, mut passed) = (head.clone() + "rubbish\n", 0);
        let judged = framing.advance(bytes.as_bytes(), &mut passed);
        assert_eq!((judged.is_ok(), framing.asks(), passed), (holds, holds, head.len()), "{head}");
        framing.stay();
        assert!(framing.advance(b"rubbish\n", &mut 0).is_err());
    }
}
