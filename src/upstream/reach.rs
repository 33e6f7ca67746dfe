//! How the instances of a deployment are reached: what they speak, whom to trust, how long to wait.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;

use super::pool::Bounds;
use super::tls;
use crate::model::backend::{Backend, ClientCertificate, HttpVersion};

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(PathBuf, Option<SystemTime>);

/// What decides whether two deployments reach their instances alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    version: HttpVersion,
    connect: Duration,
    bounds: Bounds,
    workers: usize,
    files: Vec<Stamp>,
}

/// How the instances of one deployment are reached.
#[derive(Debug)]
pub struct Reach {
    terms: Terms,
    ca_file: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    /// Made when the first instance speaks TLS.
    tls: std::sync::OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Reach {
    /// How a backend's instances are reached; connections are made within `connect` and kept apart by worker.
    pub fn new(backend: &Backend, connect: Duration, bounds: Bounds, workers: usize) -> Reach {
        let stamp = |file: &Path| {
            Stamp(file.to_owned(), std::fs::metadata(file).and_then(|meta| meta.modified()).ok())
        };
        let own = backend.client_certificate.as_ref();
        let files = backend
            .ca_file
            .iter()
            .chain(own.into_iter().flat_map(|own| [&own.certificate, &own.private_key]));
        let files = files.map(|file| stamp(file)).collect();
        Reach {
            terms: Terms { version: backend.http_version, connect, bounds, workers, files },
            ca_file: backend.ca_file.clone(),
            client_certificate: backend.client_certificate.clone(),
            tls: std::sync::OnceLock::new(),
        }
    }

    /// Whether instances reached this way and that way are the same; a file that was replaced makes a difference.
    pub fn is_same(&self, other: &Reach) -> bool {
        self.terms == other.terms
    }

    pub(super) fn version(&self) -> HttpVersion {
        self.terms.version
    }

    pub(super) fn connect(&self) -> Duration {
        self.terms.connect
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.terms.bounds
    }

    pub(super) fn workers(&self) -> usize {
        self.terms.workers
    }

    /// TLS towards the instances; the error says which file cannot be used.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let make =
            || tls::client(self.ca_file.as_deref(), self.client_certificate.as_ref(), self.terms.version);
        self.tls.get_or_init(|| make().map(Arc::new)).clone()
    }
}
