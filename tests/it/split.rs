//! The split of traffic, counted to the request over real connections; and the choice among instances.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::instance::Holding;
use crate::support::stand::deployment;
use crate::support::{PATIENCE, Plan, Raw, Stand, until};
use parking_lot::RwLock;

const WORKERS: u64 = 2;
const CLIENTS: u64 = 16;
const LAYOUTS: [&str; 2] = ["per_core", "work_stealing"];

/// An instance that only counts: a thread for each connection, requests without bodies.
struct Counter {
    url: String,
    count: Arc<AtomicU64>,
}

impl Counter {
    fn start() -> Counter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counted) = (stream.unwrap(), counted.clone());
                thread::spawn(move || answer(stream, &counted));
            }
        });
        Counter { url, count }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, count: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]) {
        filled += read;
        // One request at a time comes over a connection, so that an empty line at the end is its end.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            count.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// A client with one connection that is kept.
struct Client {
    stream: TcpStream,
    message: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, key: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let message =
            format!("GET /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        Client { stream, message: message.into_bytes(), buffer: Vec::new() }
    }

    /// One request; whether blue answered it. Anything but 200 fails the test.
    fn ask(&mut self) -> bool {
        self.stream.write_all(&self.message).unwrap();
        self.buffer.clear();
        let mut chunk = [0; 2048];
        while !self.buffer.ends_with(b"\r\n\r\n") {
            let read = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(read > 0, "the connection was closed");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer));
        let has = |what: &[u8]| memchr::memmem::find(&self.buffer, what).is_some();
        let (blue, green) =
            (has(b"azureml-model-deployment: blue\r\n"), has(b"azureml-model-deployment: green\r\n"));
        assert!(blue != green, "{}", String::from_utf8_lossy(&self.buffer));
        blue
    }
}

fn traffic(blue: u8) -> String {
    format!("name: my-ep\nauth_mode: key\ntraffic: {{ blue: {blue}, green: {} }}\n", 100 - blue)
}

/// A gateway in front of two counting instances, and a key.
async fn stand(layout: &str, blue: u8, instances: [&str; 2]) -> (Stand, String) {
    let mut plan = Plan::default();
    plan.add("ep.yaml", traffic(blue));
    plan.add("blue.yaml", deployment("my-ep", "blue", &[instances[0]], ""));
    plan.add("green.yaml", deployment("my-ep", "green", &[instances[1]], ""));
    let stand = Stand::start(plan.data_plane(&format!("layout: {layout}"))).await;
    let key = stand.keys("my-ep").await.0;
    (stand, key)
}

/// Asserts that so many of all went to blue, within one for each worker.
fn assert_share(what: &str, blue: u64, all: u64, percent: u64) {
    assert_eq!(all * percent % 100, 0, "choose a number that divides");
    let exact = all * percent / 100;
    assert!(blue.abs_diff(exact) <= WORKERS, "{what}: {blue} of {all} to blue, {exact} would be exact");
}

/// Takes one of so many tickets; `false` once all are gone.
fn take(tickets: &AtomicU64, most: u64) -> bool {
    tickets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < most).then_some(n + 1)).is_ok()
}

