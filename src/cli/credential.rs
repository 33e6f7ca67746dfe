//! Where a client command's token comes from: the first credential that serves, and if none does, why each did not.

mod azure_cli;
mod environment;
mod kept;
mod managed;
mod oauth;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::Env;
use super::http::{Http, HttpError, TIME};
pub use kept::{Kept, Login};
pub use oauth::{OAuthError, post, token_request};

/// What tokens for scoring are asked for.
const SCORING: &str = "https://ml.azure.com";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The control plane.
    Control,
    /// Scoring an `aad_token` endpoint.
    Scoring,
}

/// An access token.
#[derive(Clone)]
pub struct AccessToken {
    /// The token.
    pub secret: Zeroizing<String>,
    /// When it ends, in Unix seconds, as far as that is known.
    pub expires: Option<i64>,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl AccessToken {
    /// A token that says itself when it ends, if it does.
    pub fn of(secret: String) -> AccessToken {
        let secret = Zeroizing::new(secret);
        let expires = claims(&secret).get("exp").and_then(Value::as_i64);
        AccessToken { secret, expires }
    }
}

/// The claims of a token, unverified: good for choosing and showing, never for deciding.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}

/// What the server says about tokens for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cloud {
    /// Where tokens are issued, without a slash at the end.
    pub authority: String,
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// What tokens for the control plane are for.
    pub audiences: Vec<String>,
}

