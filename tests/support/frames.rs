//! A client that says HTTP/2 frame by frame, as it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The settings of [`Wire`]: no dynamic table for answers, so that each of their blocks can be read by itself.
pub const USUAL: &[(u16, u32)] = &[(1, 0)];

/// A frame, as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    frame(SETTINGS, 0, 0, pairs.iter().flat_map(pair).collect::<Vec<_>>())
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

/// An integer of HPACK behind a prefix of so many bits (RFC 7541 section 5.1).
fn integer(first: u8, bits: u32, mut value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    value -= most;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [integer(0, 7, bytes.len()), bytes.to_vec()].concat()
}

/// A field with a name of its own, that is not put into the table.
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], text(name.as_ref()), text(value.as_ref())].concat()
}

/// A field that is put into the table.
pub fn kept_field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], text(name.as_ref()), text(value.as_ref())].concat()
}

/// A field of the table: 62 is the one that was put there last.
pub fn table_field(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// The fields of a request, in their order.
#[derive(Clone)]
pub struct Fields(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// `POST /endpoints/my-ep/score` with this credential.
    pub fn score(credential: &str) -> Fields {
        let mut fields = Fields(Vec::new());
        fields.add(":method", "POST").add(":scheme", "http").add(":authority", "gateway");
        fields.add(":path", "/endpoints/my-ep/score").add("authorization", format!("Bearer {credential}"));
        fields
    }

    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Fields {
        self.0.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Puts one in front of all others.
    pub fn first(&mut self, name: &str, value: &str) -> &mut Fields {
        self.0.insert(0, (name.into(), value.into()));
        self
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Fields {
        for (_, old) in self.0.iter_mut().filter(|(found, _)| found == name.as_bytes()) {
            *old = value.as_ref().to_vec();
        }
        self
    }

    pub fn drop(&mut self, name: &str) -> &mut Fields {
        self.0.retain(|(found, _)| found != name.as_bytes());
        self
    }

    pub fn block(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, value)| field(name, value)).collect()
    }

    /// HEADERS with all of them, and no body.
    pub fn alone(&self, stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, self.block())
    }

    /// HEADERS with all of them, before a body.
    pub fn open(&self, stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, stream, self.block())
    }

    /// HEADERS and one DATA.
    pub fn with(&self, stream: u32, body: impl AsRef<[u8]>) -> Vec<u8> {
        [self.open(stream), frame(DATA, END_STREAM, stream, body)].concat()
    }
}

/// A frame that came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Heard {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub status: Option<u16>,
    pub body: Vec<u8>,
    pub ended: bool,
    pub reset: Option<u32>,
}

impl Outcome {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection.
pub struct Wire {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
    /// What became of its streams so far.
    pub streams: BTreeMap<u32, Outcome>,
    /// Settings that the gateway gave.
    pub given: Vec<(u16, u32)>,
    /// The codes of its GOAWAY frames.
    pub goaway: Vec<u32>,
    /// Answers to pings that came.
    pub pongs: usize,
    /// Settings and pings are acknowledged.
    pub polite: bool,
}

impl Wire {
    /// A connection on which nothing was said.
    pub async fn silent(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::of(stream)
    }

    fn of(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Wire {
        Wire {
            socket: Box::new(socket),
            buffer: Vec::new(),
            streams: BTreeMap::new(),
            given: Vec::new(),
            goaway: Vec::new(),
            pongs: 0,
            polite: true,
        }
    }

    /// A connection with prior knowledge that said its settings.
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire::with(address, USUAL).await
    }

    /// One with settings of its own.
    pub async fn with(address: SocketAddr, pairs: &[(u16, u32)]) -> Wire {
        let mut wire = Wire::silent(address).await;
        wire.say([PREFACE, &settings(pairs)].concat()).await;
        wire
    }

    /// A connection over TLS that agreed on `h2`, and has said nothing.
    pub async fn tls(address: SocketAddr, root: &Path) -> Wire {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("gateway").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Wire::of(stream)
    }

    /// Writes; a connection that is closed already is no error here, what is heard tells.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_say(bytes).await;
    }

