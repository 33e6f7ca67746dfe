//! Floods against the real binary. While each runs a good client asks on a connection of its own and must be served,
//! and the gateway must not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::frames::*;
use crate::support::instance::ok;
use crate::support::site::{Process, Site};
use crate::support::stand::deployment;
use crate::support::{Instance, Raw};

/// The longest that a flood goes on.
const LONGEST: Duration = Duration::from_millis(2_500);
/// What a gateway may grow by under a flood, in bytes.
const GROWTH: i64 = 96 << 20;

struct Ground {
    _site: Site,
    process: Process,
    key: String,
}

/// What an attacker got done.
#[derive(Default)]
struct Spent {
    frames: AtomicUsize,
    /// Connections, or all of their streams, that the gateway ended with a word of its own, and without one.
    left: AtomicUsize,
    cut: AtomicUsize,
}

impl Ground {
    /// A gateway before an instance with long and short answers.
    async fn start() -> Ground {
        let long = ok(&format!("\"{}\"", "a".repeat(1 << 20)));
        let blue = Instance::scripted(Arc::new(move |seen| {
            (if seen.line().contains("/long") { long.clone() } else { ok("{}") }, false)
        }))
        .await;
        let site = Site::new(
            &[
                ("ep.yaml", "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned()),
                ("blue.yaml", deployment("my-ep", "blue", &[&blue.url], "")),
            ],
            "logs: { access: false }\nlimits: { write_stall: 1s, header_time: 1s }\n",
        );
        let process = site.serve();
        let key = site.key().await;
        let ground = Ground { _site: site, process, key };
        // What is made once is made before anything is measured.
        let mut warm = Wire::connect(ground.process.data).await;
        for stream in (1..400).step_by(2) {
            warm.say(Fields::score(&ground.key).alone(stream)).await;
            assert_eq!(warm.hear(stream).await.status, Some(200));
        }
        ground
    }

    fn score(&self) -> Fields {
        Fields::score(&self.key)
    }

    /// Resident memory of the gateway, in bytes.
    fn resident(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
    }

    async fn abuses(&self) -> f64 {
        let ask = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        let text =
            String::from_utf8(crate::support::raw::ask(self.process.admin, ask).await.unwrap().body).unwrap();
        let counted = text.lines().filter(|line| line.starts_with("scoregate_security_h2_abuse{"));
        counted.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Lets as many attackers at it, each again and again, while a good client asks. Tells how many connections ended.
    async fn stand<F>(&self, name: &str, attackers: usize, attack: impl Fn(Arc<Spent>) -> F) -> usize
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let spent = Arc::new(Spent::default());
        let (abused, before) = (self.abuses().await, self.resident());
        let over = Arc::new(AtomicBool::new(false));
        let good = tokio::spawn(good(self.process.data, self.score(), over.clone()));
        let begun = Instant::now();
        let attacks: Vec<_> = (0..attackers).map(|_| tokio::spawn(attack(spent.clone()))).collect();
        let mut most = before;
        while begun.elapsed() < LONGEST && attacks.iter().any(|attack| !attack.is_finished()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            most = most.max(self.resident());
        }
        for attack in attacks {
            attack.abort();
            let _ = attack.await;
        }
        most = most.max(self.resident());
        let took = begun.elapsed();
        over.store(true, Ordering::SeqCst);
        let (asked, failed, slowest) = good.await.unwrap();
        let abused = self.abuses().await - abused;
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        println!(
            "{name}: {attackers} attackers, {} frames in {took:.1?}, ended with a word {}, without {}, counted {abused}; \
             good client: {asked} requests, {failed} failed, slowest {slowest:.0?}; memory {:+} KiB",
            count(&spent.frames),
            count(&spent.left),
            count(&spent.cut),
            (most - before) / 1024
        );
        assert!(asked >= 20, "{name}: the good client asked {asked} times only");
        assert!(failed * 100 <= asked, "{name}: {failed} of {asked} requests of the good client failed");
        assert!(most - before < GROWTH, "{name}: the gateway grew by {} bytes", most - before);
        count(&spent.left) + count(&spent.cut)
    }
}

/// Asks steadily on one connection: how often, how often in vain, and the longest wait.
async fn good(
    address: std::net::SocketAddr,
    score: Fields,
    over: Arc<AtomicBool>,
) -> (usize, usize, Duration) {
    let mut wire = Wire::connect(address).await;
    let (mut asked, mut failed, mut slowest, mut stream) = (0, 0, Duration::ZERO, 1);
    while !over.load(Ordering::SeqCst) || asked < 20 {
        let begun = Instant::now();
        wire.say(score.with(stream, "{}")).await;
        let outcome = wire.hear(stream).await;
        asked += 1;
        slowest = slowest.max(begun.elapsed());
        wire.streams.clear();
        stream += 2;
        if outcome.status != Some(200) {
            failed += 1;
            (wire, stream) = (Wire::connect(address).await, 1);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (asked, failed, slowest)
}

/// Connects again and again; says the first bytes, then the others by their number until the connection ends.
async fn over_and_over(
    address: std::net::SocketAddr,
    spent: Arc<Spent>,
    pairs: &'static [(u16, u32)],
    first: Vec<u8>,
    again: impl Fn(u32) -> (usize, Vec<u8>),
) {
    loop {
        let mut wire = Wire::with(address, pairs).await;
        wire.say(&first).await;
        let mut number = 0;
        loop {
            let (frames, said) = again(number);
            number += 1;
            if !wire.try_say(said).await || !wire.glance().await || !wire.goaway.is_empty() {
                break;
            }
            wire.streams.clear();
            spent.frames.fetch_add(frames, Ordering::SeqCst);
        }
        // The last word may be behind what the gateway did not read.
        while wire.goaway.is_empty() && wire.glance().await {}
        let how = if wire.goaway.is_empty() { &spent.cut } else { &spent.left };
        how.fetch_add(1, Ordering::SeqCst);
    }
}

/// Makes what is said again and again, by the number of a stream.
type Make = Arc<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// Frames that are said at a time.
const BATCH: u32 = 64;

fn batch(number: u32, make: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..BATCH).flat_map(|at| make(2 * (number * BATCH + at) + 3)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_are_ended() {
    let ground = Ground::start().await;
    let address = ground.process.data;
    let open = ground.score().open(1);
    let begun = frame(HEADERS, END_STREAM, 1, ground.score().block());
    let same = |frame: Vec<u8>| -> Make { Arc::new(move |_| frame.clone()) };
    let score = ground.score();
    let (rapid, made, lying) = (score.clone(), score.clone(), {
        let mut fields = score.clone();
        fields.add("content-length", "9");
        fields
    });
    let floods: Vec<(&str, Vec<u8>, usize, Make)> = vec![
        ("rapid reset", vec![], 2, Arc::new(move |id| [rapid.alone(id), reset(id, CANCEL)].concat())),
        (
            "made-you-reset by windows",
            vec![],
            2,
            Arc::new(move |id| [made.open(id), window_update(id, 0x7fff_ffff)].concat()),
        ),
        ("made-you-reset by lengths", vec![], 2, Arc::new(move |id| lying.with(id, "{}"))),
        ("SETTINGS", vec![], 1, same(settings(&[(4, 65_535)]))),
        ("PING", vec![], 1, same(frame(PING, 0, 0, [0; 8]))),
        ("PRIORITY", vec![], 1, Arc::new(|id| frame(PRIORITY, 0, id, [0, 0, 0, 0, 16]))),
        ("WINDOW_UPDATE", vec![], 1, same(window_update(0, 1))),
        ("empty DATA", open.clone(), 1, same(frame(DATA, 0, 1, ""))),
        ("DATA of one byte", open, 1, same(frame(DATA, 0, 1, "a"))),
        ("CONTINUATION", begun, 1, same(frame(CONTINUATION, 0, 1, ""))),
        ("unknown frames", vec![], 1, same(frame(0x99, 0, 0, [0; 64]))),
    ];
    for (name, first, frames, make) in floods {
        let attack = |spent| {
            let (first, make) = (first.clone(), make.clone());
            over_and_over(address, spent, USUAL, first, move |number| {
                (frames * BATCH as usize, batch(number, |id| make(id)))
            })
        };
        let ended = ground.stand(name, 4, attack).await;
        // What is a body, byte by byte, may be one.
        assert!(ended >= 4 || name == "DATA of one byte", "{name}: {ended} connections ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_closed_windows_are_bounded() {
    let ground = Ground::start().await;
    let address = ground.process.data;
    let block = ground.score().block();
    // A block of some hundred bytes that decodes to as much as is just too much, and to far too much.
    let keep = [block.clone(), kept_field("x-bomb", "a".repeat(4_000))].concat();
    let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, keep);
    for (name, times) in [("HPACK bomb", 40), ("HPACK bomb, larger", 4_000)] {
        let bomb = [block.clone(), table_field(62).repeat(times)].concat();
        let attack = |spent| {
            let (first, bomb) = (first.clone(), bomb.clone());
            over_and_over(address, spent, USUAL, first, move |number| {
                (64, batch(number, |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &bomb)))
            })
        };
        assert!(ground.stand(name, 8, attack).await > 0, "{name}: no connection ended");
    }
    // One byte of each is a field.
    for (name, count) in [("header list bomb", 1_500), ("header list bomb, larger", 16_000)] {
        let bomb = [block.clone(), vec![0x90; count]].concat();
        let attack = |spent| {
            let bomb = bomb.clone();
            over_and_over(address, spent, USUAL, Vec::new(), move |number| {
                (64, batch(number, |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &bomb)))
            })
        };
        assert!(ground.stand(name, 8, attack).await > 0, "{name}: no connection ended");
    }
    let mut long = ground.score();
    long.set(":path", "/endpoints/my-ep/long");
    let streams = |window: &'static [(u16, u32)], spent: Arc<Spent>| {
        let long = long.clone();
        async move {
            let mut wire = Wire::with(address, window).await;
            wire.say((0..100).flat_map(|number| long.alone(2 * number + 1)).collect::<Vec<_>>()).await;
            spent.frames.fetch_add(100, Ordering::SeqCst);
            while wire.streams.values().filter(|outcome| outcome.reset == Some(CANCEL)).count() < 100 {
                if wire.next().await.is_none() {
                    spent.cut.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            spent.left.fetch_add(1, Ordering::SeqCst);
        }
    };
    for (name, window) in [
        ("closed windows, 100 streams each", &[(1, 0), (4, 0)]),
        ("windows of one byte, 100 streams each", &[(1, 0), (4, 1)]),
    ] {
        let ended = ground.stand(name, 4, |spent| streams(window, spent)).await;
        assert_eq!(ended, 4, "{name}: streams of which nothing is taken are not reset");
    }
    // Windows wide open, and nothing is ever read.
    let attack = |spent: Arc<Spent>| {
        let long = long.clone();
        async move {
            let mut wire = Wire::with(address, &[(1, 0), (4, 0x7fff_ffff)]).await;
            wire.say(window_update(0, 0x7fff_0000)).await;
            wire.say((0..100).flat_map(|number| long.alone(2 * number + 1)).collect::<Vec<_>>()).await;
            spent.frames.fetch_add(100, Ordering::SeqCst);
            tokio::time::sleep(LONGEST).await;
            while wire.glance().await {}
            spent.cut.fetch_add(1, Ordering::SeqCst);
        }
    };
    ground.stand("nothing is read, 100 streams each", 4, attack).await;
    // Heads that never end, over many connections.
    let half = frame(HEADERS, END_STREAM, 1, &block);
    let attack = |spent: Arc<Spent>| {
        let half = half.clone();
        async move {
            let mut wires = Vec::new();
            for _ in 0..75 {
                let mut wire = Wire::connect(address).await;
                // An acknowledgement within a block would be an error.
                wire.polite = false;
                wire.say(&half).await;
                wires.push(wire);
                spent.frames.fetch_add(1, Ordering::SeqCst);
            }
            for mut wire in wires {
                while wire.next().await.is_some() {}
                spent.cut.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let ended = ground.stand("heads without an end, 75 connections each", 4, attack).await;
    assert_eq!(ended, 300, "heads without an end are not waited for");
    let mut raw = Raw::connect(address).await;
    raw.say("GET /endpoints/none HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.hear().await.unwrap().status, 404);
}