/// Why a credential gave no token.
#[derive(Debug, PartialEq, Eq)]
pub enum Miss {
    /// It was not set up; the next one is tried.
    Unset(String),
    /// It was set up and did not work.
    Failed(String),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The server could not be asked where tokens are issued.
    #[error(transparent)]
    Server(#[from] HttpError),
    /// No credential served.
    #[error("no credential gave a token for {resource}; tried, in order:{}\n  what to do: `scoregate login`, or set one of these up", list(.tried))]
    None {
        /// What the token was for.
        resource: String,
        /// Each credential and why it did not serve.
        tried: Vec<(&'static str, String)>,
    },
}

fn list(tried: &[(&'static str, String)]) -> String {
    use fmt::Write;
    tried.iter().fold(String::new(), |mut text, (name, why)| {
        let _ = write!(text, "\n  - {name}: {why}");
        text
    })
}

/// What the credentials work with.
pub struct Credentials {
    pub env: Env,
    pub http: Http,
    server: String,
    given: Option<Zeroizing<String>>,
    cloud: OnceCell<Cloud>,
    now: fn() -> i64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Credentials for this server; `given` is the token of the command line. `now` gives Unix seconds.
    pub fn new(env: Env, http: Http, server: &str, given: Option<&str>, now: fn() -> i64) -> Credentials {
        let given = given.map(str::to_owned).or_else(|| env.get("SCOREGATE_TOKEN").map(str::to_owned));
        let given = given.map(|token| Zeroizing::new(token.trim().trim_start_matches("Bearer ").to_owned()));
        Credentials { env, http, server: server.to_owned(), given, cloud: OnceCell::new(), now }
    }

    /// Now, in Unix seconds.
    pub fn now(&self) -> i64 {
        (self.now)()
    }

    /// What the server says about tokens for itself; asked once.
    pub async fn cloud(&self) -> Result<&Cloud, HttpError> {
        self.cloud.get_or_try_init(|| self.ask_server()).await
    }

    async fn ask_server(&self) -> Result<Cloud, HttpError> {
        let url = format!("{}/metadata/endpoints?api-version=2022-09-01", self.server);
        let request = self.http.request(Method::GET, &url).header("accept", "application/json");
        let answer = self.http.send(request, TIME).await?;
        let wrong = |what: String| HttpError::Answer { url: url.clone(), what };
        if answer.status != 200 {
            return Err(wrong(format!("status {}; is this a gateway's control plane?", answer.status)));
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(|_| {
            wrong("something that is not JSON; is this a gateway's control plane?".to_owned())
        })?;
        let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let audiences = said.pointer("/authentication/audiences").and_then(Value::as_array);
        let audiences =
            audiences.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Cloud {
            authority: text("/authentication/loginEndpoint").unwrap_or_default(),
            tenant: text("/authentication/tenant"),
            audiences,
        })
    }

    /// Where tokens are issued: authority and tenant.
    pub async fn authority(&self) -> Result<(String, String), Miss> {
        let said = match (self.env.get("AZURE_AUTHORITY_HOST"), self.env.get("AZURE_TENANT_ID")) {
            (Some(_), Some(_)) => &Cloud::default(),
            _ => self.cloud().await.map_err(|error| Miss::Failed(error.to_string()))?,
        };
        let authority = self.env.get("AZURE_AUTHORITY_HOST").unwrap_or(&said.authority).trim_end_matches('/');
        let authority =
            if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        if !authority.starts_with("https://") || authority.len() == "https://".len() {
            return Err(Miss::Failed(format!("secrets go to https authorities only, not to `{authority}`")));
        }
        let tenant = self.env.get("AZURE_TENANT_ID").or(said.tenant.as_deref());
        let tenant = tenant
            .filter(|tenant| tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)))
            .ok_or_else(|| Miss::Failed("the server names no tenant; set AZURE_TENANT_ID".to_owned()))?;
        Ok((authority, tenant.to_owned()))
    }

    /// What a token for this purpose is asked for.
    pub async fn resource(&self, purpose: Purpose) -> Result<String, HttpError> {
        Ok(match purpose {
            Purpose::Scoring => SCORING.to_owned(),
            Purpose::Control => {
                let first = self.cloud().await?.audiences.first().cloned();
                first.unwrap_or_else(|| "https://management.azure.com".to_owned())
            }
        })
    }

    /// A token, from the first credential that serves.
    ///
    /// One that is set up for programs and then refused ends the search: going on would act as somebody else.
    pub async fn token(&self, purpose: Purpose) -> Result<AccessToken, CredentialError> {
        let mut tried = Vec::new();
        match self.given(purpose).await {
            Ok(token) => return Ok(token),
            Err(why) => tried.push(("--token, SCOREGATE_TOKEN", why)),
        }
        let resource = self.resource(purpose).await?;
        for source in Source::ALL {
            let found = match source {
                Source::Environment => environment::token(self, &resource).await,
                Source::Managed => managed::token(self, &resource).await,
                Source::AzureCli => azure_cli::token(self, &resource).await,
                Source::Login => kept::token(self, &resource).await,
            };
            let (why, end) = match found {
                Ok(token) => return Ok(token),
                Err(Miss::Unset(why)) => (why, false),
                Err(Miss::Failed(why)) => (why, matches!(source, Source::Environment | Source::Managed)),
            };
            tried.push((source.name(), why));
            if end {
                break;
            }
        }
        Err(CredentialError::None { resource, tried })
    }

    /// The token of the command line, unless it plainly is not for this.
    async fn given(&self, purpose: Purpose) -> Result<AccessToken, String> {
        let token = self.given.as_ref().filter(|token| !token.is_empty()).ok_or("not set")?;
        let token = AccessToken::of(token.to_string());
        if purpose == Purpose::Scoring {
            let claims = claims(&token.secret);
            let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
            let cloud = self.cloud().await.cloned().unwrap_or_default();
            let control = cloud.audiences.iter().chain([&self.server]);
            let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
            if control.into_iter().any(|other| plain(other) == plain(audience)) && plain(audience) != SCORING
            {
                return Err(format!("it is for {audience}"));
            }
        }
        Ok(token)
    }
}

/// The credentials after the given token.
#[derive(Debug, Clone, Copy)]
enum Source {
    Environment,
    Managed,
    AzureCli,
    Login,
}

impl Source {
    /// In the order in which they are tried.
    const ALL: [Source; 4] = [Source::Environment, Source::Managed, Source::AzureCli, Source::Login];

    fn name(self) -> &'static str {
        match self {
            Source::Environment => "environment",
            Source::Managed => "managed identity",
            Source::AzureCli => "Azure CLI",
            Source::Login => "scoregate login",
        }
    }
}
