//! One inference server of a deployment, and how it is doing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, StatusCode, uri};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::adaptive::Adaptive;
use super::body::RequestBody;
use super::connect::{ConnectError, Connector, Stream};
use super::exchange::SendError;
use super::fleet::Crowd;
use super::pool::{Failed, Pool};
use super::reach::Reach;
use super::standing::Standing;
use crate::model::backend::{HttpVersion, InstanceUrl};

/// One inference server.
#[derive(Debug)]
pub struct Instance {
    /// What it is called by.
    pub url: InstanceUrl,
    /// Where it was found, if that is not what it is called by.
    pub address: Option<SocketAddr>,
    /// The `Host` that it is called by.
    pub host: HeaderValue,
    /// The version it speaks.
    pub version: HttpVersion,
    /// Whether it gets requests.
    pub standing: Standing,
    /// Its `host:port` for the target of HTTP/2 requests.
    authority: uri::Authority,
    scheme: uri::Scheme,
    in_flight: AtomicU32,
    /// The most that it works on at once, as far as was found out.
    knee: AtomicU32,
    adaptive: Adaptive,
    /// Until when it is ejected, and how often in a row it was.
    pub(super) ejected: Mutex<(Option<Instant>, u32)>,
    crowd: Arc<Crowd>,
    connector: Connector,
    pool: Pool,
}

/// A place at an instance; dropping it gives it back.
#[derive(Debug)]
pub struct Lease(Arc<Instance>);

impl Lease {
    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.crowd.freed();
    }
}

/// An exchange that failed.
#[derive(Debug)]
pub enum ExchangeError {
    /// No connection; nothing was sent and here is the request.
    Connect(ConnectError, Box<Request<RequestBody>>),
    /// It broke.
    Send(SendError),
}

impl Instance {
    /// An instance with an empty pool; the error says what about it cannot be used. `address` is where a name that has
    /// several was found.
    pub(super) fn new(
        url: &InstanceUrl,
        address: Option<SocketAddr>,
        reach: &Reach,
        crowd: Arc<Crowd>,
    ) -> Result<Instance, String> {
        let authority = url.authority();
        let connector = Connector::new(url, address, reach)?;
        Ok(Instance {
            url: url.clone(),
            address,
            host: HeaderValue::try_from(&authority).map_err(|_| format!("`{authority}` is no host"))?,
            version: reach.version(),
            standing: Standing::default(),
            scheme: if url.tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
            in_flight: AtomicU32::new(0),
            knee: AtomicU32::new(1),
            adaptive: Adaptive::default(),
            ejected: Mutex::default(),
            crowd,
            pool: Pool::new(connector.clone(), reach.version(), reach.bounds(), reach.workers()),
            connector,
            authority: authority.parse().map_err(|_| format!("`{authority}` is no authority"))?,
        })
    }

    /// Where it is, for logs and views.
    pub fn shown(&self) -> String {
        self.address.map_or_else(|| self.url.authority(), |address| address.to_string())
    }

    pub(super) fn is_in(&self) -> bool {
        self.standing.is_in()
    }

    pub(super) fn is_only_ejected(&self) -> bool {
        self.standing.is_only_ejected()
    }

    /// Requests it is working on.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Takes a place, if it works on fewer than `most`.
    pub(super) fn lease(self: &Arc<Self>, most: u32) -> Option<Lease> {
        let one_more = |count: u32| (count < most).then_some(count + 1);
        let taken = self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        taken.ok().map(|_| Lease(self.clone()))
    }

    /// The target of a request in the form that this instance's HTTP version wants.
    pub fn target(&self, path: uri::PathAndQuery) -> uri::Uri {
        let mut parts = uri::Parts::default();
        if self.version == HttpVersion::Http2 {
            parts.scheme = Some(self.scheme.clone());
            parts.authority = Some(self.authority.clone());
        }
        parts.path_and_query = Some(path);
        uri::Uri::from_parts(parts).unwrap_or_default()
    }

    /// Sends a request and gives the head of the response.
    pub async fn send(
        &self,
        worker: usize,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        self.pool.send(worker, request).await.map_err(|failed| match failed {
            Failed::Connect(error, request) => ExchangeError::Connect(error, request),
            Failed::Send(error) => ExchangeError::Send(error),
        })
    }

    /// A connection of its own, to ask the instance about itself, perhaps at another port.
    pub async fn connect(&self, port: Option<u16>) -> Result<Stream, ConnectError> {
        self.connector.at(port).connect().await
    }

    /// The most that it works on at once before requests only wait for each other, as far as was found out.
    pub fn knee(&self) -> u32 {
        self.knee.load(Ordering::Relaxed)
    }

    /// Learns from an answer that came after this long how many requests it can work on at once.
    pub(super) fn learn(&self, after: Duration) {
        self.knee.store(self.adaptive.answered(after, self.in_flight()), Ordering::Relaxed);
    }

    /// It answered with this status, after this long.
    pub(super) fn answered(&self, after: Duration, status: StatusCode) {
        self.standing.answered(after);
        if status.is_server_error() {
            self.standing.declined();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }
}
