//! A request's way through guard, parser, checks and client, from one end of a pipe to one end of another, with time
//! that passes only when nothing else is left to do.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use scoregate::gate::fault::Fault;
use scoregate::net::conn::{Conn, ConnTimes};
use scoregate::net::frames::FrameLimits;
use scoregate::net::framing::HeadLimits;
use scoregate::net::guard::FrameCounts;
use scoregate::net::serve::{Protocol, Service};
use scoregate::proxy::headers::{Forwards, strip, towards_client};
use scoregate::proxy::receive::receive;
use scoregate::settings::Limits;
use scoregate::telemetry::metrics::Metrics;
use scoregate::upstream::{Exchange as _, RequestBody, SendError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::wire;

/// Bytes that a pipe takes without a reader.
const PIPE: usize = 1 << 20;
/// A body that is longer is refused.
const BODY: u64 = 1 << 16;
/// When it has passed, everybody waits for somebody else. No clock of the gateway is as short.
const QUIET: Duration = Duration::from_millis(1);

/// Which request it is, or whose answer.
const NUMBER: &str = "x-request-id";

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().unwrap());

/// A request that was let pass.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// The how many-th of its connection, refused ones counted, from 0.
    pub number: usize,
    pub method: String,
    pub target: String,
}

/// What is known when all is over.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that were begun, refused ones among them.
    pub begun: Vec<String>,
    pub authorized: Vec<Authorized>,
    /// What each connection to the instance carried.
    pub instance: Vec<Vec<u8>>,
    /// What the client got.
    pub client: Vec<u8>,
}

/// How an instance answers.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Each request when it is whole, with nothing.
    Strict,
    /// The first head with these bytes; then it hangs up.
    Says(Vec<Vec<u8>>),
}

/// Sends a client's bytes, piece by piece, and waits until nothing moves any more.
pub fn run(pieces: &[&[u8]], manner: Manner) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let shared = Arc::new(Shared { manner, seen: parking_lot::Mutex::default() });
    runtime.block_on(client(pieces, &shared));
    drop(runtime);
    std::mem::take(&mut shared.seen.lock())
}

async fn client(pieces: &[&[u8]], shared: &Arc<Shared>) {
    let (near, far) = tokio::io::duplex(PIPE);
    let conn = Arc::new(Conn::new(([127, 0, 0, 1], 9).into(), false));
    let way = Arc::new(Way { shared: shared.clone(), kept: parking_lot::Mutex::default() });
    let serving =
        tokio::spawn(async move { protocol().serve_clear(far, conn, way, CancellationToken::new()).await });
    let (mut from, mut to) = tokio::io::split(near);
    let heard = shared.clone();
    let listening = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            heard.seen.lock().client.extend_from_slice(&buffer[..length]);
        }
    });
    for piece in pieces {
        if to.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(QUIET).await;
    }
    let _ = to.shutdown().await;
    tokio::time::sleep(QUIET).await;
    // A panic of the gateway's is a finding.
    if serving.is_finished() {
        serving.await.unwrap();
    }
    listening.abort();
}

fn limits() -> HeadLimits {
    HeadLimits { line: 1024, field: 1024, fields: 4096, count: 24 }
}

fn protocol() -> Protocol {
    let limits = Limits::default();
    Protocol {
        tls: None,
        proxies: Vec::new(),
        handshake: limits.tls_handshake,
        head: self::limits(),
        small_chunks: 10_000,
        times: ConnTimes {
            header: limits.header_time,
            idle: limits.idle_connection,
            stall: limits.write_stall,
        },
        streams: 8,
        stream_window: limits.http2_stream_window,
        connection_window: limits.http2_connection_window,
        pending_resets: limits.http2_pending_resets,
        client_errors: limits.http2_client_errors,
        frames: FrameLimits { resets: 16, errors: 8, control: 64, continuations: 4 },
        frame_counts: FrameCounts {
            abuse: METRICS.h2_abuse.clone(),
            malformed: METRICS.bad_request.clone(),
            limit: METRICS.limit.clone(),
        },
        slow_client: METRICS.slow_client.clone(),
        proxy_refused: METRICS.proxy_refused.clone(),
    }
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    seen: parking_lot::Mutex<Outcome>,
}

/// The gateway's decisions, but for who may: everybody may.
#[derive(Debug)]
struct Way {
    shared: Arc<Shared>,
    kept: parking_lot::Mutex<Vec<http1::SendRequest<RequestBody>>>,
}

