//! An OpenID provider whose manners a test chooses, and can change while the gateway runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::instance::read;

/// Which of its documents a provider gives in its manner; the other one is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    Metadata,
    Keys,
}

/// What a provider does when it is asked for that document.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Gives this document.
    Gives(Value),
    /// Gives these bytes with this content type.
    Says(&'static str, Vec<u8>),
    /// Answers this status, with the good document.
    Status(u16),
    /// Sends whoever asks to another address.
    Redirects(String),
    /// Takes the question and never answers.
    Silent,
    /// A byte in a second.
    Drips,
    /// So many bytes of JSON, with their length or without.
    Endless(u64, bool),
    /// Half of the good document, and then the end of the connection.
    Breaks,
    /// Takes the question and closes.
    Closes,
}

/// A running provider.
pub struct Provider {
    /// The `iss` of its tokens, below which its documents are.
    pub issuer: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    issuer: String,
    keys: Value,
    manner: Mutex<Option<(Document, Manner)>>,
    asked: [AtomicUsize; 2],
    /// The most bytes of an endless document that one connection took.
    taken: AtomicU64,
}

impl Provider {
    /// A provider that gives these keys.
    pub async fn start(keys: Vec<Value>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            keys: json!({ "keys": keys }),
            manner: Mutex::default(),
            asked: Default::default(),
            taken: AtomicU64::new(0),
        });
        let own = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, own.clone()));
            }
        });
        Provider { issuer, shared, accepting }
    }

    /// From now on it behaves so; `None` is well.
    pub fn behaves(&self, manner: Option<(Document, Manner)>) {
        *self.shared.manner.lock() = manner;
    }

    /// It is gone: whoever connects is refused.
    pub fn goes(&self) {
        self.accepting.abort();
    }

    /// How often it was asked for a document.
    pub fn asked(&self, document: Document) -> usize {
        self.shared.asked[document as usize].load(Ordering::SeqCst)
    }

    /// The most bytes of an endless document that one connection took, those in its buffers included.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// The entry of `issuers:` in the settings that trusts it, for this audience.
    pub fn setting(&self, audience: &str) -> String {
        format!("{{ issuer: \"{}\", audiences: [ \"{audience}\" ], allow_http: true }}", self.issuer)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn message(status: u16, kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    const JSON: &str = "application/json";
    let mut buffer = Vec::new();
    let Some(asked) = read(&mut stream, &mut buffer).await else { return };
    let document =
        if asked.line().contains("openid-configuration") { Document::Metadata } else { Document::Keys };
    shared.asked[document as usize].fetch_add(1, Ordering::SeqCst);
    let good = match document {
        Document::Metadata => {
            json!({ "issuer": shared.issuer, "jwks_uri": format!("{}/keys", shared.issuer) })
        }
        Document::Keys => shared.keys.clone(),
    };
    let good = good.to_string().into_bytes();
    let manner =
        shared.manner.lock().clone().filter(|(which, _)| *which == document).map(|(_, manner)| manner);
    // Whoever asked may be gone; that is no error here.
    let _ = match manner {
        None => stream.write_all(&message(200, JSON, "", &good)).await,
        Some(Manner::Gives(value)) => {
            stream.write_all(&message(200, JSON, "", value.to_string().as_bytes())).await
        }
        Some(Manner::Says(kind, bytes)) => stream.write_all(&message(200, kind, "", &bytes)).await,
        Some(Manner::Status(status)) => stream.write_all(&message(status, JSON, "", &good)).await,
        Some(Manner::Redirects(to)) => {
            let more = format!("Location: {to}\r\n");
            stream.write_all(&message(302, JSON, &more, &good)).await
        }
        Some(Manner::Silent) => {
            let _ = read(&mut stream, &mut buffer).await;
            Ok(())
        }
        Some(Manner::Drips) => drip(&mut stream, &message(200, JSON, "", &good)).await,
        Some(Manner::Endless(bytes, sized)) => pour(&mut stream, bytes, sized, &shared.taken).await,
        Some(Manner::Breaks) => {
            let whole = message(200, JSON, "", &good);
            stream.write_all(&whole[..whole.len() - good.len() / 2]).await
        }
        Some(Manner::Closes) => Ok(()),
    };
}

async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn pour(stream: &mut TcpStream, bytes: u64, sized: bool, taken: &AtomicU64) -> std::io::Result<()> {
    let length = if sized { format!("Content-Length: {bytes}\r\n") } else { String::new() };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}Connection: close\r\n\r\n{{\"keys\":["
    );
    stream.write_all(head.as_bytes()).await?;
    let blank = vec![b' '; 64 * 1024];
    let mut poured = 0;
    while poured < bytes {
        stream.write_all(&blank).await?;
        poured += blank.len() as u64;
        taken.fetch_max(poured, Ordering::SeqCst);
    }
    Ok(())
}
