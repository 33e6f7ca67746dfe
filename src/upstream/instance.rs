//! One inference server of a deployment, and how busy it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderValue, Request, Response, uri};
use hyper::body::Incoming;

use super::body::RequestBody;
use super::connect::{ConnectError, Connector};
use super::exchange::SendError;
use super::pool::{Bounds, Failed, Pool};
use crate::model::deployment::{Backend, HttpVersion, InstanceUrl};

/// What makes two instances the same one across a change of resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceKey {
    url: InstanceUrl,
    version: HttpVersion,
    ca_file: Option<std::path::PathBuf>,
}

/// One inference server.
#[derive(Debug)]
pub struct Instance {
    /// Its identity.
    pub key: InstanceKey,
    /// The `Host` that it is called by.
    pub host: HeaderValue,
    /// Its `host:port` for the target of HTTP/2 requests.
    pub authority: uri::Authority,
    /// The version it speaks.
    pub version: HttpVersion,
    scheme: uri::Scheme,
    in_flight: AtomicU32,
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
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InstanceKey {
    /// The identity of an instance of this backend.
    pub fn of(url: &InstanceUrl, backend: &Backend) -> InstanceKey {
        InstanceKey { url: url.clone(), version: backend.http_version, ca_file: backend.ca_file.clone() }
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
    /// An instance with an empty pool; the error says what about it cannot be used.
    pub fn new(
        url: &InstanceUrl,
        backend: &Backend,
        connect_time: std::time::Duration,
        bounds: Bounds,
        workers: usize,
    ) -> Result<Instance, String> {
        let authority = url.authority();
        let wrong = |_| format!("`{authority}` is no authority");
        Ok(Instance {
            key: InstanceKey::of(url, backend),
            host: HeaderValue::try_from(&authority).map_err(|_| format!("`{authority}` is no host"))?,
            authority: authority.parse().map_err(wrong)?,
            version: backend.http_version,
            scheme: if url.tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP },
            in_flight: AtomicU32::new(0),
            pool: Pool::new(
                Connector::new(url, backend, connect_time)?,
                backend.http_version,
                bounds,
                workers,
            ),
        })
    }

    /// Requests it is working on.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease(self.clone())
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

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }
}
