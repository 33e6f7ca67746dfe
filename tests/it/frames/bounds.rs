//! Bounds: streams, resets, errors, frames that move nothing, lists of fields, windows.

use std::time::Duration;

use super::Got::{Leave, Status};
use super::World;
use crate::support::frames::*;
use crate::support::instance::Holding;
use crate::support::stand::deployment;
use crate::support::{Plan, Stand, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_bound_are_refused() {
    let held = Holding::named("blue").await;
    let (stand, key) = super::start(&held.url, "{}", "").await;
    let score = Fields::score(&key);
    let mut wire = Wire::connect(stand.gateway.data).await;
    assert!(wire.settle().await);
    let ids: Vec<u32> = (0..103).map(|number| 2 * number + 1).collect();
    wire.say(ids.iter().flat_map(|id| score.alone(*id)).collect::<Vec<_>>()).await;
    for id in &ids[100..] {
        assert_eq!(wire.hear(*id).await.reset, Some(REFUSED_STREAM), "{id}");
    }
    until("a hundred are held", async || held.sent() == 100).await;
    held.go.send(true).unwrap();
    for id in &ids[..100] {
        assert_eq!(wire.hear(*id).await.status, Some(200), "{id}");
    }
    // Their places are free again.
    wire.say(score.alone(301)).await;
    assert_eq!(wire.hear(301).await.status, Some(200));
    assert_eq!(held.sent(), 101);
    stand.stop().await;
}

/// What a client does over and over, and why it is ended.
struct Flood {
    case: &'static str,
    /// What comes first.
    first: Vec<u8>,
    /// What is said again and again, by its number.
    again: Box<dyn Fn(u32) -> Vec<u8> + Send>,
    /// How often it may be.
    may: u32,
    code: u32,
    reason: &'static str,
}

/// Everything that a client might do over and over.
fn floods(score: &Fields) -> Vec<Flood> {
    let (one, two, three) = (score.clone(), score.clone(), score.clone());
    let large = [score.block(), vec![0x90; 1_500]].concat();
    let open = score.open(1);
    // The settings and the acknowledgement of the gateway's own are two.
    let control = |case, again: fn(u32) -> Vec<u8>| Flood {
        case,
        first: Vec::new(),
        again: Box::new(again),
        may: 48,
        code: ENHANCE_YOUR_CALM,
        reason: "control",
    };
    let id = |number: u32| 2 * number + 3;
    vec![
        control("pings", |_| frame(PING, 0, 0, [0; 8])),
        control("answers to pings that nobody sent", |_| frame(PING, ACK, 0, [0; 8])),
        control("settings", |_| settings(&[])),
        control("settings with a window", |number| settings(&[(4, number)])),
        control("priorities", |_| frame(PRIORITY, 0, 1, [0, 0, 0, 0, 16])),
        control("windows", |_| window_update(0, 1)),
        control("frames that nobody knows", |_| frame(0x42, 0, 0, "")),
        Flood { first: open.clone(), ..control("leave without leaving", |_| frame(GOAWAY, 0, 0, [0; 8])) },
        Flood { first: open.clone(), ..control("windows of a stream", |_| window_update(1, 1)) },
        Flood { first: open.clone(), ..control("empty DATA", |_| frame(DATA, 0, 1, "")) },
        Flood {
            case: "resets of what is worked on",
            first: Vec::new(),
            again: Box::new(move |number| [one.alone(id(number)), reset(id(number), CANCEL)].concat()),
            may: 30,
            code: ENHANCE_YOUR_CALM,
            reason: "resets",
        },
        Flood {
            case: "resets of what is over",
            first: [open.clone(), reset(1, CANCEL)].concat(),
            again: Box::new(|_| reset(1, CANCEL)),
            may: 29,
            code: ENHANCE_YOUR_CALM,
            reason: "resets",
        },
        Flood {
            case: "windows that make the gateway reset",
            first: Vec::new(),
            again: Box::new(move |number| {
                [two.open(id(number)), window_update(id(number), 0x7fff_ffff)].concat()
            }),
            may: 25,
            code: ENHANCE_YOUR_CALM,
            reason: "errors",
        },
        Flood {
            case: "lengths that make the gateway reset",
            first: Vec::new(),
            again: Box::new(move |number| {
                let mut fields = three.clone();
                fields.add("content-length", "1");
                fields.with(id(number), "{}")
            }),
            may: 25,
            code: ENHANCE_YOUR_CALM,
            reason: "errors",
        },
        Flood {
            case: "lists of fields that are too large",
            first: Vec::new(),
            again: Box::new(move |number| frame(HEADERS, END_HEADERS | END_STREAM, id(number), &large)),
            may: 25,
            code: ENHANCE_YOUR_CALM,
            reason: "errors",
        },
        Flood {
            case: "priorities that make the gateway reset",
            first: Vec::new(),
            again: Box::new(move |number| {
                frame(PRIORITY, 0, id(number), [&id(number).to_be_bytes()[..], &[0]].concat())
            }),
            may: 25,
            code: ENHANCE_YOUR_CALM,
            reason: "errors",
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_costs_a_client_nothing_is_bounded() {
    let limits =
        "{ http2_control_frames: 50, http2_resets: 30, http2_client_errors: 25, http2_pending_resets: 20 }";
    let held = Holding::named("blue").await;
    let (stand, key) = super::start(&held.url, limits, "").await;
    let score = Fields::score(&key);
    for flood in floods(&score) {
        let Flood { case, first, again, may, code, reason } = flood;
        let metric = format!("scoregate_security_h2_abuse{{reason=\"{reason}\"}}");
        let before = stand.metric(&metric).await;
        // One by one, so that nothing waits to be taken up.
        let mut wire = Wire::connect(stand.gateway.data).await;
        while wire.given.is_empty() {
            wire.next().await.unwrap();
        }
        wire.say(&first).await;
        let mut said = 0;
        while said < may + 10 && wire.goaway.is_empty() {
            wire.say(again(said)).await;
            said += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
            wire.glance().await;
        }
        assert_eq!(wire.leave().await, Some(code), "{case}: after {said}");
        assert!(said > may, "{case}: ended after {said}, not more than {may}");
        assert!(
            (stand.metric(&metric).await - before - 1.0).abs() < 0.5,
            "{case} is not counted as {reason}"
        );
    }
    held.go.send(true).unwrap();
    until("nothing is in flight", async || {
        stand.metric("scoregate_requests_in_flight{deployment=\"blue\"").await < 0.5
    })
    .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_something_earns_frames_that_do_not() {
    let world = World::start("{ http2_control_frames: 50 }", "").await;
    let mut wire = world.wire().await;
    // Four times the bound, each round with an answer.
    for round in 0..50 {
        let id = 2 * round + 1;
        let ping = frame(PING, 0, 0, [0; 8]);
        wire.say(
            [ping.repeat(2), window_update(0, 1), window_update(0, 1), world.score().with(id, "{}")].concat(),
        )
        .await;
        assert_eq!(world.got(&mut wire, id).await, Status(200), "round {round}");
    }
    assert!(wire.settle().await);
    assert!(world.counted("h2_abuse", "control").await < 0.5);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_resets_at_once_are_not_taken_up() {
    let world = World::start("{}", "").await;
    let mut wire = world.wire().await;
    assert!(wire.settle().await);
    let pair = |number: u32| [world.score().alone(2 * number + 1), reset(2 * number + 1, CANCEL)].concat();
    wire.say((0..300).flat_map(pair).collect::<Vec<_>>()).await;
    assert_eq!(wire.leave().await, Some(ENHANCE_YOUR_CALM));
    assert!(world.counted("h2_abuse", "resets").await > 0.5);
    assert!(world.blue.seen().len() < 250, "{}", world.blue.seen().len());
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_fields_are_bounded() {
    let world = World::start("{}", "").await;
    let with = |count: usize, length: usize| {
        let mut fields = world.score();
        for number in 0..count {
            fields.add(format!("x-{number:04}"), "a".repeat(length));
        }
        fields.block()
    };
    let bomb = |times: usize| {
        [world.score().block(), kept_field("x-bomb", "a".repeat(4_000)), table_field(62).repeat(times)]
            .concat()
    };
    let pieces = |block: &[u8], size: usize| {
        let mut chunks = block.chunks(size).peekable();
        let ends = if block.len() > size { 0 } else { END_HEADERS };
        let mut frames = frame(HEADERS, END_STREAM | ends, 1, chunks.next().unwrap());
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { END_HEADERS } else { 0 };
            frames.extend(frame(CONTINUATION, flags, 1, chunk));
        }
        frames
    };
    let endless = |payload: &[u8]| {
        let more = frame(CONTINUATION, 0, 1, payload);
        [frame(HEADERS, END_STREAM, 1, world.score().block()), more.repeat(400)].concat()
    };
    for (case, said, expected, reason) in [
        ("ninety fields", pieces(&with(90, 1), 16_384), Status(200), None),
        ("a hundred and one fields", pieces(&with(100, 1), 16_384), Status(431), None),
        ("a field at the bound", pieces(&with(1, 24_000), 16_384), Status(200), None),
        ("a field beyond the bound", pieces(&with(1, 25_000), 16_384), Status(431), None),
        ("sixty thousand bytes", pieces(&with(60, 950), 16_384), Status(200), None),
        ("seventy thousand bytes", pieces(&with(70, 950), 16_384), Status(431), Some("header_list")),
        (
            "two hundred thousand bytes",
            pieces(&with(80, 2_500), 16_384),
            Leave(ENHANCE_YOUR_CALM),
            Some("continuation"),
        ),
        ("a table's field fifteen times", pieces(&bomb(14), 16_384), Status(200), None),
        ("a table's field forty times", pieces(&bomb(40), 16_384), Status(431), Some("header_list")),
        (
            "a table's field a thousand times",
            pieces(&bomb(1_000), 16_384),
            Leave(ENHANCE_YOUR_CALM),
            Some("header_list"),
        ),
        (
            "one-byte fields by the thousand",
            pieces(&[world.score().block(), vec![0x90; 60_000]].concat(), 16_384),
            Leave(ENHANCE_YOUR_CALM),
            Some("header_list"),
        ),
        ("in five pieces", pieces(&with(1, 10), 40), Status(200), None),
        ("empty pieces without an end", endless(b""), Leave(ENHANCE_YOUR_CALM), Some("continuation")),
        (
            "pieces without an end",
            endless(&field("x-a", "a")),
            Leave(ENHANCE_YOUR_CALM),
            Some("continuation"),
        ),
        (
            "a string without an end",
            endless(&[0, 0x7f, 0xff, 0xff, 0x7f, b'a']),
            Leave(ENHANCE_YOUR_CALM),
            Some("continuation"),
        ),
    ] {
        let before = world.blue.count();
        let counted = match reason {
            Some(reason) => world.counted("h2_abuse", reason).await,
            None => 0.0,
        };
        let limited = world.counted("limit", "headers_too_large").await;
        let mut wire = world.wire().await;
        wire.say(said).await;
        assert_eq!(world.got(&mut wire, 1).await, expected, "{case}");
        if expected == Status(431) {
            // Whoever found it, the parser, which says nothing else of it, or the gateway.
            let counted = async || world.counted("limit", "headers_too_large").await - limited;
            until(case, async || counted().await > 0.5).await;
            assert!(counted().await < 1.5, "{case} is counted once");
        }
        assert_eq!(world.blue.count() - before, usize::from(expected == Status(200)), "{case}");
        if let Some(reason) = reason {
            // It is counted once it was sent.
            until(case, async || world.counted("h2_abuse", reason).await - counted > 0.5).await;
        }
        if let Leave(_) = expected {
            wire.leave().await;
        } else {
            // What was put into the table is still understood, and the connection goes on.
            wire.say(world.score().with(3, "{}")).await;
            assert_eq!(world.got(&mut wire, 3).await, Status(200), "after {case}");
        }
    }
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_a_block_are_bounded_however_large_it_may_be() {
    let world = World::start("{ header_bytes: 4194304, header_field: 1048576 }", "").await;
    for (pieces, expected) in [(16, Status(200)), (17, Leave(ENHANCE_YOUR_CALM))] {
        let mut wire = world.wire().await;
        let mut frames = frame(HEADERS, END_STREAM, 1, world.score().block());
        for number in 1..=pieces {
            let flags = if number == pieces { END_HEADERS } else { 0 };
            frames.extend(frame(CONTINUATION, flags, 1, field(format!("x-{number}"), "a")));
        }
        wire.say(frames).await;
        assert_eq!(world.got(&mut wire, 1).await, expected, "{pieces}");
    }
    assert!(world.counted("h2_abuse", "continuation").await > 0.5);
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_hold_a_client_to_what_it_was_given() {
    let held = Holding::named("blue").await;
    let plan = Plan::endpoint("key", &[&held.url]);
    let settings = "20, max_queue_wait_ms: 60000, request_timeout_ms: 60000 }";
    let stand =
        Stand::start(plan.blue(deployment("my-ep", "blue", &[&held.url], "").replace("512 }", settings)))
            .await;
    let score = Fields::score(&stand.keys("my-ep").await.0);
    let block = |stream: u32| frame(DATA, 0, stream, vec![b'a'; 16_384]);
    let mut working = Wire::connect(stand.gateway.data).await;
    working.say((0..20).flat_map(|number| score.alone(2 * number + 1)).collect::<Vec<_>>()).await;
    until("twenty are held", async || held.sent() == 20).await;
    // Those that wait for their place are not read: more than a stream's window.
    let mut wire = Wire::connect(stand.gateway.data).await;
    assert!(wire.settle().await);
    wire.say([score.open(1), block(1).repeat(4)].concat()).await;
    assert!(wire.settle().await, "a stream's window");
    assert!(!wire.streams.contains_key(&1));
    wire.say(frame(DATA, 0, 1, "a")).await;
    assert_eq!(wire.hear(1).await.reset, Some(FLOW_CONTROL_ERROR));
    // Sixteen of them are the connection's window, too.
    let mut wire = Wire::connect(stand.gateway.data).await;
    assert!(wire.settle().await);
    for number in 0..16 {
        let stream = 2 * number + 1;
        wire.say([score.open(stream), block(stream).repeat(4)].concat()).await;
    }
    assert!(wire.settle().await, "a connection's window");
    wire.say([score.open(41), frame(DATA, 0, 41, "a")].concat()).await;
    assert_eq!(wire.leave().await, Some(FLOW_CONTROL_ERROR));
    held.go.send(true).unwrap();
    for number in 0..20 {
        assert_eq!(working.hear(2 * number + 1).await.status, Some(200));
    }
    stand.stop().await;
}
