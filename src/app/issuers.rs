//! The issuers whose tokens are accepted, and the tasks that keep their keys fresh.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tasks::Group;
use super::{Base, StartError};
use crate::clock::Clock;
use crate::identity::directory::Directory as GroupDirectory;
use crate::identity::fetch::HttpFetch;
use crate::identity::issuer::{Issuer, Transport};
use crate::identity::keys::{KeySource, KeyTimes, Refresher};
use crate::identity::secret_file::{self, SecretError};
use crate::identity::token::TokenTimes;
use crate::settings::{Identity, Settings};

/// How long a start waits for the keys of issuers that answer.
const FIRST_KEYS: Duration = Duration::from_secs(2);

/// Who is believed about who calls.
#[derive(Debug)]
pub(super) struct Issuers {
    pub(super) all: Vec<Arc<Issuer>>,
    /// Knows groups that do not fit into a token.
    pub(super) directory: Option<Arc<GroupDirectory>>,
    made_of: (Identity, KeyTimes, Duration),
    _refreshing: Group,
}

impl Issuers {
    /// Fetches the issuers' keys and keeps them fresh. What clients call the control plane by is always an audience.
    pub(super) async fn start(base: &Base, control_url: &str) -> Result<Arc<Issuers>, StartError> {
        let (refreshing, made_of) = (base.tasks.group(), made_of(&base.settings));
        let mut identity = made_of.0.clone();
        identity.control_audiences.push(control_url.to_owned());
        let all = Issuer::all(&identity);
        refresh_keys(base, &all, &refreshing)?;
        first_keys(&all, &base.clock).await;
        let directory = group_directory(&base.settings)?;
        Ok(Arc::new(Issuers { all, directory, made_of, _refreshing: refreshing }))
    }

    /// Those of another configuration: the same, if nothing about them changes. Nobody who is known now may become
    /// unknown because his issuer cannot be reached at this moment.
    pub(super) async fn after(
        self: &Arc<Self>,
        base: &Base,
        control_url: &str,
    ) -> Result<Arc<Issuers>, StartError> {
        if self.made_of == made_of(&base.settings) {
            return Ok(self.clone());
        }
        let next = Issuers::start(base, control_url).await?;
        let now = base.clock.unix();
        let known =
            |name: &str| self.all.iter().any(|issuer| issuer.name == name && issuer.keys.is_usable(now));
        let lost = next.all.iter().find(|issuer| known(&issuer.name) && !issuer.keys.is_usable(now));
        match lost {
            Some(lost) => anyhow::bail!("the keys of the issuer {} cannot be fetched just now", lost.name),
            None => Ok(next),
        }
    }

    /// Whether there is one of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.all.iter().any(|issuer| issuer.name == name)
    }
}

/// Everything in the settings that these are made of.
fn made_of(settings: &Settings) -> (Identity, KeyTimes, Duration) {
    let limits = &settings.limits;
    let times = KeyTimes {
        refresh: limits.jwks_refresh,
        cool_down: limits.jwks_cool_down,
        max_stale: limits.jwks_max_stale,
    };
    (settings.identity.clone(), times, limits.group_cache)
}

/// Starts a task for each issuer that keeps its keys fresh.
fn refresh_keys(base: &Base, issuers: &[Arc<Issuer>], tasks: &Group) -> Result<(), StartError> {
    let (settings, clock) = (&base.settings, &base.clock);
    let (_, times, _) = made_of(settings);
    let directory: Option<PathBuf> = settings.directory().map(|directory| directory.join("issuers"));
    for issuer in issuers {
        let transport = match &issuer.source {
            KeySource::Discovery { transport, .. } => transport.clone(),
            KeySource::File(_) => Transport { ca_file: None, allow_http: false },
        };
        let fetch = Arc::new(HttpFetch::new(&transport)?);
        let (issuer, clock, directory) = (issuer.clone(), clock.clone(), directory.clone());
        tasks.spawn("issuer keys", Refresher { issuer, fetch, clock, times, directory }.run());
    }
    Ok(())
}

/// Gives issuers that answer the time to do so; those that do not have their tokens answered 503.
async fn first_keys(issuers: &[Arc<Issuer>], clock: &Arc<dyn Clock>) {
    let all = async {
        while !issuers.iter().all(|issuer| issuer.keys.is_usable(clock.unix())) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_KEYS, all).await;
}

/// The directory that knows groups which do not fit into a token.
fn group_directory(settings: &Settings) -> Result<Option<Arc<GroupDirectory>>, StartError> {
    let Some(directory) = &settings.identity.directory else { return Ok(None) };
    let transport = Transport { ca_file: directory.ca_file.clone(), allow_http: directory.allow_http };
    let fetch = Arc::new(HttpFetch::new(&transport)?);
    let (url, token_file) = (directory.url.clone(), directory.token_file.clone());
    // One that is not there yet may come; one that others may read is a mistake.
    if let Some(file) = &token_file
        && let Err(error @ SecretError::Open) = secret_file::read(file)
    {
        anyhow::bail!("identity.directory.token_file: {} {error}", file.display());
    }
    Ok(Some(Arc::new(GroupDirectory::new(url, token_file, fetch, settings.limits.group_cache))))
}

/// By which times tokens are judged.
pub(super) fn token_times(settings: &Settings) -> TokenTimes {
    TokenTimes {
        clock_skew: settings.identity.clock_skew,
        max_lifetime: settings.identity.max_token_lifetime,
        cool_down: settings.limits.jwks_cool_down,
    }
}
