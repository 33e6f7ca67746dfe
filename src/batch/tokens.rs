//! A job's owner towards storage: access tokens by the refresh token that is sealed to the job.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::artifacts::{ArtifactError, StorageTokens};
use crate::clock::Clock;
use crate::identity::on_behalf_of::{ObtainError, OnBehalfOf};

/// Seconds before its end from which on an access token is replaced, if that is possible.
const EARLY: i64 = 120;
/// Seconds for which nobody else asks for another token while there is one that is good.
const PAUSE: i64 = 10;

/// Access tokens for storage on behalf of a job's owner.
pub(super) struct OwnerTokens {
    on_behalf: Arc<OnBehalfOf>,
    clock: Arc<dyn Clock>,
    refresh: Zeroizing<String>,
    current: Mutex<Option<Current>>,
}

/// An access token.
struct Current {
    token: Zeroizing<String>,
    /// When it is replaced, and when it ends, Unix seconds.
    due: i64,
    expires: i64,
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

fn refused(error: &ObtainError) -> ArtifactError {
    let (place, why) = ("the data store".to_owned(), error.to_string());
    if error.is_transient() {
        ArtifactError::StoreUnreachable { place, why }
    } else {
        ArtifactError::Unauthorized { place, why }
    }
}

#[async_trait]
impl StorageTokens for OwnerTokens {
    async fn token(&self) -> Result<Zeroizing<String>, ArtifactError> {
        let (mut current, now) = (self.current.lock().await, self.clock.unix());
        let good = match &mut *current {
            Some(Current { token, due, .. }) if now < *due => return Ok(token.clone()),
            Some(Current { token, due, expires }) if now < *expires => {
                *due = (now + PAUSE).min(*expires);
                Some(token.clone())
            }
            _ => None,
        };
        // Whoever comes meanwhile takes the good one, or waits for the next if there is none.
        let held = good.is_none().then_some(current);
        match (self.on_behalf.refresh(&self.refresh).await, good) {
            (Ok(fresh), _) => {
                let (token, expires) = (fresh.access.clone(), fresh.expires);
                let mut current = match held {
                    Some(held) => held,
                    None => self.current.lock().await,
                };
                *current = Some(Current { token, due: expires - EARLY, expires });
                Ok(fresh.access)
            }
            // Who cannot be asked now may be asked before the token ends; a no holds at once.
            (Err(ObtainError::Unavailable(_) | ObtainError::Secret(_)), Some(token)) => Ok(token),
            (Err(error), _) => Err(refused(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use axum::Router;
    use axum::http::{StatusCode, header};
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::clock::ManualClock;
    use crate::settings;

    const NOW: i64 = 1_900_000_000;

    type Says = Arc<parking_lot::Mutex<(StatusCode, Value)>>;

    /// Tokens by an authority on loopback that answers what it is told to, and their clock.
    async fn tokens(says: Says) -> (OwnerTokens, Arc<ManualClock>, TempDir) {
        let tenant = Uuid::from_u128(1);
        let answer = async move || {
            let (status, body) = says.lock().clone();
            (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
        };
        let router =
            Router::new().route(&format!("/{tenant}/oauth2/v2.0/token"), axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let settings = settings::OnBehalfOf {
            client_id: Uuid::from_u128(2),
            client_secret_file: secret,
            authority,
            tenant,
            scope: "https://storage.azure.com/.default".to_owned(),
            ca_file: None,
            allow_http: true,
        };
        let clock = Arc::new(ManualClock::at(NOW));
        let on_behalf = Arc::new(OnBehalfOf::new(settings, clock.clone()).unwrap());
        let tokens = OwnerTokens::new(on_behalf, clock.clone(), Zeroizing::new("refresh".to_owned()));
        (tokens, clock, directory)
    }

    fn gives(name: &str) -> (StatusCode, Value) {
        let body = json!({"token_type": "Bearer", "access_token": name, "expires_in": 3600});
        (StatusCode::OK, body)
    }

    #[tokio::test]
    async fn while_the_authority_is_away_a_token_is_used_to_its_end_and_then_it_is_waited_for() {
        let says = Says::new(parking_lot::Mutex::new(gives("first")));
        let (tokens, clock, _directory) = tokens(says.clone()).await;
        assert_eq!(tokens.token().await.unwrap().as_str(), "first");
        *says.lock() = gives("second");
        assert_eq!(tokens.token().await.unwrap().as_str(), "first", "it is good for an hour");

        *says.lock() = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
        clock.set(NOW + 3600 - EARLY + 1);
        assert_eq!(tokens.token().await.unwrap().as_str(), "first");
        *says.lock() = gives("second");
        assert_eq!(tokens.token().await.unwrap().as_str(), "first", "it was asked a moment ago");
        *says.lock() = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
        clock.set(NOW + 3600);
        assert!(tokens.token().await.unwrap_err().is_transient());
        *says.lock() = gives("second");
        assert_eq!(tokens.token().await.unwrap().as_str(), "second");
    }

    #[tokio::test]
    async fn who_is_refused_is_refused_before_his_token_ends() {
        let says = Says::new(parking_lot::Mutex::new(gives("first")));
        let (tokens, clock, _directory) = tokens(says.clone()).await;
        tokens.token().await.unwrap();
        *says.lock() =
            (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant", "error_description": "no"}));
        clock.set(NOW + 3600 - EARLY);
        let error = tokens.token().await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("Unauthorized", false));
    }
}
