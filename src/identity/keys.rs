//! The keys of an issuer over time: fetched in the background, refetched once for an unknown id,
//! kept while the issuer is away, remembered on disk for the next start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::fetch::{Ask, Fetch, FetchError};
use super::issuer::{Issuer, Transport};
use super::jwks::{self, JwksError, KeySet, VerifyingKey, Wanted};
use crate::clock::Clock;

/// How long a request waits for a refresh that it asked for.
const WAIT: Duration = Duration::from_secs(2);
/// How long an unknown key id is remembered, and how many are.
const UNKNOWN_FOR: Duration = Duration::from_mins(1);
const UNKNOWN_MOST: usize = 1_000;

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// OpenID Connect Discovery 1.0.
    Discovery {
        /// The metadata's address.
        metadata: String,
        /// Hosts (with port) that keys may be fetched from.
        hosts: Vec<String>,
        /// How the issuer is reached.
        transport: Transport,
    },
    /// A file, read again at each refresh.
    File(PathBuf),
}

impl KeySource {
    /// Discovery below a base address; keys come from its own host or from one of those named.
    pub fn discovery(base: &str, issuer: &str, more_hosts: &[String], transport: &Transport) -> KeySource {
        let own = [base, issuer].into_iter().filter_map(authority_of);
        KeySource::Discovery {
            metadata: format!("{}/.well-known/openid-configuration", base.trim_end_matches('/')),
            hosts: own.chain(more_hosts.iter().map(|host| host.to_ascii_lowercase())).collect(),
            transport: transport.clone(),
        }
    }
}

fn authority_of(url: &str) -> Option<String> {
    url.parse::<http::Uri>().ok()?.authority().map(|authority| authority.as_str().to_ascii_lowercase())
}

/// Times by which keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    /// Between refreshes.
    pub refresh: Duration,
    /// Between refreshes for unknown ids.
    pub cool_down: Duration,
    /// In use without a successful refresh.
    pub max_stale: Duration,
}

/// What is known of a key id.
#[derive(Debug)]
pub enum Lookup {
    /// The key.
    Found(Arc<VerifyingKey>),
    /// The set has no such key.
    Unknown,
    /// There is no set that may be used.
    Unavailable,
}

/// The present keys of one issuer.
#[derive(Debug)]
pub struct KeyCell {
    set: ArcSwapOption<KeySet>,
    /// Unix seconds until which the set may be used; moved by each successful fetch.
    usable_until: AtomicI64,
    /// Unix seconds of the last successful fetch.
    fetched: AtomicI64,
    /// Goes up with each set that differs from the one before.
    generation: AtomicU64,
    suppressed: [AtomicU64; 2],
    wishes: Mutex<Wishes>,
    wanted: Notify,
    /// Told when a fetch has ended: whether it brought a set.
    ended: watch::Sender<bool>,
}

/// Why a refresh for an unknown id was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppressed {
    /// The last one was too short a time ago.
    CoolDown,
    /// One was made for this very id, and did not bring it.
    InVain,
}

impl Suppressed {
    /// All of them.
    pub const ALL: [Suppressed; 2] = [Suppressed::CoolDown, Suppressed::InVain];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Suppressed::CoolDown => "cool_down",
            Suppressed::InVain => "in_vain",
        }
    }
}

/// Refreshes that requests asked for.
#[derive(Debug, Default)]
struct Wishes {
    /// A fetch is under way or about to be.
    busy: bool,
    last: Option<Instant>,
    /// Ids that were looked for in vain, and when.
    unknown: HashMap<String, Instant>,
}

impl Default for KeyCell {
    fn default() -> Self {
        KeyCell {
            set: ArcSwapOption::empty(),
            usable_until: AtomicI64::new(i64::MIN),
            fetched: AtomicI64::new(i64::MIN),
            generation: AtomicU64::new(0),
            suppressed: Default::default(),
            wishes: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::default(),
        }
    }
}

impl KeyCell {
    /// The key of that id, at this time.
    pub fn look_up(&self, kid: &str, now: i64) -> Lookup {
        if now > self.usable_until.load(Ordering::Acquire) {
            return Lookup::Unavailable;
        }
        match &*self.set.load() {
            None => Lookup::Unavailable,
            Some(set) => set.get(kid).map_or(Lookup::Unknown, |key| Lookup::Found(key.clone())),
        }
    }

    /// Stands for the set in use; whatever was verified under another one has to be verified again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the set may still be used.
    pub fn is_usable(&self, now: i64) -> bool {
        now <= self.usable_until.load(Ordering::Acquire)
    }

