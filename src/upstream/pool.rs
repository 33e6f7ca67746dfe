//! Connections to one instance that wait for their next request, apart for each worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;

use super::body::RequestBody;
use super::connect::{ConnectError, Connector};
use super::exchange::{Exchange, SendError, ask};
use crate::model::backend::HttpVersion;

/// Bytes that are read of an answer at a time: some of these wait for every client that is slow.
const BUFFER: usize = 64 * 1024;

/// Bytes of one HTTP/2 answer that wait for a client that is slow.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Of all answers on a connection: enough for a thousand that wait, so that those do not hold up others. The parser bounds
/// small frames that wait by half of this.
const CONNECTION_WINDOW: u32 = 1024 * STREAM_WINDOW;

/// How many idle connections are looked at for one that is ready.
const LOOK: usize = 8;

/// How often an HTTP/2 connection is asked whether it lives.
const PING: Duration = Duration::from_secs(10);

/// Bounds of a pool and of what instances may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Idle connections kept by each worker.
    pub idle_most: usize,
    /// Time that one is kept.
    pub idle_time: Duration,
    /// Bytes of a response header.
    pub header_bytes: usize,
    /// Fields of a response header.
    pub header_count: usize,
}

#[derive(Debug)]
enum Handle {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

struct Idle {
    handle: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// The connections of one worker to one instance.
struct Shard {
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
}

pub(super) struct Pool {
    connector: Connector,
    version: HttpVersion,
    bounds: Bounds,
    shards: Box<[Arc<Shard>]>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("connector", &self.connector).finish_non_exhaustive()
    }
}

/// A request that could not be exchanged.
#[derive(Debug)]
pub(super) enum Failed {
    Connect(ConnectError, Box<Request<RequestBody>>),
    Send(SendError),
}

impl Pool {
    pub(super) fn new(connector: Connector, version: HttpVersion, bounds: Bounds, workers: usize) -> Pool {
        let shard = || Arc::new(Shard { idle: Mutex::default(), shared: Mutex::default() });
        // One more than workers, for threads that serve no clients.
        Pool { connector, version, bounds, shards: (0..=workers.max(1)).map(|_| shard()).collect() }
    }

    fn shard(&self, worker: usize) -> Option<&Arc<Shard>> {
        self.shards.get(worker % self.shards.len().max(1))
    }

    /// Sends on a kept connection if one is ready, else on a new one. A kept one that turns out
    /// to be dead before anything was written is put aside and the next is tried.
    pub(super) async fn send(
        &self,
        worker: usize,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        if request.headers().contains_key(UPGRADE) {
            return self.send_apart(request).await;
        }
        for _ in 0..LOOK {
            let Some(mut handle) = self.take(worker) else {
                break;
            };
            match self.exchange(&mut handle, request).await {
                Err(SendError::NotSent(back)) => request = *back,
                Err(error) => return Err(Failed::Send(error)),
                Ok(response) => {
                    self.put(worker, handle);
                    return Ok(response);
                }
            }
        }
        let mut handle = match self.connect(worker).await {
            Ok(handle) => handle,
            Err(error) => return Err(Failed::Connect(error, Box::new(request))),
        };
        let response = self.exchange(&mut handle, request).await.map_err(Failed::Send)?;
        self.put(worker, handle);
        Ok(response)
    }

    async fn exchange(
        &self,
        handle: &mut Handle,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let response = match handle {
            Handle::Http1(handle) => handle.send(request).await,
            Handle::Http2(handle) => handle.send(request).await,
        }?;
        // Of HTTP/2 the parser bounds the bytes only.
        let within = response.headers().len() <= self.bounds.header_count;
        if within { Ok(response) } else { Err(SendError::Protocol) }
    }

    /// Asks for another protocol on a connection of its own, which is never kept.
    async fn send_apart(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, Failed> {
        let stream = match self.connector.connect().await {
            Ok(stream) => TokioIo::new(stream),
            Err(error) => return Err(Failed::Connect(error, Box::new(request))),
        };
        let Ok((mut handle, connection)) = self.http1().handshake(stream).await else {
            return Err(Failed::Connect(ConnectError::Failed, Box::new(request)));
        };
        tokio::spawn(connection.with_upgrades());
        ask(&mut handle, request).await.map_err(Failed::Send)
    }

    /// The most recently used connection that is ready, so that spare ones fall idle and close.
    fn take(&self, worker: usize) -> Option<Handle> {
        let shard = self.shard(worker)?;
        if self.version == HttpVersion::Http2 {
            let shared = shard.shared.lock();
            return shared.as_ref().filter(|handle| !handle.is_closed()).cloned().map(Handle::Http2);
        }
        let mut idle = shard.idle.lock();
        let now = Instant::now();
        let mut at = idle.len();
        for _ in 0..LOOK {
            at = at.checked_sub(1)?;
            let entry = idle.get(at)?;
            if Exchange::is_closed(&entry.handle) || now.duration_since(entry.since) > self.bounds.idle_time {
                idle.remove(at);
            } else if Exchange::is_ready(&entry.handle) {
                return Some(Handle::Http1(idle.remove(at).handle));
            }
        }
        None
    }

    /// Keeps a connection. Its last response may still be running; whether it is through shows at the next look.
    fn put(&self, worker: usize, handle: Handle) {
        let (Some(shard), Handle::Http1(handle)) = (self.shard(worker), handle) else {
            return;
        };
        if Exchange::is_closed(&handle) {
            return;
        }
        let mut idle = shard.idle.lock();
        if idle.len() >= self.bounds.idle_most {
            idle.remove(0);
        }
        idle.push(Idle { handle, since: Instant::now() });
    }

    async fn connect(&self, worker: usize) -> Result<Handle, ConnectError> {
        let stream = TokioIo::new(self.connector.connect().await?);
        if self.version == HttpVersion::Http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            // Every request shares the connection, so that one that died unnoticed would hold up all of them.
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(BUFFER)
                .max_header_list_size(u32::try_from(self.bounds.header_bytes).unwrap_or(u32::MAX))
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING / 2)
                .keep_alive_while_idle(true);
            let (handle, connection) = builder.handshake(stream).await.map_err(|_| ConnectError::Failed)?;
            tokio::spawn(connection);
            if let Some(shard) = self.shard(worker) {
                *shard.shared.lock() = Some(handle.clone());
            }
            return Ok(Handle::Http2(handle));
        }
        let (handle, connection) = self.http1().handshake(stream).await.map_err(|_| ConnectError::Failed)?;
        // Ends when its handle is dropped (`take` and `sweep` drop what was idle too long) or the instance closes.
        tokio::spawn(connection);
        Ok(Handle::Http1(handle))
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(self.bounds.header_count)
            .max_header_size(self.bounds.header_bytes)
            .max_buf_size(BUFFER.max(self.bounds.header_bytes + 1024));
        builder
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for shard in &self.shards {
            let keep = |entry: &Idle| {
                !Exchange::is_closed(&entry.handle)
                    && now.duration_since(entry.since) <= self.bounds.idle_time
            };
            shard.idle.lock().retain(keep);
        }
    }
}
