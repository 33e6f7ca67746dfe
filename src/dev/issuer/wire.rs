//! What the development issuer reads and refuses: form parameters, HTTP basic and Entra's error bodies.
//!
//! Like the rest of the issuer it cannot be enabled in `serve`.

use std::collections::HashMap;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{IssuerError, OIDC_SCOPES, TokenVersion};

/// A request that is refused, in Entra's words.
#[derive(Debug)]
pub(in crate::dev) struct Refusal {
    pub(super) status: StatusCode,
    pub(in crate::dev) error: &'static str,
    code: u32,
    text: String,
}

impl Refusal {
    pub(in crate::dev) fn new(
        status: StatusCode,
        error: &'static str,
        code: u32,
        text: impl Into<String>,
    ) -> Self {
        Self { status, error, code, text: text.into() }
    }

    /// A refusal with status 400.
    pub(in crate::dev) fn bad(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, text)
    }

    pub(super) fn body(&self, now: i64) -> Value {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let time =
            jiff::Timestamp::from_second(now).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        json!({
            "error": self.error, "error_codes": [self.code], "timestamp": time, "trace_id": trace, "correlation_id": correlation,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}", self.code, self.text
            ),
        })
    }
}

impl From<IssuerError> for Refusal {
    fn from(error: IssuerError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 50000, error.to_string())
    }
}

pub(super) fn missing(name: &str) -> Refusal {
    Refusal::bad(
        "invalid_request",
        900_144,
        format!("The request body must contain the following parameter: '{name}'."),
    )
}

pub(super) fn unknown_client(id: &str) -> Refusal {
    let shown: String = id.chars().take(64).collect();
    Refusal::bad(
        "unauthorized_client",
        700_016,
        format!("Application with identifier '{shown}' was not found in the directory."),
    )
}

pub(super) type Map = HashMap<String, String>;
pub(super) type FormBody = Result<Form<Map>, FormRejection>;

/// The parameters of a form post.
pub(super) struct Params(Map);

impl Params {
    /// Takes the form, and `token_version` from the query if the form has none.
    pub(super) fn read(body: FormBody, mut query: Map) -> Result<Self, Refusal> {
        let Form(mut form) =
            body.map_err(|e| Refusal::new(e.status(), "invalid_request", 9_002_313, e.body_text()))?;
        if let Some(version) = query.remove("token_version") {
            form.entry("token_version".to_owned()).or_insert(version);
        }
        Ok(Self(form))
    }

    pub(super) fn opt(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    pub(super) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.opt(name).ok_or_else(|| missing(name))
    }

    pub(super) fn public_client(&self) -> Result<Uuid, Refusal> {
        let id = self.need("client_id")?;
        Uuid::try_parse(id).map_err(|_| unknown_client(id))
    }

    /// The development aid that overrides the version an audience would get.
    pub(super) fn version(&self) -> Result<Option<TokenVersion>, Refusal> {
        match self.opt("token_version") {
            None => Ok(None),
            Some("1") => Ok(Some(TokenVersion::V1)),
            Some("2") => Ok(Some(TokenVersion::V2)),
            Some(_) => Err(Refusal::bad("invalid_request", 9_002_313, "token_version must be 1 or 2.")),
        }
    }

    /// Whether this is among the scopes that are asked for.
    pub(super) fn wants(&self, scope: &str) -> bool {
        self.opt("scope").is_some_and(|all| all.split_whitespace().any(|one| one == scope))
    }

    /// The audience asked for: `resource` as it is, or the part of the scope before `/.default` (or, for users, before the last slash).
    pub(super) fn audience(&self, endpoint: TokenVersion, user: bool) -> Result<String, Refusal> {
        if endpoint == TokenVersion::V1 {
            return self.need("resource").map(str::to_owned);
        }
        let scope = self.need("scope")?;
        let mut found: Option<&str> = None;
        for item in scope.split_whitespace().filter(|item| !(user && OIDC_SCOPES.contains(item))) {
            let delegated = || item.rsplit_once('/').filter(|_| user).map(|(resource, _)| resource);
            let resource = item
                .strip_suffix("/.default")
                .or_else(delegated)
                .filter(|r| !matches!(r.trim_end_matches('/').chars().last(), None | Some(':')));
            match (resource, found) {
                (Some(resource), None) => found = Some(resource),
                (Some(resource), Some(before)) if resource == before => {}
                _ => return Err(bad_scope(scope)),
            }
        }
        found.map(str::to_owned).ok_or_else(|| bad_scope(scope))
    }
}

fn bad_scope(scope: &str) -> Refusal {
    let shown: String = scope.chars().take(200).collect();
    Refusal::bad(
        "invalid_scope",
        70011,
        format!(
            "The provided value for the input parameter 'scope' is not valid: '{shown}'. Use one resource followed by /.default."
        ),
    )
}

/// Client id and secret from HTTP basic: as sent, and form-decoded as RFC 6749 asks of clients.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, Vec<String>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded =
        format!("/?s={secret}").parse::<Uri>().ok().and_then(|uri| Query::<Map>::try_from_uri(&uri).ok());
    let decoded = decoded.and_then(|Query(mut map)| map.remove("s"));
    Some((id.to_owned(), std::iter::once(secret.to_owned()).chain(decoded).collect()))
}
