//! A job's owner towards storage: access tokens by the refresh token that is sealed to the job.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::artifacts::StorageTokens;
use crate::clock::Clock;
use crate::identity::on_behalf_of::{ObtainError, OnBehalfOf};

/// Seconds before its end at which an access token is replaced.
const EARLY: i64 = 120;

/// Access tokens for storage on behalf of a job's owner.
pub(super) struct OwnerTokens {
    on_behalf: Arc<OnBehalfOf>,
    clock: Arc<dyn Clock>,
    refresh: Zeroizing<String>,
    current: Mutex<Option<(Zeroizing<String>, i64)>>,
}

impl std::fmt::Debug for OwnerTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnerTokens(…)")
    }
}

impl OwnerTokens {
    /// Exchanges a caller's token for what his job's data can be reached with later.
    pub(super) async fn obtain(on_behalf: &OnBehalfOf, token: &str) -> Result<Zeroizing<String>, Refused> {
        on_behalf.exchange(token).await?.refresh.ok_or(Refused::NoRefresh)
    }

    /// Tokens by what was exchanged.
    pub(super) fn new(
        on_behalf: Arc<OnBehalfOf>,
        clock: Arc<dyn Clock>,
        refresh: Zeroizing<String>,
    ) -> OwnerTokens {
        OwnerTokens { on_behalf, clock, refresh, current: Mutex::default() }
    }
}

/// Why there is nothing that opens a store as its job's owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The authority gave none.
    #[error(transparent)]
    Obtain(#[from] ObtainError),
    /// It gave one that ends before the job.
    #[error("the authority gave no refresh token; the application needs offline_access")]
    NoRefresh,
}

#[async_trait]
impl StorageTokens for OwnerTokens {
    async fn token(&self) -> Result<Zeroizing<String>, String> {
        let mut current = self.current.lock().await;
        if let Some((token, expires)) = &*current
            && self.clock.unix() < expires - EARLY
        {
            return Ok(token.clone());
        }
        let fresh = self.on_behalf.refresh(&self.refresh).await.map_err(|error| error.to_string())?;
        *current = Some((fresh.access.clone(), fresh.expires));
        Ok(fresh.access)
    }
}
