//! Clients that are slow, and clients that do nothing at all.

use std::time::Duration;

use super::Got::Status;
use super::World;
use crate::support::frames::*;
use crate::support::instance::Holding;
use crate::support::played::{Link, play};
use crate::support::until;

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_to_come_in_time() {
    let world = World::start("{ header_time: 300ms }", "").await;
    let good = world.score().alone(1);
    let all = [PREFACE, &settings(USUAL)].concat();
    let open = frame(HEADERS, END_STREAM, 1, world.score().block());
    for (case, said) in [
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("half of the settings", all[..all.len() - 3].to_vec()),
        ("half a frame", [&all[..], &good[..30]].concat()),
        ("a block without its end", [&all[..], &open].concat()),
        ("half a CONTINUATION", [&all[..], &open, &[0, 0, 9, CONTINUATION, 4, 0, 0, 0, 1, 0]].concat()),
    ] {
        let mut wire = Wire::silent(world.stand.gateway.data).await;
        // An acknowledgement would be the rest of what is half.
        wire.polite = false;
        wire.say(said).await;
        wire.leave().await;
        assert!(wire.streams.is_empty(), "{case}");
    }
    assert_eq!(world.blue.connections(), 0);
    // A used connection, while another stream is worked on.
    let held = Holding::named("blue").await;
    let (stand, key) = super::start(&held.url, "{ header_time: 300ms }", "").await;
    let mut wire = Wire::connect(stand.gateway.data).await;
    wire.say(Fields::score(&key).alone(1)).await;
    until("it is held", async || held.sent() == 1).await;
    wire.say(frame(HEADERS, END_STREAM, 3, Fields::score(&key).block())).await;
    // Drop by drop: pieces that come do not start the clock anew.
    for _ in 0..10 {
        pause(60).await;
        wire.say(frame(CONTINUATION, 0, 3, field("x-a", "a"))).await;
    }
    wire.leave().await;
    assert_eq!(held.sent(), 1);
    assert!(stand.metric("scoregate_security_slow_client{reason=\"header\"}").await >= 1.0);
    assert!(world.counted("slow_client", "header").await >= 6.0);
    stand.stop().await;
    world.stand.stop().await;
}