/// Sends so many requests; gives what the two deployments got.
async fn split_to_the_request(layout: &'static str, all: u64) -> (u64, u64) {
    let (blue, green) = (Counter::start(), Counter::start());
    let (stand, key) = stand(layout, 90, [&blue.url, &green.url]).await;
    let (data, tickets) = (stand.gateway.data, Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, tickets) = (Client::connect(data, &key), tickets.clone());
            thread::spawn(move || {
                let mut to_blue = 0_u64;
                while take(&tickets, all) {
                    to_blue += u64::from(client.ask());
                }
                to_blue
            })
        })
        .collect();
    let counting =
        tokio::task::spawn_blocking(|| clients.into_iter().map(|c| c.join().unwrap()).sum::<u64>());
    let to_blue = counting.await.unwrap();
    assert_share(layout, to_blue, all, 90);
    assert_eq!((blue.count(), green.count()), (to_blue, all - to_blue), "what the instances counted");
    stand.stop().await;
    (to_blue, all - to_blue)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_are_split_to_the_request_with_a_runtime_per_core() {
    let (blue, green) = split_to_the_request("per_core", 100_000).await;
    println!("{blue} / {green}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_are_split_to_the_request_with_work_stealing() {
    let (blue, green) = split_to_the_request("work_stealing", 100_000).await;
    println!("{blue} / {green}");
}

/// Clients that loop for ever. Each request is made under `gate`, so that whoever holds it alone knows that none is under way.
struct Load {
    gate: RwLock<()>,
    stop: AtomicBool,
    /// All requests so far.
    all: AtomicU64,
    /// Requests that are counted, and those of them that went to blue.
    tickets: AtomicU64,
    most: AtomicU64,
    blue: AtomicU64,
}

impl Load {
    fn run(&self, mut client: Client) {
        while !self.stop.load(Ordering::SeqCst) {
            let _under_way = self.gate.read();
            let most = self.most.load(Ordering::SeqCst);
            if most > 0 && !take(&self.tickets, most) {
                return;
            }
            let blue = client.ask();
            self.all.fetch_add(1, Ordering::SeqCst);
            if most > 0 && blue {
                self.blue.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_weights_hold_from_the_first_request_after_the_change_and_no_request_fails() {
    const COUNTED: u64 = 2_000;
    for layout in LAYOUTS {
        let (blue, green) = (Counter::start(), Counter::start());
        let (stand, key) = stand(layout, 90, [&blue.url, &green.url]).await;
        let load = Arc::new(Load {
            gate: RwLock::new(()),
            stop: AtomicBool::new(false),
            all: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            most: AtomicU64::new(0),
            blue: AtomicU64::new(0),
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, load) = (Client::connect(stand.gateway.data, &key), load.clone());
                thread::spawn(move || load.run(client))
            })
            .collect();
        until("there is load", async || load.all.load(Ordering::SeqCst) > 500).await;
        stand.write("ep.yaml", &traffic(20)).await;
        // Those that began before the change ended may have gone either way; from here on none may.
        let counting = load.clone();
        tokio::task::spawn_blocking(move || {
            let _alone = counting.gate.write();
            counting.most.store(COUNTED, Ordering::SeqCst);
        })
        .await
        .unwrap();
        // A client that failed shows here.
        tokio::task::spawn_blocking(|| clients.into_iter().for_each(|client| client.join().unwrap()))
            .await
            .unwrap();
        assert_eq!(load.tickets.load(Ordering::SeqCst), COUNTED);
        assert_share(layout, load.blue.load(Ordering::SeqCst), COUNTED, 20);
        assert_eq!(blue.count() + green.count(), load.all.load(Ordering::SeqCst));
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_the_instance_with_the_least_to_do() {
    for layout in LAYOUTS {
        let (quick, slow) = (Holding::named("quick").await, Holding::named("slow").await);
        let blue = deployment("my-ep", "blue", &[&slow.url, &quick.url], "");
        let blue = blue.replace(
            "max_concurrent_requests_per_instance: 512 }",
            "max_concurrent_requests_per_instance: 512, request_timeout_ms: 60000 }",
        );
        let mut plan = Plan::default();
        plan.add("ep.yaml", "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned());
        plan.add("blue.yaml", blue);
        let stand = Stand::start(plan.data_plane(&format!("layout: {layout}"))).await;
        let (key, data) = (stand.keys("my-ep").await.0, stand.gateway.data);
        let message =
            format!("GET /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        // Neither answers yet: what comes is shared out.
        let mut waiting = Vec::new();
        for all in 1..=8 {
            let mut raw = Raw::connect(data).await;
            raw.say(&message).await;
            waiting.push(raw);
            until("the request is at an instance", async || quick.sent() + slow.sent() == all).await;
        }
        assert_eq!((quick.sent(), slow.sent()), (4, 4), "{layout}");
        // One of them begins to answer: what comes from now on is its own.
        quick.go.send_replace(true);
        let in_flight = "scoregate_requests_in_flight{deployment=\"blue\",endpoint=\"my-ep\"}";
        until("the quick one is done", async || (stand.metric(in_flight).await - 4.0).abs() < 0.5).await;
        let mut others = [Raw::connect(data).await, Raw::connect(data).await, Raw::connect(data).await];
        for _ in 0..20 {
            for other in &mut others {
                other.say(&message).await;
                assert_eq!(other.hear().await.unwrap().body, b"quick");
            }
        }
        assert_eq!((quick.sent(), slow.sent()), (64, 4), "{layout}");
        slow.go.send_replace(true);
        let mut by_slow = 0;
        for raw in &mut waiting {
            by_slow += usize::from(raw.hear().await.unwrap().body == b"slow");
        }
        assert_eq!(by_slow, 4);
        // Now that neither has anything to do, they take turns.
        until("the slow one has its share again", async || {
            others[0].say(&message).await;
            assert_eq!(others[0].hear().await.unwrap().status, 200);
            slow.sent() > 4
        })
        .await;
        stand.stop().await;
    }
}