type Body = Either<Incoming, Full<Bytes>>;

fn refusal(status: StatusCode, close: bool) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(b"{}"))));
    *response.status_mut() = status;
    if close {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Service for Way {
    type Body = Body;

    async fn answer(self: &Arc<Self>, conn: &Arc<Conn>, request: Request<Incoming>) -> Response<Body> {
        let number = {
            let begun = &mut self.shared.seen.lock().begun;
            begun.push(request.method().to_string());
            begun.len() - 1
        };
        let mut response = self.judged(conn, number, request).await;
        response.headers_mut().insert(NUMBER, HeaderValue::from(number));
        response
    }
}

impl Way {
    async fn judged(&self, conn: &Arc<Conn>, number: usize, request: Request<Incoming>) -> Response<Body> {
        let violation = conn.begin();
        let note = conn.limit(Duration::from_secs(100));
        let version = request.version();
        let close = |fault: &Fault| fault.close && version < Version::HTTP_2;
        if violation.is_some() {
            return refusal(StatusCode::BAD_REQUEST, version < Version::HTTP_2);
        }
        let (head, body) = request.into_parts();
        if let Err(fault) = receive(&head, conn, &limits()) {
            return refusal(fault.status(), close(&fault));
        }
        let answer = self.pass_on(number, head, body).await;
        drop(note);
        match answer {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                towards_client(&mut head.headers);
                head.version = Version::default();
                Response::from_parts(head, Either::Left(body))
            }
            Err(_) => refusal(StatusCode::BAD_GATEWAY, version < Version::HTTP_2),
        }
    }

    async fn pass_on(
        &self,
        number: usize,
        mut head: http::request::Parts,
        body: Incoming,
    ) -> Result<Response<Incoming>, SendError> {
        let target = head.uri.path_and_query().cloned().ok_or(SendError::Protocol)?;
        let (method, text) = (head.method.to_string(), target.to_string());
        self.shared.seen.lock().authorized.push(Authorized { number, method, target: text });
        let forwards = Forwards { authorization: false, cookies: true, trailers: false };
        strip(&mut head.headers, forwards, &METRICS.header_stripped);
        head.headers.insert(NUMBER, HeaderValue::from(number));
        let streamed = !body.is_end_stream() && body.size_hint().exact().is_none();
        if streamed {
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        head.headers.insert(HOST, HeaderValue::from_static("instance"));
        head.uri = Uri::from(target);
        head.version = Version::HTTP_11;
        let (body, _flow) = RequestBody::new(body, BODY, Duration::from_secs(100));
        let mut handle = match self.take() {
            Some(handle) => handle,
            None => self.connect().await,
        };
        let response = handle.send(Request::from_parts(head, body)).await?;
        self.kept.lock().push(handle);
        Ok(response)
    }

    /// A kept connection that is ready.
    fn take(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut kept = self.kept.lock();
        kept.retain(|handle| !handle.is_closed());
        let ready = kept.iter().position(http1::SendRequest::is_ready)?;
        Some(kept.remove(ready))
    }

    async fn connect(&self) -> http1::SendRequest<RequestBody> {
        let (near, far) = tokio::io::duplex(PIPE);
        let mut builder = http1::Builder::new();
        builder.max_headers(100).max_header_size(16 * 1024);
        let (handle, connection) = builder.handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        tokio::spawn(instance(far, self.shared.clone()));
        handle
    }
}

/// One connection of an instance.
async fn instance(mut stream: DuplexStream, shared: Arc<Shared>) {
    let number = {
        let connections = &mut shared.seen.lock().instance;
        connections.push(Vec::new());
        connections.len() - 1
    };
    let (mut buffer, mut answered) = ([0; 4096], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let came = {
            let came = &mut shared.seen.lock().instance[number];
            came.extend_from_slice(&buffer[..length]);
            came.clone()
        };
        match &shared.manner {
            Manner::Strict => {
                let (whole, _) = wire::requests(&came, false);
                for _ in answered..whole.len() {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
                answered = whole.len();
            }
            Manner::Says(_) if !came.windows(4).any(|four| four == b"\r\n\r\n") => {}
            Manner::Says(pieces) => {
                for piece in pieces {
                    let _ = stream.write_all(piece).await;
                    tokio::time::sleep(QUIET / 4).await;
                }
                return;
            }
        }
    }
}
