//! One accepted connection, from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::UPGRADE;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::conn::{Conn, ConnTimes, Overdue};
use super::frames::{FrameLimits, Frames, PREFACE};
use super::framing::{Framing, HeadLimits};
use super::guard::{Exchange, FrameCounts, Guard};
use super::listener::Place;
use super::pace::{Paced, Streams};
use super::proxy_protocol::{self, Introduced};
use super::switch::Tunnel;
use super::tls::Certificates;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;
    /// Answers one request of a connection.
    fn answer(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// How connections are served.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Certificates, if the listener is encrypted.
    pub tls: Option<Arc<Certificates>>,
    /// Proxies that introduce their clients by the PROXY protocol.
    pub proxies: Vec<IpNet>,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Bounds of HTTP/1 heads.
    pub head: HeadLimits,
    /// HTTP/1: chunks of a client in ten seconds that are not worth their framing.
    pub small_chunks: u32,
    /// Clocks of a connection.
    pub times: ConnTimes,
    /// HTTP/2: concurrent streams.
    pub streams: u32,
    /// HTTP/2: window of a stream.
    pub stream_window: u32,
    /// HTTP/2: window of a connection.
    pub connection_window: u32,
    /// HTTP/2: streams that a client resets before they are taken up.
    pub pending_resets: usize,
    /// HTTP/2: stream errors that a client makes.
    pub client_errors: usize,
    /// HTTP/2: frames that a client sends.
    pub frames: FrameLimits,
    /// HTTP/2: counts clients that send what they may not.
    pub frame_counts: FrameCounts,
    /// Counts clients that were too slow.
    pub slow_client: IntCounterVec,
    /// Counts proxies that did not introduce their client.
    pub proxy_refused: IntCounterVec,
}

/// What a TLS client begins with (RFC 8446 section 5.1); no method does.
const HANDSHAKE: u8 = 0x16;
/// Time for an idle client to take its leave.
const LEAVE: Duration = Duration::from_secs(1);
/// Bytes of one connection's read and write buffers, each.
const BUFFER: usize = 256 * 1024;
/// Bytes of one HTTP/2 stream that wait to be written; there are many streams.
const STREAM_BUFFER: usize = 64 * 1024;

