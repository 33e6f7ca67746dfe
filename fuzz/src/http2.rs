//! Frames of an HTTP/2 client: what an instance gets is what was let pass, well-formed, and no body is longer than what was
//! sent of it.

use super::http1::at_the_instance;
use super::input::Input;
use super::way::{self, Manner};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RAW: u8 = 0xff;

/// Frames as kind, flags, stream, length and payload, a byte for each but the last; the kind 255 stands for bytes that go as
/// they are. The first byte says where they are parted.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let parted = usize::from(input.byte());
    let mut bytes = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let (mut blocks, mut data, mut raw) = (0, 0, false);
    while !input.0.is_empty() {
        let kind = input.byte();
        if kind == RAW {
            raw = true;
            bytes.extend_from_slice(input.bytes());
            continue;
        }
        let (flags, stream, payload) = (input.byte(), input.byte(), input.bytes());
        bytes.extend([0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream]);
        bytes.extend_from_slice(payload);
        blocks += usize::from(kind == HEADERS);
        data += if kind == DATA { payload.len() } else { 0 };
    }
    let (before, after) = bytes.split_at(bytes.len() * parted / 256);
    let outcome = way::run(&[before, after], Manner::Strict);
    let requests = at_the_instance(&outcome);
    if !raw {
        assert!(outcome.begun.len() <= blocks, "more requests than blocks of fields: {outcome:?}");
        let passed: usize = requests.iter().map(|request| request.body.len()).sum();
        assert!(passed <= data, "more of bodies than was sent: {outcome:?}");
    }
}
