//! Requests to an authority's token endpoint.

use http::Method;
use serde_json::Value;

use super::AccessToken;
use crate::cli::http::{Http, TIME};

/// Why the authority gave no token.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// It refused, in its own words.
    #[error("{description}")]
    Refused {
        /// The code, such as `invalid_client`.
        error: String,
        /// What it says about it.
        description: String,
    },
    /// It could not be asked.
    #[error("{0}")]
    Unreachable(String),
}

/// What a token endpoint answered.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub access: AccessToken,
    /// The rest of the answer, for logins.
    pub rest: Value,
}

/// Posts a form to a token endpoint.
pub async fn token_request(
    http: &Http,
    url: &str,
    form: &[(&str, &str)],
    now: i64,
) -> Result<Granted, OAuthError> {
    let rest = post(http, url, form).await?;
    let text = |name: &str| rest.get(name).and_then(Value::as_str);
    let secret = text("access_token")
        .ok_or_else(|| OAuthError::Unreachable(format!("{url} answered without an access token")))?;
    let mut access = AccessToken::of(secret.to_owned());
    access.expires = seconds(rest.get("expires_in")).map(|left| now.saturating_add(left)).or(access.expires);
    Ok(Granted { access, rest })
}

/// Posts a form to the authority and gives its JSON.
pub async fn post(http: &Http, url: &str, form: &[(&str, &str)]) -> Result<Value, OAuthError> {
    let request = http.request(Method::POST, url).header("accept", "application/json").form(form);
    let answer =
        http.send(request, TIME).await.map_err(|error| OAuthError::Unreachable(error.to_string()))?;
    read(url, answer.status, &answer.body)
}

/// Reads what an authority or an identity endpoint answered.
pub fn read(url: &str, status: u16, body: &[u8]) -> Result<Value, OAuthError> {
    let said: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status == 200 && said.is_object() {
        return Ok(said);
    }
    let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(error) = text("error") else {
        return Err(OAuthError::Unreachable(format!("{url} answered status {status} and no JSON error")));
    };
    let description = text("error_description").or_else(|| text("message")).unwrap_or_else(|| error.clone());
    // What follows is for the authority's own logs.
    let description = description.split(" Trace ID:").next().unwrap_or_default().trim().to_owned();
    let description = description.split("\r\n").next().unwrap_or_default().to_owned();
    Err(OAuthError::Refused { error, description })
}

/// A number of seconds, which some endpoints write as text.
pub fn seconds(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
