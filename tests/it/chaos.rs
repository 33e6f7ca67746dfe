//! Instances that fail in every way, with good clients beside: no request fails that could have been served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::instance::{ok, read};
use crate::support::stand::deployment;
use crate::support::steady::{Steady, Tally};
use crate::support::{Plan, Stand, until};

/// How an instance behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Takes requests and never answers.
    Hung,
    /// Answers late.
    Slow,
    /// Begins an answer and resets the connection.
    Cut,
    /// Takes a request and resets the connection.
    Reset,
}

/// An instance whose mood can be changed, and that can be killed and started again at the same address.
struct Moody {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    /// Requests that reached it.
    asked: Arc<AtomicUsize>,
    serving: Option<JoinHandle<()>>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Moody {
    async fn new() -> Moody {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, asked, open) = (Arc::new(Mutex::new(Mood::Well)), Arc::default(), Arc::default());
        let mut moody = Moody { address, mood, asked, serving: None, open };
        moody.serve(listener);
        moody
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(&mut self, listener: TcpListener) {
        let (mood, asked, open) = (self.mood.clone(), self.asked.clone(), self.open.clone());
        self.serving = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                open.lock().push(tokio::spawn(answer(stream, mood.clone(), asked.clone())));
            }
        }));
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Waits until the next request reaches it.
    async fn is_asked(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        until("it is asked", async || self.asked.load(Ordering::SeqCst) > before).await;
    }

    /// Ends it with everything that it works on, as a process that is killed.
    async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        let open = std::mem::take(&mut *self.open.lock());
        for connection in open {
            connection.abort();
            let _ = connection.await;
        }
    }

    async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }
}

async fn answer(mut stream: TcpStream, mood: Arc<Mutex<Mood>>, asked: Arc<AtomicUsize>) {
    use tokio::io::AsyncWriteExt;
    stream.set_zero_linger().unwrap();
    let mut buffer = Vec::new();
    while read(&mut stream, &mut buffer).await.is_some() {
        asked.fetch_add(1, Ordering::SeqCst);
        let mood = *mood.lock();
        match mood {
            Mood::Well => {}
            Mood::Hung => std::future::pending().await,
            Mood::Slow => tokio::time::sleep(Duration::from_millis(400)).await,
            Mood::Reset => return,
            Mood::Cut => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await;
                // A reset could overtake it: the gateway has read the cut when it leaves.
                let _ = stream.shutdown().await;
                let _ = read(&mut stream, &mut buffer).await;
                return;
            }
        }
        if stream.write_all(&ok("{}")).await.is_err() {
            return;
        }
    }
}

fn message(stand: &Stand, method: &str) -> String {
    let token = stand.token("scientist");
    let length = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
    format!(
        "{method} /endpoints/my-ep/score HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n{length}"
    )
}

const LIMITS: &str = "{ eject_failures: 3, eject_time: 200ms, warm_up: 10ms }";
/// Failures that one episode may cost: as many as it takes for an instance to be left alone, and what is under way then.
const EPISODE: usize = 3 + 2;

/// A gateway before two instances, and a client of each kind.
struct Scene {
    instances: Vec<Moody>,
    stand: Stand,
    get: Steady,
    post: Steady,
}

