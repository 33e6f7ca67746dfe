//! Bytes of an instance: its client gets one answer for one request, whole or cut.

use super::http1::id;
use super::input::Input;
use super::way::{self, Manner};
use super::wire::{self, End};

/// The first two bytes say what is asked and where the answer is parted.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let method = input.pick(&["GET", "HEAD", "POST"]);
    let (parted, bytes) = (usize::from(input.byte()), input.0);
    let request = format!("{method} /score HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n");
    let (before, after) = bytes.split_at(bytes.len() * parted / 256);
    // The second request must get no byte that was meant for the first.
    let twice = request.repeat(2);
    let outcome = way::run(&[twice.as_bytes()], Manner::Says(vec![before.to_vec(), after.to_vec()]));
    let (answers, end) = wire::answers(&outcome.client, &outcome.begun);
    let told = outcome.client.escape_ascii();
    assert!(!matches!(end, End::Malformed(_)), "{end:?}: {told}");
    assert!(answers.len() <= outcome.begun.len(), "more answers than requests: {told}");
    assert!(outcome.instance.len() <= 4, "{outcome:?}");
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(id(answer), number, "another request's answer: {told}");
        for (name, _) in &answer.fields {
            assert!(!["upgrade", "keep-alive", "trailer", "proxy-authenticate"].contains(&&**name), "{told}");
        }
        let status = answer.line.get(9..12).and_then(|digits| digits.parse::<u16>().ok());
        assert!(status.is_some_and(|status| (200..600).contains(&status)), "{told}");
    }
}
