//! OAuth 2.0 on behalf of: a caller's token for the gateway becomes a token for storage, in the caller's name
//! ("Microsoft identity platform and OAuth 2.0 On-Behalf-Of flow").
//!
//! The token that is exchanged is one for the gateway's own application and names a person; it has been judged before
//! by [`token`](super::token). Nothing is kept here: whoever exchanges holds the tokens.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::fetch::{FetchError, HttpFetch};
use super::issuer::Transport;
use super::secret_file;
use crate::clock::Clock;
use crate::settings;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The longest claims that a caller is challenged with, in bytes: they go into a header.
const MAX_CLAIMS: usize = 4 << 10;
/// The most characters of an authority's own words that are told.
const MAX_WORDS: usize = 300;
/// The life of a token whose answer does not tell it, in seconds.
const UNKNOWN_LIFE: i64 = 300;

/// Entra's numbers for an application's token, which nobody can be acted for with, and for a token of somebody else's.
const APPLICATION: u64 = 7_000_114;
const OTHER_AUDIENCE: u64 = 500_131;

/// Why there is no token in the caller's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObtainError {
    /// The application's secret cannot be had; the log names the file.
    #[error("the secret of the gateway's application {0}")]
    Secret(String),
    /// The caller is an application or a managed identity.
    #[error(
        "the caller is an application, which has no delegated token to exchange; give the data store a credential, or call as a user"
    )]
    Application,
    /// The token is for another audience than the gateway's application.
    #[error("the token is not for the gateway's application; ask for one with the scope {0}/.default")]
    Audience(Uuid),
    /// The authority wants to see the caller first.
    #[error("the authority asks for the caller himself: sign in again ({description})")]
    Interaction {
        /// The value of the `WWW-Authenticate` field that the caller is answered with beside 401.
        challenge: Option<String>,
        /// The authority's own words.
        description: String,
    },
    /// The authority said no.
    #[error("the authority refused: {description}")]
    Refused {
        /// Its code, such as `invalid_grant`.
        error: String,
        /// Its own words.
        description: String,
    },
    /// The authority could not be asked, or did not answer as it should. Trying again may help.
    #[error("the authority cannot be asked: {0}")]
    Unavailable(String),
}

impl ObtainError {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ObtainError::Secret(_) => "OnBehalfOfSecret",
            ObtainError::Application => "OnBehalfOfNeedsUser",
            ObtainError::Audience(_) => "OnBehalfOfAudience",
            ObtainError::Interaction { .. } => "InteractionRequired",
            ObtainError::Refused { .. } => "OnBehalfOfRefused",
            ObtainError::Unavailable(_) => "OnBehalfOfUnavailable",
        }
    }

    /// Whether the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, ObtainError::Unavailable(_))
    }
}

/// Tokens in a caller's name.
#[derive(Clone)]
pub struct Tokens {
    /// The access token.
    pub access: Zeroizing<String>,
    /// What gets the next one without the caller, if the authority gave it.
    pub refresh: Option<Zeroizing<String>>,
    /// When the access token ends, Unix seconds.
    pub expires: i64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The gateway's application at an authority.
#[derive(Debug, Clone)]
pub struct OnBehalfOf {
    settings: settings::OnBehalfOf,
    client: HttpFetch,
    clock: Arc<dyn Clock>,
}

impl OnBehalfOf {
    /// By these settings. Asks nobody anything.
    pub fn new(settings: settings::OnBehalfOf, clock: Arc<dyn Clock>) -> Result<OnBehalfOf, FetchError> {
        let transport = Transport { ca_file: settings.ca_file.clone(), allow_http: settings.allow_http };
        Ok(OnBehalfOf { client: HttpFetch::new(&transport)?, settings, clock })
    }

    /// Exchanges a caller's token, which has been judged already, for one with the scope of the settings.
    pub async fn exchange(&self, token: &str) -> Result<Tokens, ObtainError> {
        if !is_delegated(token) {
            return Err(ObtainError::Application);
        }
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("requested_token_use", "on_behalf_of"),
            ("assertion", token),
        ];
        self.ask(&form).await
    }

