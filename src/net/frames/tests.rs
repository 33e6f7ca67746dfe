use proptest::prelude::*;

use super::*;
use crate::net::burst::WINDOW;

const LIMITS: FrameLimits = FrameLimits { resets: 3, errors: 2, control: 5, continuations: 2 };

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let size = u32::try_from(length).unwrap().to_be_bytes();
    [&size[1..], &[kind, flags][..], &stream.to_be_bytes()[..], &vec![0; length][..]].concat()
}

const PING: u8 = 6;

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, 8)
}

fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, 6)].concat()
}

/// Shows bytes as they would come in these pieces, and gives how many passed before something was refused.
fn show(frames: &mut Frames, pieces: &[&[u8]], now: u64) -> (usize, Option<Refusal>) {
    let (mut held, mut all) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut passed = 0;
        let refused = frames.advance(&held, now, &mut passed).err();
        all += passed;
        held.drain(..passed);
        if refused.is_some() {
            return (all, refused);
        }
        assert!(held.len() < HEAD, "only the beginning of a head is held");
    }
    (all, None)
}

fn after_hello(bytes: &[u8]) -> Option<Refusal> {
    let mut frames = Frames::new(LIMITS);
    show(&mut frames, &[&hello(), bytes], 0).1
}

fn abuse(what: Abuse) -> Refusal {
    Refusal::Abuse(what)
}

#[test]
fn what_moves_nothing_is_counted() {
    // The settings were the first.
    assert_eq!(after_hello(&ping().repeat(4)), None);
    for kind in [2, SETTINGS, PING, GOAWAY, 8, 0x42] {
        assert_eq!(after_hello(&frame(kind, 0, 0, 4).repeat(4)), None, "{kind}");
        assert_eq!(after_hello(&frame(kind, 0, 0, 4).repeat(5)), Some(abuse(Abuse::Control)), "{kind}");
    }
    assert_eq!(after_hello(&frame(DATA, 0, 1, 0).repeat(5)), Some(abuse(Abuse::Control)));
    assert_eq!(after_hello(&frame(DATA, END_STREAM, 1, 0).repeat(50)), None);
    assert_eq!(after_hello(&frame(HEADERS, END_HEADERS, 1, 9).repeat(50)), None);
}

#[test]
fn what_is_refused_does_not_pass() {
    let mut frames = Frames::new(LIMITS);
    let all = [hello(), ping().repeat(9)].concat();
    let (passed, refused) = show(&mut frames, &[&all], 0);
    assert_eq!((passed, refused), (hello().len() + 4 * ping().len(), Some(abuse(Abuse::Control))));
}

#[test]
fn time_and_bodies_make_up_for_it() {
    let mut frames = Frames::new(LIMITS);
    assert_eq!(show(&mut frames, &[&hello(), &ping().repeat(4)], 100).1, None);
    assert_eq!(show(&mut frames, &[&ping().repeat(5)], 100 + WINDOW).1, None);
    assert_eq!(show(&mut frames, &[&ping()], 99 + 2 * WINDOW).1, Some(abuse(Abuse::Control)));
    // Each frame of a body is worth four, and more if it is long.
    let mut frames = Frames::new(LIMITS);
    let round = [frame(DATA, 0, 1, 1), ping().repeat(4)].concat();
    assert_eq!(show(&mut frames, &[&hello(), &round.repeat(100)], 0).1, None);
    assert_eq!(show(&mut frames, &[&ping().repeat(2)], 0).1, Some(abuse(Abuse::Control)));
    let mut frames = Frames::new(LIMITS);
    assert_eq!(show(&mut frames, &[&hello(), &ping().repeat(4)], 0).1, None);
    frames.moved(512);
    assert_eq!(show(&mut frames, &[&ping().repeat(5)], 0).1, None);
    assert_eq!(show(&mut frames, &[&ping()], 0).1, Some(abuse(Abuse::Control)));
}

#[test]
fn resets_are_counted_and_nothing_makes_up_for_them() {
    let reset = frame(RST_STREAM, 0, 1, 4);
    assert_eq!(after_hello(&reset.repeat(3)), None);
    assert_eq!(after_hello(&reset.repeat(4)), Some(abuse(Abuse::Resets)));
    assert_eq!(
        after_hello(&[reset, frame(DATA, 0, 1, 9_000)].concat().repeat(4)),
        Some(abuse(Abuse::Resets))
    );
}

#[test]
fn pieces_of_a_block_are_counted_block_by_block() {
    let open = frame(HEADERS, 0, 1, 5);
    let more = frame(CONTINUATION, 0, 1, 5);
    let last = frame(CONTINUATION, END_HEADERS, 1, 5);
    let block = [&open[..], &more, &last].concat();
    assert_eq!(after_hello(&block.repeat(20)), None);
    assert_eq!(after_hello(&[&open[..], &more, &more, &last].concat()), Some(abuse(Abuse::Continuation)));
}

#[test]
fn lists_that_were_too_large_are_counted() {
    let mut frames = Frames::new(LIMITS);
    for _ in 0..3 {
        assert_eq!(show(&mut frames, &[], 0).1, None);
        frames.too_large();
    }
    assert_eq!(show(&mut frames, &[&hello()], 0).1, Some(abuse(Abuse::Errors)));
}