    /// Writes; false once the connection is closed.
    pub async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok() && self.socket.flush().await.is_ok()
    }

    /// Takes what is there already, without waiting; false once the connection is closed.
    pub async fn glance(&mut self) -> bool {
        let read = self.socket.read_buf(&mut self.buffer);
        match tokio::time::timeout(std::time::Duration::from_micros(50), read).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return false,
            Err(_) => return true,
        }
        while let Some(heard) = self.take() {
            self.note(&heard).await;
        }
        true
    }

    fn take(&mut self) -> Option<Heard> {
        let head: [u8; 9] = self.buffer.get(..9)?.try_into().unwrap();
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Heard { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Heard> {
        let reading = async {
            loop {
                if let Some(heard) = self.take() {
                    return Some(heard);
                }
                if !matches!(self.socket.read_buf(&mut self.buffer).await, Ok(1..)) {
                    return None;
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, reading).await.expect("nothing was heard in time")?;
        self.note(&heard).await;
        Some(heard)
    }

    async fn note(&mut self, heard: &Heard) {
        match heard.kind {
            SETTINGS if heard.flags & ACK == 0 => {
                let pair = |raw: &[u8]| {
                    (u16::from_be_bytes([raw[0], raw[1]]), u32::from_be_bytes(raw[2..6].try_into().unwrap()))
                };
                self.given.extend(heard.payload.chunks(6).map(pair));
                if self.polite {
                    self.say(frame(SETTINGS, ACK, 0, [])).await;
                }
            }
            PING if heard.flags & ACK != 0 => self.pongs += 1,
            PING if self.polite => self.say(frame(PING, ACK, 0, &heard.payload)).await,
            GOAWAY => self.goaway.push(heard.number(4)),
            HEADERS | DATA | RST_STREAM => {
                let outcome = self.streams.entry(heard.stream).or_default();
                match heard.kind {
                    RST_STREAM => outcome.reset = Some(heard.number(0)),
                    DATA => outcome.body.extend(&heard.payload),
                    // A second block is trailers.
                    _ => outcome.status = outcome.status.or(Some(status(&heard.payload))),
                }
                outcome.ended |= heard.kind != RST_STREAM && heard.flags & END_STREAM != 0;
            }
            _ => {}
        }
    }

    /// What becomes of a stream, which may be that the connection ends.
    pub async fn hear(&mut self, stream: u32) -> Outcome {
        loop {
            if let Some(outcome) = self.streams.get(&stream).filter(|o| o.ended || o.reset.is_some()) {
                return outcome.clone();
            }
            if self.next().await.is_none() {
                return self.streams.get(&stream).cloned().unwrap_or_default();
            }
        }
    }

    /// Hears until a ping is answered: what was said before has been read by then.
    pub async fn settle(&mut self) -> bool {
        let want = self.pongs + 1;
        self.say(frame(PING, 0, 0, *b"settled?")).await;
        while self.pongs < want {
            if self.next().await.is_none() {
                return false;
            }
        }
        true
    }

    /// Hears until the connection ends, and gives the last code that it ended with.
    pub async fn leave(&mut self) -> Option<u32> {
        while self.next().await.is_some() {}
        self.goaway.last().copied()
    }
}

/// The status in a block of an answer that uses no dynamic table.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // The table was made smaller.
        [first, rest @ ..] if first & 0xe0 == 0x20 => rest,
        block => block,
    };
    let digits: Vec<u8> = match block {
        [index @ 0x88..=0x8e, ..] => return [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x48 | 0x08 | 0x18, length, rest @ ..] if length & 0x80 != 0 => {
            digits(&rest[..usize::from(length & 0x7f)])
        }
        [0x48 | 0x08 | 0x18, length, rest @ ..] => rest[..usize::from(*length)].to_vec(),
        _ => panic!("no status at the beginning of {block:02x?}"),
    };
    String::from_utf8(digits).unwrap().parse().unwrap()
}

/// Three digits in Huffman's code (RFC 7541 appendix B): 0, 1 and 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut at, mut found) = (0, Vec::new());
    while found.len() < 3 {
        let short = number(&bits[at..at + 5]);
        if short < 3 {
            found.push(b'0' + short);
            at += 5;
        } else {
            found.push(b'3' + number(&bits[at..at + 6]) - 0b01_1001);
            at += 6;
        }
    }
    found
}