    /// Gets the next token with what the exchange gave, or the refresh after it.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, ObtainError> {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn ask(&self, grant: &[(&str, &str)]) -> Result<Tokens, ObtainError> {
        let settings = &self.settings;
        let secret = secret_file::load(&settings.client_secret_file).await.map_err(|error| {
            tracing::warn!(file = %settings.client_secret_file.display(), %error, "there is no secret of the application");
            ObtainError::Secret(error.to_string())
        })?;
        let url = format!("{}/{}/oauth2/v2.0/token", settings.authority, settings.tenant);
        let client_id = settings.client_id.to_string();
        let scope = format!("{} offline_access", settings.scope);
        let own = [("client_id", client_id.as_str()), ("client_secret", secret.as_str()), ("scope", &scope)];
        let now = self.clock.unix();
        let answer = self.client.post_form(&url, &[grant, own.as_slice()].concat(), MAX_ANSWER).await;
        let (status, bytes) = answer.map_err(|error| ObtainError::Unavailable(error.to_string()))?;
        let bytes = Zeroizing::new(bytes);
        if status == 200 {
            return granted(&bytes, now)
                .ok_or_else(|| ObtainError::Unavailable(format!("{url} answered without an access token")));
        }
        let error = self.refused(status, &bytes);
        tracing::info!(status, code = error.code(), %error, "a token was not exchanged");
        Err(error)
    }

    fn refused(&self, status: u16, body: &[u8]) -> ObtainError {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        let codes = said.get("error_codes").and_then(Value::as_array).into_iter().flatten();
        let codes: Vec<u64> = codes.filter_map(Value::as_u64).collect();
        let (error, description, claims) = (text("error"), words(text("error_description")), text("claims"));
        // A server's trouble and too many questions pass; so does what it calls so itself.
        if status >= 500 || status == 429 || matches!(error, "" | "temporarily_unavailable") {
            return ObtainError::Unavailable(format!("status {status} {description}").trim().to_owned());
        }
        if error == "interaction_required" || !claims.is_empty() {
            return ObtainError::Interaction { challenge: self.challenge(claims), description };
        }
        if codes.contains(&APPLICATION) {
            return ObtainError::Application;
        }
        if codes.contains(&OTHER_AUDIENCE) {
            return ObtainError::Audience(self.settings.client_id);
        }
        ObtainError::Refused { error: words(error), description }
    }

    /// What tells a client to get a token that satisfies the claims ("Claims challenges, claims requests").
    fn challenge(&self, claims: &str) -> Option<String> {
        if claims.is_empty() || claims.len() > MAX_CLAIMS {
            return None;
        }
        let (authority, tenant, claims) =
            (&self.settings.authority, self.settings.tenant, STANDARD.encode(claims));
        Some(format!(
            "Bearer authorization_uri=\"{authority}/{tenant}\", error=\"insufficient_claims\", claims=\"{claims}\""
        ))
    }
}

/// Whether a token says that a person gave it to an application. Only saves the question: the authority judges it.
fn is_delegated(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        scp: Option<String>,
        idtyp: Option<String>,
    }
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok());
    claims.is_some_and(|claims| {
        claims.scp.is_some_and(|scp| !scp.is_empty()) && claims.idtyp.is_none_or(|kind| kind != "app")
    })
}

/// An authority's words, in one line, without what follows for its own logs.
fn words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" Trace ID:").next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

fn granted(body: &[u8], now: i64) -> Option<Tokens> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        #[serde(default)]
        refresh_token: Option<String>,
        #[serde(default)]
        expires_in: Value,
    }
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let life = granted.expires_in.as_i64().or_else(|| granted.expires_in.as_str()?.parse().ok());
    let (access, refresh) = (Zeroizing::new(granted.access_token), granted.refresh_token.map(Zeroizing::new));
    let expires = now.saturating_add(life.filter(|life| *life > 0).unwrap_or(UNKNOWN_LIFE));
    (!access.is_empty()).then_some(Tokens {
        access,
        refresh: refresh.filter(|token| !token.is_empty()),
        expires,
    })
}