    /// Seconds since the last successful fetch.
    pub fn age(&self, now: i64) -> Option<i64> {
        let fetched = self.fetched.load(Ordering::Acquire);
        (fetched != i64::MIN).then(|| now.saturating_sub(fetched).max(0))
    }

    /// Refreshes for unknown ids that were not made, for this reason.
    pub fn suppressed(&self, why: Suppressed) -> u64 {
        self.suppressed.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Installs a set that was fetched at this time. The same keys again do not count as a change.
    pub fn install(&self, set: KeySet, fetched: i64, max_stale: Duration) {
        if !self.set.load().as_ref().is_some_and(|old| old.same_as(&set)) {
            self.set.store(Some(Arc::new(set)));
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.wishes.lock().unknown.clear();
        }
        let stale = i64::try_from(max_stale.as_secs()).unwrap_or(i64::MAX);
        self.fetched.store(fetched, Ordering::Release);
        self.usable_until.store(fetched.saturating_add(stale), Ordering::Release);
    }

    /// Waits for a refresh on behalf of an unknown id: for one under way, or for one that is asked for now
    /// if the last is long enough ago. `true` once a set has come, whether the id is in it or not.
    pub async fn refresh_for(&self, kid: &str, cool_down: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        let now = Instant::now();
        let suppressed = {
            let mut wishes = self.wishes.lock();
            let in_vain =
                wishes.unknown.get(kid).is_some_and(|since| now.duration_since(*since) < UNKNOWN_FOR);
            let recent = wishes.last.is_some_and(|at| now.duration_since(at) < cool_down);
            if !in_vain && !recent && !wishes.busy {
                wishes.busy = true;
                wishes.last = Some(now);
                self.wanted.notify_one();
            }
            match (in_vain, wishes.busy) {
                (true, _) => Some(Suppressed::InVain),
                (false, true) => None,
                (false, false) => Some(Suppressed::CoolDown),
            }
        };
        if let Some(why) = suppressed {
            if let Some(count) = self.suppressed.get(why as usize) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        let in_time = tokio::time::timeout(WAIT, ended.changed()).await;
        in_time.is_ok_and(|changed| changed.is_ok()) && *ended.borrow()
    }

    /// Remembers an id that a refresh did not bring, so that it does not ask for another soon.
    pub fn in_vain(&self, kid: &str) {
        let now = Instant::now();
        let unknown = &mut self.wishes.lock().unknown;
        if unknown.len() >= UNKNOWN_MOST {
            unknown.retain(|_, since| now.duration_since(*since) < UNKNOWN_FOR);
        }
        if unknown.len() < UNKNOWN_MOST {
            unknown.insert(kid.to_owned(), now);
        }
    }
}

/// Keeps one issuer's keys fresh.
#[derive(Debug)]
pub struct Refresher {
    /// The issuer.
    pub issuer: Arc<Issuer>,
    /// How its documents are had; unused for a file.
    pub fetch: Arc<dyn Fetch>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// How long keys are kept.
    pub times: KeyTimes,
    /// Where the last good set is remembered.
    pub directory: Option<PathBuf>,
}

/// Why keys could not be refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// A document could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The discovery document cannot be used.
    #[error("{url}: {problem}")]
    Metadata {
        /// Its address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The keys cannot be used.
    #[error("{url}: {problem}")]
    Keys {
        /// Their address.
        url: String,
        /// What is wrong with them.
        problem: JwksError,
    },
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    cloud_instance_name: Option<String>,
}

/// A set as it lies on disk between two runs.
#[derive(Serialize, Deserialize)]
struct Remembered {
    issuer: String,
    fetched: i64,
    cloud: Option<String>,
    jwks: String,
}

impl Refresher {
    /// Fetches now and then, and whenever a request asks. Ends only with its task.
    pub async fn run(self) {
        self.issuer.keys.wishes.lock().busy = true;
        self.recall();
        let mut failures = 0_u32;
        loop {
            let refreshed = self.refresh().await;
            let good = refreshed.is_ok();
            let pause = match refreshed {
                Ok(max_age) => {
                    failures = 0;
                    self.pause(max_age)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let age = self.issuer.keys.age(self.clock.unix());
                    warn!(issuer = %self.issuer.name, %error, keys_age_s = age, "the issuer's keys were not refreshed");
                    Duration::from_secs(1_u64 << failures.min(6)).min(self.times.refresh)
                }
            };
            self.issuer.keys.wishes.lock().busy = false;
            self.issuer.keys.ended.send_replace(good);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.issuer.keys.wanted.notified() => {}
            }
            self.issuer.keys.wishes.lock().busy = true;
        }
    }

    /// The refresh interval, or half of a shorter `max-age`, within ten per cent, so that replicas spread out.
    fn pause(&self, max_age: Option<Duration>) -> Duration {
        let half = max_age.map_or(self.times.refresh, |age| (age / 2).max(Duration::from_secs(1)));
        self.times.refresh.min(half).mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    /// Fetches and installs once. Gives the `max-age` of the answer.
    pub async fn refresh(&self) -> Result<Option<Duration>, RefreshError> {
        let now = self.clock.unix();
        let (bytes, cloud, max_age, url) = match &self.issuer.source {
            KeySource::File(file) => {
                let bytes = tokio::fs::read(file).await;
                let bytes = bytes.map_err(|source| RefreshError::File { file: file.clone(), source })?;
                (bytes, None, None, file.display().to_string())
            }
            KeySource::Discovery { metadata, hosts, .. } => self.discover(metadata, hosts).await?,
        };
        let set =
            self.parse(&bytes, cloud.as_deref()).map_err(|problem| RefreshError::Keys { url, problem })?;
        info!(issuer = %self.issuer.name, keys = set.len(), "the issuer's keys are fresh");
        self.issuer.keys.install(set, now, self.times.max_stale);
        if matches!(self.issuer.source, KeySource::Discovery { .. }) {
            let jwks = String::from_utf8_lossy(&bytes).into_owned();
            self.remember(&Remembered { issuer: self.issuer.name.clone(), fetched: now, cloud, jwks });
        }
        Ok(max_age)
    }

    fn parse(&self, bytes: &[u8], cloud: Option<&str>) -> Result<KeySet, JwksError> {
        jwks::parse(bytes, Wanted { issuer: &self.issuer.name, tenant: &self.issuer.tenant(), cloud })
    }

    async fn discover(
        &self,
        metadata: &str,
        hosts: &[String],
    ) -> Result<(Vec<u8>, Option<String>, Option<Duration>, String), RefreshError> {
        let ask = |url| Ask { url, body: None, bearer: None, limit: jwks::MAX_BYTES };
        let document = self.fetch.fetch(ask(metadata)).await?;
        let wrong = |problem: String| RefreshError::Metadata { url: metadata.to_owned(), problem };
        let found: Metadata = serde_json::from_slice(&document.bytes)
            .map_err(|_| wrong("it is not a discovery document with `issuer` and `jwks_uri`".to_owned()))?;
        // OpenID Connect Discovery 1.0, section 4.3: the names must be identical.
        if found.issuer.replace("{tenantid}", &self.issuer.tenant()) != self.issuer.name {
            return Err(wrong(format!("it is of another issuer than `{}`", self.issuer.name)));
        }
        if !authority_of(&found.jwks_uri).is_some_and(|host| hosts.contains(&host)) {
            return Err(wrong("its jwks_uri is on a host that is not allowed; see `jwks_hosts`".to_owned()));
        }
        let keys = self.fetch.fetch(ask(&found.jwks_uri)).await?;
        Ok((keys.bytes, found.cloud_instance_name, keys.max_age, found.jwks_uri))
    }

    fn memory(&self) -> Option<PathBuf> {
        let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, self.issuer.name.as_bytes());
        self.directory.as_ref().map(|directory| directory.join(format!("{name}.jwks.json")))
    }

    fn remember(&self, set: &Remembered) {
        let Some(file) = self.memory() else { return };
        let write = || -> std::io::Result<()> {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let new = file.with_extension("new");
            std::fs::write(&new, serde_json::to_vec(set)?)?;
            std::fs::rename(new, &file)
        };
        if let Err(error) = write() {
            warn!(file = %file.display(), %error, "the issuer's keys are not remembered for the next start");
        }
    }

    /// Takes up the set of the last run, as old as it is.
    fn recall(&self) {
        let Some(bytes) = self.memory().and_then(|file| read(&file)) else {
            return;
        };
        let Ok(set) = serde_json::from_slice::<Remembered>(&bytes) else {
            return;
        };
        if set.issuer != self.issuer.name || set.fetched > self.clock.unix() {
            return;
        }
        if let Ok(keys) = self.parse(set.jwks.as_bytes(), set.cloud.as_deref()) {
            self.issuer.keys.install(keys, set.fetched, self.times.max_stale);
        }
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let length = std::fs::metadata(file).ok()?.len();
    (length < 4 * jwks::MAX_BYTES as u64).then(|| std::fs::read(file).ok()).flatten()
}

#[cfg(test)]
mod tests;