impl Protocol {
    /// Serves a connection until it ends, or, once `drain` is called, until what it is doing is done.
    pub async fn serve<S: Service>(
        &self,
        mut stream: TcpStream,
        mut place: Place,
        service: Arc<S>,
        drain: CancellationToken,
    ) {
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let client = tokio::select! {
            client = self.client(&mut stream) => client,
            () = drain.cancelled() => return,
        };
        let Some(client) = client.filter(|client| place.claim(client.ip())) else { return };
        let conn = Arc::new(Conn::new(client, self.tls.is_some()));
        let Some(tls) = &self.tls else {
            return self.serve_clear(stream, conn, service, drain).await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        match tokio::time::timeout(self.handshake, handshake).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                session.server_name().inspect(|name| conn.name(name));
                if session.alpn_protocol() == Some(b"h2") {
                    self.http2(stream, BytesMut::new(), conn, service, drain).await;
                } else {
                    self.http1(stream, BytesMut::new(), conn, service, drain).await;
                }
            }
            Ok(Err(_)) => {}
            Err(_) => self.slow_client.with_label_values(&["handshake"]).inc(),
        }
    }

    /// Who is at the other end: the peer, or the client that a proxy introduces.
    async fn client(&self, stream: &mut TcpStream) -> Option<SocketAddr> {
        let peer = stream.peer_addr().ok()?;
        let address = peer.ip().to_canonical();
        if !self.proxies.iter().any(|network| network.contains(&address)) {
            return Some(peer);
        }
        match tokio::time::timeout(self.times.header, proxy_protocol::read(stream)).await {
            Ok(Ok(Introduced::Client(client))) => return Some(client),
            Ok(Ok(Introduced::Peer)) => return Some(peer),
            Ok(Err(malformed)) => self.proxy_refused.with_label_values(&[malformed.reason()]).inc(),
            Err(_) => self.slow_client.with_label_values(&["proxy"]).inc(),
        }
        None
    }

    /// Serves a connection in clear text, on whatever it comes. Tells HTTP/2 with prior knowledge from HTTP/1 by its first
    /// bytes.
    pub async fn serve_clear<S: Service, I>(
        &self,
        mut stream: I,
        conn: Arc<Conn>,
        service: Arc<S>,
        drain: CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut first = BytesMut::with_capacity(8 * 1024);
        let looking = async {
            loop {
                match stream.read_buf(&mut first).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
                if first.first() == Some(&HANDSHAKE) {
                    // A line that will never end ends here, to be refused like any other that is none.
                    first.extend_from_slice(b"\r\n");
                    return Some(false);
                }
                let seen = first.len().min(PREFACE.len());
                let same = first.get(..seen) == PREFACE.get(..seen);
                if !same || seen == PREFACE.len() {
                    return Some(same);
                }
            }
        };
        let found = tokio::select! {
            found = tokio::time::timeout(self.times.header, looking) => found,
            () = drain.cancelled() => return,
        };
        match found {
            Ok(Some(true)) => self.http2(stream, first, conn, service, drain).await,
            Ok(Some(false)) => self.http1(stream, first, conn, service, drain).await,
            Ok(None) => {}
            Err(_) => self.slow_client.with_label_values(&["header"]).inc(),
        }
    }

    async fn http1<S: Service, I>(
        &self,
        stream: I,
        first: BytesMut,
        conn: Arc<Conn>,
        service: Arc<S>,
        drain: CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let framing = Framing::new(self.head).with_small_chunks(self.small_chunks);
        let guard = Guard::strict(stream, conn.clone(), framing, first);
        let (shared, tunnel) = (conn.clone(), Arc::new(Mutex::new(None)));
        let (left, count) = (tunnel.clone(), AtomicU64::new(0));
        let answer = service_fn(move |request: Request<Incoming>| {
            let (service, conn, left) = (service.clone(), shared.clone(), left.clone());
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                let asks = request.headers().contains_key(UPGRADE);
                let mut response = service.answer(&conn, request).await;
                if asks {
                    *left.lock() = response.extensions_mut().remove::<Tunnel>();
                    conn.switch.decide(number, left.lock().is_some());
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .max_headers(self.head.count)
            .max_buf_size(BUFFER.max(self.head.line + self.head.fields + 1024));
        let connection = builder.serve_connection(TokioIo::new(guard), answer).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let shut_down = http1::UpgradeableConnection::graceful_shutdown;
        self.run(connection.as_mut(), &conn, drain.clone(), shut_down).await;
        // What goes on instead keeps the connection's place and is under its clocks.
        let tunnel = tunnel.lock().take();
        if let Some(mut tunnel) = tunnel {
            self.run(Pin::new(&mut tunnel), &conn, drain, |_| ()).await;
        }
    }

    async fn http2<S: Service, I>(
        &self,
        stream: I,
        first: BytesMut,
        conn: Arc<Conn>,
        service: Arc<S>,
        drain: CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let exchange = Exchange::new(Frames::new(self.frames), self.frame_counts.clone());
        let guard = Guard::frames(stream, conn.clone(), exchange, first);
        let shared = conn.clone();
        let answer = service_fn(move |request| {
            let (service, conn) = (service.clone(), shared.clone());
            async move { Ok::<_, Infallible>(service.answer(&conn, request).await.map(Paced::new)) }
        });
        let mut builder =
            http2::Builder::new(Streams { stall: self.times.stall, slow_client: self.slow_client.clone() });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_pending_accept_reset_streams(self.pending_resets)
            .max_local_error_reset_streams(self.client_errors)
            .max_header_list_size(u32::try_from(self.head.fields).unwrap_or(u32::MAX))
            .max_send_buf_size(STREAM_BUFFER)
            .keep_alive_interval(self.times.idle)
            .keep_alive_timeout(self.times.header);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(guard), answer));
        self.run(
            connection.as_mut(),
            &conn,
            drain,
            hyper::server::conn::http2::Connection::graceful_shutdown,
        )
        .await;
    }

    /// Drives a connection under its clocks. One timer serves them all and is set again only when it fires,
    /// so that a request costs no timer of its own.
    async fn run<F: Future>(
        &self,
        mut connection: Pin<&mut F>,
        conn: &Conn,
        drain: CancellationToken,
        shut_down: impl Fn(Pin<&mut F>),
    ) {
        let mut timer = std::pin::pin!(tokio::time::sleep(self.times.header.min(self.times.idle)));
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    conn.leave();
                    shut_down(connection.as_mut());
                    timer.as_mut().reset((Instant::now() + LEAVE).into());
                }
                () = timer.as_mut() => match conn.overdue(self.times) {
                    // An HTTP/2 client that does not answer is not waited for.
                    Ok(_) if draining && conn.idles(LEAVE) => return,
                    Ok(left) => timer.as_mut().reset((Instant::now() + if draining { left.min(LEAVE) } else { left }).into()),
                    Err(Overdue::Idle) if !draining => {
                        draining = true;
                        conn.leave();
                        shut_down(connection.as_mut());
                        timer.as_mut().reset((Instant::now() + LEAVE).into());
                    }
                    Err(Overdue::Idle) => return,
                    Err(Overdue::Head) => return self.slow_client.with_label_values(&["header"]).inc(),
                    Err(Overdue::Stalled) => return self.slow_client.with_label_values(&["write"]).inc(),
                }
            }
        }
    }
}
