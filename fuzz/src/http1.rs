//! Bytes of an HTTP/1 client: what an instance gets is what was let pass, which is what a strict reader reads, in its order.

use super::way::{self, Authorized, Manner, Outcome};
use super::wire::{self, End, Message};

/// The first byte says where the bytes are parted.
pub fn check(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else { return };
    let (before, after) = bytes.split_at(bytes.len() * usize::from(*first) / 256);
    let outcome = way::run(&[before, after], Manner::Strict);
    let (expected, end) = wire::requests(bytes, true);
    for authorized in &outcome.authorized {
        is_what_was_sent(authorized, &expected, &end, bytes);
    }
    for request in at_the_instance(&outcome) {
        let number = id(&request);
        if let Some(expected) = expected.get(number) {
            assert_eq!(request.body, expected.body, "the body of {number}: {}", bytes.escape_ascii());
        } else {
            panic!("{number} was not whole and became so: {}", bytes.escape_ascii());
        }
    }
    let (answers, end) = wire::answers(&outcome.client, &outcome.begun);
    let told = outcome.client.escape_ascii();
    assert!(!matches!(end, End::Malformed(_)), "{end:?}: {told}");
    assert!(answers.len() <= outcome.begun.len(), "more answers than requests: {told}");
}

/// What a strict reader reads of a client's bytes in that place.
fn is_what_was_sent(authorized: &Authorized, expected: &[Message], end: &End, bytes: &[u8]) {
    let line = match (expected.get(authorized.number), end) {
        (Some(message), _) => message.line.clone(),
        (None, End::Cut(Some((line, _)))) if authorized.number == expected.len() => line.clone(),
        // The head is sound and the body is not.
        (None, End::Malformed(_)) if authorized.number == expected.len() => return,
        _ => panic!("{authorized:?} was never sent: {}", bytes.escape_ascii()),
    };
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], authorized.method, "{}", bytes.escape_ascii());
    assert!(words[1].ends_with(authorized.target.trim_start_matches('/')), "{authorized:?} for {line}");
}

/// The whole requests that an instance got; each is one that was let pass, and no two are the same one.
pub fn at_the_instance(outcome: &Outcome) -> Vec<Message> {
    let mut all = Vec::new();
    for connection in &outcome.instance {
        let (requests, end) = wire::requests(connection, false);
        assert!(!matches!(end, End::Malformed(_)), "{end:?}: {}", connection.escape_ascii());
        all.extend(requests);
    }
    let mut known = Vec::new();
    for request in &all {
        let number = id(request);
        let authorized = outcome.authorized.iter().find(|authorized| authorized.number == number);
        let Some(authorized) = authorized else { panic!("nobody let pass {request:?}") };
        assert_eq!(request.words(), [&authorized.method, &authorized.target, "HTTP/1.1"]);
        assert_eq!(request.field("host"), Some(&b"instance"[..]), "{request:?}");
        assert!(!known.contains(&number), "twice: {request:?}");
        known.push(number);
    }
    all
}

/// The number that the gateway gave a request.
pub fn id(request: &Message) -> usize {
    let id = request.field("x-request-id").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    id.unwrap_or_else(|| panic!("no number: {request:?}"))
}
