//! The connection: its beginning, its frames one by one, and its end.

use super::Got::{self, Leave, Reset, Status};
use super::World;
use crate::messages::tried;
use crate::support::frames::*;
use crate::support::instance::Holding;
use crate::support::until;

/// Frames behind the settings, and what the client gets for stream 1.
type Case = (&'static str, fn(&Fields) -> Vec<u8>, Got);

const LEAVE: Got = Leave(PROTOCOL_ERROR);

const FRAMES: &[Case] = &[
    ("DATA on no stream", |_| frame(DATA, END_STREAM, 0, "{}"), LEAVE),
    ("DATA on a stream that never was", |_| frame(DATA, END_STREAM, 1, "{}"), LEAVE),
    ("DATA behind the end", |f| [f.open(1), frame(DATA, 1, 1, ""), frame(DATA, 1, 1, "")].concat(), LEAVE),
    ("padding longer than its frame", |f| [f.open(1), frame(DATA, PADDED, 1, [9, 0])].concat(), LEAVE),
    ("HEADERS on no stream", |f| f.alone(0), LEAVE),
    ("HEADERS on a stream of the server's", |f| f.alone(2), LEAVE),
    ("HEADERS on an older stream", |f| [f.open(3), f.alone(1)].concat(), LEAVE),
    (
        "HEADERS that depend on themselves",
        |f| frame(HEADERS, 0x25, 1, [&[0, 0, 0, 1, 16][..], &f.block()].concat()),
        Reset(PROTOCOL_ERROR),
    ),
    (
        "HEADERS with a priority",
        |f| frame(HEADERS, 0x25, 1, [&[0, 0, 0, 0, 16][..], &f.block()].concat()),
        Status(200),
    ),
    ("HEADERS padded beyond their frame", |_| frame(HEADERS, END_HEADERS | PADDED, 1, [200, 0]), LEAVE),
    (
        "another frame within a block",
        |f| [frame(HEADERS, 1, 1, f.block()), frame(PING, 0, 0, [0; 8])].concat(),
        LEAVE,
    ),
    ("DATA within a block", |f| [frame(HEADERS, 0, 1, f.block()), frame(DATA, 1, 1, "{}")].concat(), LEAVE),
    ("CONTINUATION of nothing", |_| frame(CONTINUATION, END_HEADERS, 1, ""), LEAVE),
    (
        "CONTINUATION of another stream",
        |f| [frame(HEADERS, 1, 1, f.block()), frame(CONTINUATION, END_HEADERS, 3, "")].concat(),
        LEAVE,
    ),
    (
        "a block in two frames",
        |f| {
            let block = f.block();
            let (first, rest) = block.split_at(10);
            [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()
        },
        Status(200),
    ),
    ("RST_STREAM on no stream", |_| reset(0, CANCEL), LEAVE),
    ("RST_STREAM on a stream that never was", |_| reset(1, CANCEL), LEAVE),
    ("RST_STREAM of another size", |f| [f.open(1), frame(RST_STREAM, 0, 1, [0; 3])].concat(), LEAVE),
    ("SETTINGS on a stream", |_| frame(SETTINGS, 0, 1, ""), LEAVE),
    ("SETTINGS of no whole number", |_| frame(SETTINGS, 0, 0, [0; 5]), LEAVE),
    ("SETTINGS that are acknowledged and say something", |_| frame(SETTINGS, ACK, 0, [0; 6]), LEAVE),
    ("SETTINGS with a window too large", |_| settings(&[(4, 1 << 31)]), LEAVE),
    ("SETTINGS with frames too small", |_| settings(&[(5, 100)]), LEAVE),
    ("SETTINGS with pushing that is neither", |_| settings(&[(2, 2)]), LEAVE),
    ("SETTINGS that nobody knows", |f| [settings(&[(0xff, 1)]), f.alone(1)].concat(), Status(200)),
    ("PING of another size", |_| frame(PING, 0, 0, [0; 7]), LEAVE),
    ("PING on a stream", |_| frame(PING, 0, 1, [0; 8]), LEAVE),
    ("WINDOW_UPDATE by nothing", |_| window_update(0, 0), LEAVE),
    ("WINDOW_UPDATE of a stream by nothing", |f| [f.open(1), window_update(1, 0)].concat(), LEAVE),
    ("WINDOW_UPDATE beyond all bounds", |_| window_update(0, 0x7fff_ffff), Leave(FLOW_CONTROL_ERROR)),
    (
        "WINDOW_UPDATE of a stream beyond all bounds",
        |f| [f.open(1), window_update(1, 0x7fff_ffff)].concat(),
        Reset(FLOW_CONTROL_ERROR),
    ),
    ("WINDOW_UPDATE on a stream that never was", |_| window_update(1, 1), LEAVE),
    ("WINDOW_UPDATE of another size", |_| frame(WINDOW_UPDATE, 0, 0, [0; 3]), LEAVE),
    ("PRIORITY on no stream", |_| frame(PRIORITY, 0, 0, [0; 5]), LEAVE),
    ("PRIORITY of itself", |_| frame(PRIORITY, 0, 1, [0, 0, 0, 1, 0]), Reset(PROTOCOL_ERROR)),
    ("PRIORITY of another size", |_| frame(PRIORITY, 0, 1, [0; 4]), LEAVE),
    ("PUSH_PROMISE", |f| [f.open(1), frame(PUSH_PROMISE, 4, 1, [0, 0, 0, 2, 0x82])].concat(), LEAVE),
    ("a frame too large", |_| frame(DATA, 0, 1, vec![0; 16_385]), Leave(FRAME_SIZE_ERROR)),
    ("a frame that nobody knows", |f| [frame(0x42, 0xff, 1, "what?"), f.alone(1)].concat(), Status(200)),
    ("an index beyond the table", |_| frame(HEADERS, 5, 1, table_field(99)), LEAVE),
    ("index 0", |_| frame(HEADERS, 5, 1, table_field(0)), LEAVE),
    ("half a block", |f| frame(HEADERS, 5, 1, &f.block()[..20]), LEAVE),
    (
        "a table larger than allowed",
        |f| frame(HEADERS, 5, 1, [&[0x3f, 0xff, 0xff, 0x03][..], &f.block()].concat()),
        LEAVE,
    ),
    ("a number without an end", |_| frame(HEADERS, 5, 1, [0xff; 32]), LEAVE),
    ("Huffman's code of nothing", |_| frame(HEADERS, 5, 1, [0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), LEAVE),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_sound_or_end_their_stream_or_the_connection() {
    let world = World::start("{}", "").await;
    let mut wrong = Vec::new();
    for (case, frames, expected) in FRAMES {
        let (before, good) = (world.blue.count(), usize::from(*expected == Status(200)));
        let mut wire = world.wire().await;
        wire.say(frames(&world.score())).await;
        let got = world.got(&mut wire, 1).await;
        let reached = world.blue.seen().iter().skip(before).filter(|seen| !seen.cut).count();
        if got != *expected || reached != good {
            wrong.push(format!("{case}: {got:?} and {reached} seen, not {expected:?} and {good}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    tried("HTTP/2 frames by hand, as they should or should not end something", FRAMES.len());
    assert!(world.stand.metric("scoregate_panics_total").await < 0.5);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_begins_with_settings() {
    let world = World::start("{}", "").await;
    for (case, first) in [
        ("a ping", frame(PING, 0, 0, [0; 8])),
        ("a request", world.score().alone(1)),
        ("settings that acknowledge", frame(SETTINGS, ACK, 0, [])),
        ("a window", window_update(0, 1)),
    ] {
        let mut wire = Wire::silent(world.stand.gateway.data).await;
        wire.say([PREFACE, &first, &world.score().alone(3)].concat()).await;
        assert_eq!(wire.leave().await, Some(PROTOCOL_ERROR), "{case}");
    }
    assert_eq!(world.blue.connections(), 0);
    // What the gateway gives, before the client says anything of its own.
    let mut wire = world.wire().await;
    wire.say(world.score().alone(1)).await;
    assert_eq!(world.got(&mut wire, 1).await, Status(200));
    for setting in [(3, 100), (4, 65_536), (6, 65_536)] {
        assert!(wire.given.contains(&setting), "{setting:?} in {:?}", wire.given);
    }
    assert!(!wire.given.iter().any(|(id, value)| *id == 8 && *value == 1), "extended CONNECT is not offered");
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_finish_what_is_in_flight_and_waits_for_nobody_else() {
    let held = Holding::named("blue").await;
    let (stand, key) = super::start(&held.url, "{ drain: 15s }", "").await;
    let score = Fields::score(&key);
    let mut busy = Wire::connect(stand.gateway.data).await;
    let mut idle = Wire::connect(stand.gateway.data).await;
    let mut deaf = Wire::connect(stand.gateway.data).await;
    deaf.polite = false;
    assert!(idle.settle().await && deaf.settle().await);
    busy.say(score.with(1, "{}")).await;
    until("it is held", async || held.sent() == 1).await;
    let stopping = tokio::spawn(stand.stop());
    // Whoever answers the gateway's ping is let go; whoever does not is not waited for.
    assert_eq!(idle.leave().await, Some(NO_ERROR));
    assert_eq!(deaf.leave().await, Some(NO_ERROR));
    while busy.goaway.is_empty() {
        busy.next().await.expect("a busy connection goes on");
    }
    held.go.send(true).unwrap();
    let heard = busy.hear(1).await;
    assert_eq!(heard.status, Some(200), "{heard:?} {:?} {:?}", busy.goaway, busy.pongs);
    assert_eq!(busy.leave().await, Some(NO_ERROR));
    let before = std::time::Instant::now();
    stopping.await.unwrap();
    assert!(before.elapsed().as_secs() < 10, "nobody is left to wait for");
}