#[test]
fn a_client_begins_with_its_settings() {
    for first in [ping(), frame(SETTINGS, ACK, 0, 0), frame(HEADERS, 5, 1, 3)] {
        let mut frames = Frames::new(LIMITS);
        assert_eq!(show(&mut frames, &[PREFACE, &first], 0), (PREFACE.len(), Some(Refusal::NoSettings)));
    }
}

#[test]
fn settings_and_blocks_are_owed_until_their_last_byte() {
    let mut frames = Frames::new(LIMITS);
    let bytes = [
        (hello(), true),
        (ping(), false),
        (frame(HEADERS, END_HEADERS, 1, 3), true),
        (frame(HEADERS, 0, 3, 3), true),
        (frame(CONTINUATION, END_HEADERS, 3, 3), true),
        (frame(DATA, END_STREAM, 3, 3), false),
    ];
    for (number, (bytes, owes)) in bytes.iter().enumerate() {
        let (last, rest) = bytes.split_last().unwrap();
        assert_eq!(show(&mut frames, &[rest], 0).1, None);
        assert_eq!(frames.in_head(), *owes, "within {number}");
        assert_eq!(show(&mut frames, &[&[*last]], 0).1, None);
        // A block goes on in the next frame.
        assert_eq!(frames.in_head(), number == 3, "after {number}");
        assert_eq!(frames.block(), (number == 3).then_some(3));
    }
}

fn tell(pieces: &[&[u8]]) -> Vec<Told> {
    let (mut answers, mut all) = (Answers::default(), Vec::new());
    for piece in pieces {
        answers.advance(piece, |told| all.push(told));
    }
    all
}

fn goaway(code: u32, word: &str) -> Vec<u8> {
    let payload = [&[0; 4][..], &code.to_be_bytes(), word.as_bytes()].concat();
    let mut bytes = frame(GOAWAY, 0, 0, payload.len());
    bytes.truncate(HEAD);
    [bytes, payload].concat()
}

#[test]
fn answers_tell_what_their_client_did() {
    let reset = |code: u8| {
        let mut bytes = frame(RST_STREAM, 0, 1, 4);
        *bytes.last_mut().unwrap() = code;
        bytes
    };
    let cases: Vec<(Vec<u8>, Option<Told>)> = vec![
        (frame(DATA, 0, 1, 100), Some(Told::Moved(100))),
        (frame(DATA, END_STREAM, 1, 0), Some(Told::Moved(0))),
        (frame(HEADERS, END_HEADERS, 1, 5), Some(Told::Moved(5))),
        (frame(HEADERS, 5, 1, 9), Some(Told::Moved(9))),
        (frame(HEADERS, 5, 1, 5), Some(Told::TooLarge)),
        (ping(), None),
        (frame(SETTINGS, 0, 0, 0), None),
        (reset(0), None),
        (reset(1), Some(Told::Malformed)),
        (reset(3), Some(Told::Malformed)),
        (reset(7), None),
        (reset(8), None),
        (goaway(0, ""), None),
        (goaway(1, ""), Some(Told::Malformed)),
        (goaway(9, "anything at all, however long it may be, is no matter"), Some(Told::Malformed)),
        (goaway(11, "too_many_resets"), Some(Told::Abused(Abuse::Resets))),
        (goaway(11, "too_many_internal_resets"), Some(Told::Abused(Abuse::Errors))),
        (goaway(11, "too_many_data_frames"), Some(Told::Abused(Abuse::Control))),
        (goaway(11, "too_many_continuations"), Some(Told::Abused(Abuse::Continuation))),
        (goaway(11, "header_list_way_too_large"), Some(Told::Abused(Abuse::HeaderList))),
        (goaway(11, "another word"), Some(Told::Abused(Abuse::Other))),
    ];
    let whole: Vec<u8> = cases.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    let expected: Vec<Told> = cases.iter().filter_map(|(_, told)| *told).collect();
    assert_eq!(tell(&[&whole]), expected);
    assert_eq!(tell(&whole.chunks(1).collect::<Vec<_>>()), expected);
    assert_eq!(tell(&whole.chunks(7).collect::<Vec<_>>()), expected);
}

proptest! {
    #[test]
    fn it_does_not_matter_in_which_pieces_frames_come(
        made in prop::collection::vec((0_u8..12, 0_u8..6, 0_u32..4, 0_usize..40), 0..40),
        cuts in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let bytes: Vec<u8> = hello()
            .into_iter()
            .chain(made.iter().flat_map(|(kind, flags, stream, length)| frame(*kind, *flags, *stream, *length)))
            .collect();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let limits = FrameLimits { resets: 5, errors: 5, control: 20, continuations: 5 };
        let (mut one, mut other) = (Frames::new(limits), Frames::new(limits));
        prop_assert_eq!(show(&mut one, &[&bytes], 0), show(&mut other, &pieces, 0));
        prop_assert_eq!((one.in_head(), one.block()), (other.in_head(), other.block()));
        prop_assert_eq!(tell(&[&bytes]), tell(&pieces));
    }

    /// Whatever comes, nothing panics and nothing is held but the beginning of a head.
    #[test]
    fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        show(&mut Frames::new(LIMITS), &pieces, 0);
        tell(&pieces);
    }
}