async fn scene() -> Scene {
    let instances = vec![Moody::new().await, Moody::new().await];
    let urls: Vec<String> = instances.iter().map(Moody::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let plan = Plan::endpoint("aad_token", &urls).set("limits", LIMITS);
    let settings = "max_concurrent_requests_per_instance: 512, request_timeout_ms: 1000";
    let text =
        deployment("my-ep", "blue", &urls, "").replace("max_concurrent_requests_per_instance: 512", settings);
    assert!(text.contains(settings));
    let stand = Stand::start(plan.blue(text)).await;
    let get = Steady::start(stand.gateway.data, &message(&stand, "GET"), 2, 50);
    let post = Steady::start(stand.gateway.data, &message(&stand, "POST"), 2, 50);
    Scene { instances, stand, get, post }
}

impl Scene {
    /// Lets the clients send so many more requests each.
    async fn go_on(&self, requests: usize) {
        let (get, post) = (self.get.tally().sent, self.post.tally().sent);
        until("the clients go on", async || {
            self.get.tally().sent >= get + requests && self.post.tally().sent >= post + requests
        })
        .await;
    }

    fn report(&self, what: &str) -> (Tally, Tally) {
        let (get, post) = (self.get.take(), self.post.take());
        println!("{what}: GET {get}; POST {post}");
        (get, post)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_clients_hardly_notice_an_instance_that_fails() {
    let mut scene = scene().await;
    scene.go_on(50).await;
    let (get, post) = scene.report("all well");
    assert_eq!((get.failures(), post.failures()), (0, 0));
    for mood in [Mood::Reset, Mood::Cut, Mood::Hung, Mood::Slow] {
        scene.instances[0].is_asked().await;
        scene.instances[0].set(mood);
        scene.instances[0].is_asked().await;
        scene.go_on(60).await;
        scene.instances[0].set(Mood::Well);
        scene.go_on(60).await;
        let (get, post) = scene.report(&format!("{mood:?}, then well again"));
        match mood {
            Mood::Slow => assert_eq!((get.failures(), post.failures()), (0, 0)),
            // What promises to change nothing is sent again elsewhere.
            Mood::Reset => assert!(get.failures() == 0 && post.failures() <= 2 * EPISODE, "{get}; {post}"),
            // An answer that has begun, or that may still come, is not asked for twice.
            _ => assert!(get.failures() + post.failures() <= 3 * EPISODE, "{get}; {post}"),
        }
    }
    for round in 1..=3 {
        for at in [0, 1] {
            scene.instances[at].is_asked().await;
            scene.instances[at].kill().await;
            scene.go_on(40).await;
            scene.instances[at].start().await;
            scene.go_on(40).await;
            let (get, post) = scene.report(&format!("instance {at} killed and started again, round {round}"));
            assert_eq!(get.failures(), 0, "{get}");
            assert!(post.failures() <= 2, "only what it was working on: {post}");
        }
    }
    scene.stand.stop().await;
}

/// A client that leaves is not worked for: its instance's connection ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_for_clients_that_leave_ends_with_them() {
    const CLIENTS: usize = 100;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // What the model did after its client had left, request by request: it works for 5 s, or until its caller is gone.
    let ends = Arc::<Mutex<Vec<std::time::Instant>>>::default();
    let came = tokio::sync::watch::Sender::new(0_usize);
    let (told, arrived) = (ends.clone(), came.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (told, arrived) = (told.clone(), arrived.clone());
            tokio::spawn(async move {
                use tokio::io::AsyncReadExt;
                let mut buffer = Vec::new();
                if read(&mut stream, &mut buffer).await.is_none() {
                    return;
                }
                arrived.send_modify(|came| *came += 1);
                let mut byte = [0];
                let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await;
                told.lock().push(std::time::Instant::now());
            });
        }
    });
    let plan = Plan::endpoint("aad_token", &[&url]);
    let text = deployment("my-ep", "blue", &[&url], "").replace("512", "512, request_timeout_ms: 10000");
    let stand = Stand::start(plan.blue(text)).await;
    let post = message(&stand, "POST");
    let mut left = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (post, data, mut came) = (post.clone(), stand.gateway.data, came.subscribe());
        left.spawn(async move {
            let mut raw = crate::support::Raw::connect(data).await;
            raw.say(&post).await;
            // It leaves once the model works for everybody.
            came.wait_for(|came| *came == CLIENTS).await.unwrap();
            drop(raw);
            std::time::Instant::now()
        });
    }
    let mut departures: Vec<_> = left.join_all().await;
    until("the model stops", async || ends.lock().len() == CLIENTS).await;
    departures.sort_unstable();
    let mut ends = ends.lock().clone();
    ends.sort_unstable();
    // Both in order: the sum of the differences does not depend on who is who.
    let wasted: f64 = ends
        .iter()
        .zip(&departures)
        .map(|(end, left)| end.saturating_duration_since(*left).as_secs_f64())
        .sum();
    println!("{CLIENTS} clients that left before a model of 5 s: {wasted:.3} instance-seconds beyond");
    assert!(wasted < 490.0 * 0.05, "{wasted} s of 490 s");
    stand.stop().await;
}
