//! The snapshot: everything that a request needs to know, in tables.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::batch::BatchRoute;
use super::budget::RetryBudget;
use super::compile::CompileError;
use super::copies::Copies;
use super::rate::EndpointRates;
use super::split::{Split, Turns};
use super::upkeep::Upkeep;
use crate::identity::aml_token::TokenKeys;
use crate::identity::endpoint_key::KeyDigests;
use crate::model::backend::HttpVersion;
use crate::model::datastore::Datastore;
use crate::model::endpoint::Cors;
use crate::model::paths::AllowedPath;
use crate::model::scope::Scope;
use crate::rbac::{Action, Place, Policy};
use crate::telemetry::metrics::DeploymentMetrics;
use crate::telemetry::record::EndpointFacts;
use crate::upstream::Fleet;

/// How an endpoint's callers prove who they are.
#[derive(Debug)]
pub enum AuthRoute {
    /// By either of two keys.
    Key(KeyDigests),
    /// By a token that the gateway issued for this endpoint and since this epoch.
    AmlToken(Uuid),
    /// By an Entra token and the right to score at this place.
    AadToken(Place),
}

/// An endpoint, ready to be called.
#[derive(Debug)]
pub struct EndpointRoute {
    /// Its name as records show it.
    pub facts: Arc<EndpointFacts>,
    /// Its resource id.
    pub scope: Scope,
    /// How its callers prove who they are.
    pub auth: AuthRoute,
    /// Its deployments, in the order of their names.
    pub deployments: Vec<Arc<DeploymentRoute>>,
    /// The split among them.
    pub split: Split,
    /// Whose turn it is.
    pub turns: Arc<Turns>,
    /// What of its requests is copied.
    pub copies: Option<Copies>,
    /// Requests in flight, bounded.
    pub in_flight: Arc<Semaphore>,
    /// How often it may be called.
    pub rates: EndpointRates,
    /// Bytes of a request body.
    pub request_body: u64,
    /// Pages of other origins that may call it.
    pub cors: Option<Cors>,
    /// Callers may open WebSockets.
    pub websocket: bool,
    /// It takes jobs instead of scoring requests.
    pub batch: Option<BatchRoute>,
}

impl EndpointRoute {
    /// The deployment of that name, in any case.
    pub fn deployment(&self, name: &str) -> Option<&Arc<DeploymentRoute>> {
        self.deployments.iter().find(|deployment| deployment.key.eq_ignore_ascii_case(name))
    }
}

/// How long an instance may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// From the request's being sent until the response begins.
    pub first_byte: Duration,
    /// Between two pieces of the response.
    pub idle: Duration,
    /// For the whole request, streams included.
    pub total: Duration,
}

/// A deployment, ready to be sent to.
#[derive(Debug)]
pub struct DeploymentRoute {
    /// Its name in lower case.
    pub key: String,
    /// Its name as `azureml-model-deployment` shows it.
    pub name: HeaderValue,
    /// Where `/score` leads.
    pub scoring_path: PathAndQuery,
    /// Paths that may be called; `None` for every path.
    pub allowed_paths: Option<Vec<AllowedPath>>,
    /// Its clocks.
    pub clocks: Clocks,
    /// The caller's credential goes on.
    pub forward_authorization: bool,
    /// The caller's cookies go on.
    pub forward_cookies: bool,
    /// The version of HTTP that its instances speak.
    pub http_version: HttpVersion,
    /// Its instances.
    pub fleet: Fleet,
    /// What has to be done for them.
    pub upkeep: Upkeep,
    /// How often requests may be sent once more.
    pub retries: Arc<RetryBudget>,
    /// What it is counted under.
    pub metrics: Arc<DeploymentMetrics>,
    /// Its endpoint's mode, under which it is counted.
    pub auth_mode: &'static str,
}

/// The immutable compiled view of all resources.
#[derive(Debug)]
pub struct Snapshot {
    /// The store's revision that it was compiled from.
    pub revision: u64,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The right to score, looked up beforehand.
    pub score: Action,
    /// By name in lower case.
    pub endpoints: HashMap<String, Arc<EndpointRoute>>,
    /// Data stores by their ids in lower case.
    pub datastores: HashMap<String, Arc<Datastore>>,
    /// The keys of tokens that the gateway issues.
    pub token_keys: TokenKeys,
    /// Every key that opens an endpoint.
    pub endpoint_keys: EndpointKeys,
    /// What of endpoints and deployments could not be used; the rest of them is in force.
    pub problems: Vec<CompileError>,
}

/// The digests of every key that opens an endpoint, collected when somebody first asks.
#[derive(Default)]
pub struct EndpointKeys(OnceLock<HashSet<[u8; 32]>>);

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointKeys(…)")
    }
}

impl Snapshot {
    /// Whether a key with this digest opens some endpoint.
    pub fn opens_some_endpoint(&self, digest: &[u8; 32]) -> bool {
        let collect = || {
            let keys = self.endpoints.values().filter_map(|endpoint| match &endpoint.auth {
                AuthRoute::Key(keys) => Some(keys.both()),
                AuthRoute::AmlToken(_) | AuthRoute::AadToken(_) => None,
            });
            keys.flatten().collect()
        };
        self.endpoint_keys.0.get_or_init(collect).contains(digest)
    }
}

/// The snapshot in force. Read once for each request and kept to its end.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    started: Instant,
    /// Milliseconds after `started` at which it was last known to be the store's.
    confirmed: AtomicU64,
    max_age: Duration,
    /// Says that another is in force.
    changed: watch::Sender<()>,
}

impl SnapshotCell {
    /// A cell that refuses to be read once its snapshot could not be confirmed for `max_age`.
    pub fn new(first: Snapshot, max_age: Duration) -> SnapshotCell {
        let (current, started) = (ArcSwap::from_pointee(first), Instant::now());
        let (confirmed, changed) = (AtomicU64::new(0), watch::Sender::new(()));
        SnapshotCell { current, started, confirmed, max_age, changed }
    }

    /// The snapshot in force, however old.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, unless it is too old to be believed.
    pub fn fresh(&self) -> Option<Arc<Snapshot>> {
        (self.age() <= self.max_age).then(|| self.current.load_full())
    }

    /// Time since it was last known to be the store's.
    pub fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.confirmed.load(Ordering::Relaxed)))
    }

    /// Puts another in force. For `publish` alone.
    pub fn swap(&self, next: Snapshot) {
        self.replace(next);
        self.confirm();
    }

    /// Puts another view of the same resources in force, which is as old as they are. For `publish` alone.
    pub fn replace(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.changed.send_replace(());
    }

    /// Tells when another is put in force, from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Notes that the snapshot in force is the store's present state.
    pub fn confirm(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.confirmed.store(now, Ordering::Relaxed);
    }
}
