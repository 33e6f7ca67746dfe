//! An instance that keeps every request that reached it, byte for byte.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Raw;

/// A request as it reached the instance.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The request line and the fields, as they were written.
    pub head: String,
    /// The body, without its chunk framing.
    pub body: Vec<u8>,
    /// What followed the last chunk.
    pub trailers: Vec<String>,
    /// The body did not come to its end.
    pub cut: bool,
    /// Which of the instance's connections it came on, from 1.
    pub connection: usize,
}

impl Seen {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }

    /// The one value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands {} times in\n{}", all.len(), self.head);
        all.first().copied()
    }
}

/// What an instance writes once it has read a request: raw bytes, and whether it then closes.
pub type Script = Arc<dyn Fn(&Seen) -> (Vec<u8>, bool) + Send + Sync>;

/// When an instance answers a request that it has read.
pub type Gate = Arc<dyn Fn(&Seen) -> BoxFuture<'static, ()> + Send + Sync>;

/// An inference server of a test.
#[derive(Clone)]
pub struct Instance {
    /// Its address as `backend.urls` wants it.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Instance {
    /// An instance that answers 200 with its name as JSON.
    pub async fn named(name: &str) -> Instance {
        let body = format!("{{\"instance\":\"{name}\"}}");
        Instance::scripted(Arc::new(move |_| (ok(&body), false))).await
    }

    /// An instance that answers what the script says.
    pub async fn scripted(script: Script) -> Instance {
        Instance::gated(script, Arc::new(|_| Box::pin(std::future::ready(())))).await
    }

    /// An instance that answers what the script says, when the gate lets it.
    pub async fn gated(script: Script, gate: Gate) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let instance = Instance {
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (instance.seen.clone(), instance.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut connections = connections.lock();
                    *connections += 1;
                    *connections
                };
                tokio::spawn(serve(stream, number, seen.clone(), script.clone(), gate.clone()));
            }
        });
        instance
    }

    /// What reached it so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// How many requests reached it so far.
    pub fn count(&self) -> usize {
        self.seen.lock().len()
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

/// An instance that holds its requests until it is told to go on.
pub struct Holding {
    pub url: String,
    pub go: watch::Sender<bool>,
    sent: watch::Receiver<usize>,
}

impl Holding {
    pub async fn named(name: &'static str) -> Holding {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (go, going) = watch::channel(false);
        let (counter, sent) = watch::channel(0);
        let counter = Arc::new(counter);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut going, counter) = (going.clone(), counter.clone());
                tokio::spawn(async move {
                    let mut raw = Raw::of(stream);
                    while raw.head().await.is_some() {
                        counter.send_modify(|count| *count += 1);
                        if going.wait_for(|go| *go).await.is_err() {
                            return;
                        }
                        raw.say(ok(name)).await;
                    }
                });
            }
        });
        Holding { url, go, sent }
    }

    /// How many requests it was sent so far.
    pub fn sent(&self) -> usize {
        *self.sent.borrow()
    }
}

/// A 200 with this JSON body.
pub fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    number: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    gate: Gate,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut buffer).await {
        request.connection = number;
        let (answer, close) = script(&request);
        let (cut, open) = (request.cut, gate(&request));
        seen.lock().push(request);
        open.await;
        if cut || stream.write_all(&answer).await.is_err() || close {
            return;
        }
    }
}

/// Reads one request, keeping what follows it in the buffer. `None` at the end of the connection.
pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut request = Seen { head, body: Vec::new(), trailers: Vec::new(), cut: false, connection: 0 };
    let length: Option<usize> = request.field("content-length").and_then(|text| text.parse().ok());
    if request.field("transfer-encoding").is_some() {
        loop {
            let Some(line) = take_line(stream, buffer).await else {
                request.cut = true;
                break;
            };
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("0").trim(), 16).unwrap_or(0);
            if size == 0 {
                while let Some(line) = take_line(stream, buffer).await.filter(|line| !line.is_empty()) {
                    request.trailers.push(line);
                }
                break;
            }
            let Some(chunk) = take(stream, buffer, size + 2).await else {
                request.cut = true;
                break;
            };
            request.body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = length {
        match take(stream, buffer, length).await {
            Some(body) => request.body = body,
            None => request.cut = true,
        }
    }
    Some(request)
}

/// So many bytes; `None` at the end of the connection.
pub async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while buffer.len() < count {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..count).collect())
}

async fn take_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 2);
            return Some(line);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