/// The clock of a head begins with the head, however long nothing came before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_not_a_slow_head_but_its_next_head_may_be() {
    let world = World::start("{ header_time: 400ms, idle_connection: 1h, write_stall: 1h }", "").await;
    let mut wire = world.wire().await;
    assert!(wire.settle().await);
    pause(1_000).await;
    wire.say(world.score().alone(1)).await;
    assert_eq!(world.got(&mut wire, 1).await, Status(200));
    pause(1_000).await;
    wire.say(frame(HEADERS, END_STREAM, 3, world.score().block())).await;
    let before = std::time::Instant::now();
    wire.leave().await;
    assert!(before.elapsed() < Duration::from_secs(10), "a slow head is not waited for");
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_requests_ends_whatever_else_it_says() {
    let world = World::start("{ idle_connection: 500ms }", "").await;
    let mut quiet = world.wire().await;
    assert!(quiet.settle().await);
    assert_eq!(quiet.leave().await, Some(NO_ERROR));
    let mut used = world.wire().await;
    used.say(world.score().alone(1)).await;
    assert_eq!(world.got(&mut used, 1).await, Status(200));
    assert_eq!(used.leave().await, Some(NO_ERROR));
    let mut busybody = world.wire().await;
    let talking = async {
        while busybody.settle().await {
            pause(50).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, talking).await.expect("pings keep nothing alive");
    assert!(busybody.goaway.contains(&NO_ERROR));
    world.stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_coming_is_408() {
    let world = World::start("{ body_progress: 300ms }", "").await;
    let open = world.score().open(1);
    let half = [0, 0, 9, DATA, END_STREAM, 0, 0, 0, 1, b'{'];
    for (case, said, drip) in [
        ("nothing of it", open.clone(), None),
        ("a part of it", [open.clone(), frame(DATA, 0, 1, "{")].concat(), None),
        ("a part of a frame", [&open[..], &half].concat(), None),
        ("empty frames", open.clone(), Some(frame(DATA, 0, 1, ""))),
    ] {
        let mut wire = world.wire().await;
        wire.polite = false;
        wire.say(said).await;
        if let Some(drip) = drip {
            for _ in 0..12 {
                wire.say(&drip).await;
                pause(50).await;
            }
        }
        let outcome = wire.hear(1).await;
        assert_eq!(outcome.status, Some(408), "{case}");
        assert_eq!(outcome.json()["error"]["code"], "RequestTimeout", "{case}");
        if case != "a part of a frame" {
            wire.say(world.score().with(3, "{}")).await;
            assert_eq!(world.got(&mut wire, 3).await, Status(200), "{case}: the connection goes on");
        }
    }
    assert!(world.counted("slow_client", "body").await >= 4.0);
    assert!(world.blue.seen().iter().all(|seen| seen.cut || seen.body == b"{}"));
    world.stand.stop().await;
}

/// An instance with so many bytes to say, piece by piece.
async fn talkative(bytes: usize) -> String {
    play(move |mut link: Link| async move {
        while link.request().await.is_some() {
            link.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")).await;
            let (mut left, block) = (bytes, vec![b'a'; 64 * 1024]);
            while left > 0 && link.write(&block[..left.min(block.len())]).await {
                left -= left.min(block.len());
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_which_nothing_is_taken_ends_and_the_others_go_on() {
    let url = talkative(100_000).await;
    let (stand, key) = super::start(&url, "{ write_stall: 2s }", "").await;
    let score = Fields::score(&key);
    for (case, window) in [("a closed window", 0), ("a window for some of it", 20_000)] {
        let mut wire = Wire::with(stand.gateway.data, &[(1, 0), (4, window)]).await;
        let counted = stand.metric("scoregate_security_slow_client{reason=\"write\"}").await;
        wire.say([score.alone(1), score.alone(3), window_update(0, 1 << 20)].concat()).await;
        // The second one is taken little by little, for longer than the first may stand.
        let mut taken = 0;
        for _ in 0..8 {
            wire.say(window_update(3, 9_000)).await;
            taken += 9_000;
            while wire.streams.get(&3).map_or(0, |outcome| outcome.body.len()) < taken + window as usize {
                wire.next().await.expect("the connection goes on");
            }
            pause(400).await;
        }
        assert_eq!(wire.hear(1).await.reset, Some(CANCEL), "{case}");
        assert_eq!(wire.streams[&1].body.len(), window as usize, "{case}");
        assert_eq!(wire.streams[&3].reset, None, "{case}");
        wire.say(window_update(3, 1 << 20)).await;
        assert!(wire.hear(3).await.ended, "{case}");
        assert_eq!(wire.streams[&3].body.len(), 100_000, "{case}");
        let counted = stand.metric("scoregate_security_slow_client{reason=\"write\"}").await - counted;
        assert!((counted - 1.0).abs() < 0.5, "{case}: {counted}");
    }
    until("nothing is in flight", async || {
        stand.metric("scoregate_requests_in_flight{deployment=\"blue\"").await < 0.5
    })
    .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_instance_is_not_a_client_that_takes_nothing() {
    let held = Holding::named("blue").await;
    let (stand, key) = super::start(&held.url, "{ write_stall: 200ms }", "").await;
    let mut wire = Wire::connect(stand.gateway.data).await;
    wire.say(Fields::score(&key).alone(1)).await;
    until("it is held", async || held.sent() == 1).await;
    pause(800).await;
    held.go.send(true).unwrap();
    assert_eq!(wire.hear(1).await.status, Some(200));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_left() {
    let url = talkative(1 << 40).await;
    let (stand, key) = super::start(&url, "{ write_stall: 500ms }", "").await;
    let mut wire = Wire::with(stand.gateway.data, &[(1, 0), (4, 0x7fff_ffff)]).await;
    wire.say([window_update(0, 0x7fff_0000), Fields::score(&key).alone(1)].concat()).await;
    until("it is left", async || {
        stand.metric("scoregate_security_slow_client{reason=\"write\"}").await > 0.5
    })
    .await;
    until("nothing is in flight", async || {
        stand.metric("scoregate_requests_in_flight{deployment=\"blue\"").await < 0.5
    })
    .await;
    stand.stop().await;
}
