//! Groups that did not fit into a token, asked of the directory (Microsoft Graph `getMemberObjects`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use serde::Deserialize;
use uuid::Uuid;

use super::caller::{Caller, CallerKind};
use super::fetch::{Ask, Fetch};
use super::secret_file;
use crate::model::role::PrincipalId;

/// The most principals whose groups are kept.
const MOST: usize = 10_000;
/// How long it is believed that a principal is in no group.
const EMPTY_FOR: Duration = Duration::from_mins(1);
/// The largest answer, in bytes; some 50,000 groups.
const MAX_BYTES: usize = 2 << 20;

/// The directory did not answer, so a caller's groups are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryUnavailable;

#[derive(Debug, Clone)]
struct Membership {
    groups: Result<Arc<[PrincipalId]>, DirectoryUnavailable>,
    until: Instant,
}

/// A directory at a configured address; addresses in tokens are never called.
#[derive(Debug)]
pub struct Directory {
    url: String,
    token_file: Option<PathBuf>,
    fetch: Arc<dyn Fetch>,
    keep: Duration,
    known: Cache<PrincipalId, Membership>,
}

#[derive(Deserialize)]
struct Answer {
    value: Vec<String>,
}

impl Directory {
    /// A directory that keeps what it learnt for this long.
    pub fn new(url: String, token_file: Option<PathBuf>, fetch: Arc<dyn Fetch>, keep: Duration) -> Directory {
        Directory { url, token_file, fetch, keep, known: Cache::new(MOST) }
    }

    /// The groups of a caller, transitively. Callers that ask for the same one at once share one question.
    pub async fn groups(&self, caller: &Caller) -> Result<Arc<[PrincipalId]>, DirectoryUnavailable> {
        let now = Instant::now();
        self.known.remove_if(&caller.object_id, |known| known.until <= now);
        match self.known.get_value_or_guard_async(&caller.object_id).await {
            Ok(known) => known.groups,
            Err(guard) => {
                let groups = self.ask(caller).await;
                let keep = match &groups {
                    // For those who wait for this answer; whoever comes after them asks anew.
                    Err(DirectoryUnavailable) => Duration::ZERO,
                    Ok(groups) if groups.is_empty() => self.keep.min(EMPTY_FOR),
                    Ok(_) => self.keep,
                };
                let membership = Membership { groups: groups.clone(), until: Instant::now() + keep };
                let _ = guard.insert(membership);
                groups
            }
        }
    }

    async fn ask(&self, caller: &Caller) -> Result<Arc<[PrincipalId]>, DirectoryUnavailable> {
        let kind = match caller.kind {
            CallerKind::User => "users",
            CallerKind::ServicePrincipal => "servicePrincipals",
        };
        let url = format!("{}/{kind}/{}/getMemberObjects", self.url, caller.object_id);
        let token = match &self.token_file {
            Some(file) => Some(secret_file::load(file).await.map_err(|error| {
                tracing::warn!(file = %file.display(), %error, "there is no token for the directory");
                DirectoryUnavailable
            })?),
            None => None,
        };
        let body = Some(serde_json::json!({ "securityEnabledOnly": true }));
        let bearer = token.as_ref().map(|token| token.as_str());
        let document = self.fetch.fetch(Ask { url: &url, body, bearer, limit: MAX_BYTES }).await;
        let document = document.map_err(|error| {
            tracing::warn!(%error, "the directory did not tell a caller's groups");
            DirectoryUnavailable
        })?;
        let answer: Answer = serde_json::from_slice(&document.bytes).map_err(|_| {
            tracing::warn!(%url, "the directory's answer is not a list of groups");
            DirectoryUnavailable
        })?;
        Ok(answer.value.iter().filter_map(|id| Uuid::try_parse(id).ok().map(PrincipalId)).collect())
    }
}

#[cfg(test)]
mod tests;
