//! The development-only, Entra-like token issuer of `scoregate dev`.
//!
//! It speaks as much of Microsoft Entra's protocol as unmodified SDKs need: discovery, keys, client credentials with a secret, device
//! code, refresh, on behalf of, and the endpoint that a machine's managed identity is asked at. It is a tool for one's own machine: the device page asks for no password and every answer carries
//! `x-scoregate-development-issuer: true`. It cannot be enabled in `serve`: no setting names it, and only the `dev` command builds one.
//! The signing key is made at start, stays in memory and is never written anywhere.

mod endpoints;
mod managed;
mod on_behalf_of;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::device_flow::DeviceFlow;
pub(super) use wire::Refusal;

/// Host of v1 issuers, the same for every authority of the public cloud.
const STS: &str = "https://sts.windows.net";
/// First-party resources, whose tokens are v1.
const V1_RESOURCES: [&str; 4] = [
    "https://ml.azure.com",
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://storage.azure.com",
];
/// Scopes that name no resource.
const OIDC_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// Tenant names that stand for any tenant.
const TENANT_ALIASES: [&str; 2] = ["organizations", "common"];
const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ON_BEHALF_OF_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Why the issuer could not be made or could not make a token.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The configuration cannot work.
    #[error("development issuer: {0}")]
    Config(String),
    /// A cryptographic operation failed.
    #[error("development issuer: {0} failed")]
    Crypto(&'static str),
    /// No principal has the name.
    #[error("development issuer: no principal is called `{0}`")]
    UnknownPrincipal(String),
}

/// The version of an access token, which decides its issuer and the names of its claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVersion {
    V1,
    V2,
}

impl TokenVersion {
    /// The version Entra uses for an audience: v1 for Azure's own resources, v2 for all others.
    #[must_use]
    pub fn for_audience(audience: &str) -> Self {
        let first_party = V1_RESOURCES
            .iter()
            .any(|r| audience.strip_prefix(r).is_some_and(|t| t.is_empty() || t.starts_with('/')));
        if first_party { Self::V1 } else { Self::V2 }
    }
}

/// One identity the issuer knows.
#[derive(Clone)]
pub struct DevPrincipal {
    pub name: String,
    pub client_id: Uuid,
    pub object_id: Uuid,
    pub client_secret: String,
    pub groups: Vec<Uuid>,
}

impl fmt::Debug for DevPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevPrincipal")
            .field("name", &self.name)
            .field("client_id", &self.client_id)
            .field("object_id", &self.object_id)
            .field("client_secret", &"<redacted>")
            .field("groups", &self.groups)
            .finish()
    }
}

/// What an issuer is made from.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    pub tenant: Uuid,
    /// Where clients reach it, `https://127.0.0.1:PORT`, without a slash at the end.
    pub base_url: String,
    /// People, who are also applications with a secret.
    pub principals: Vec<DevPrincipal>,
    /// Applications that nobody signs in as.
    pub applications: Vec<DevPrincipal>,
    /// The identity of this machine; its secret is the header that opens its endpoint.
    pub managed: Option<DevPrincipal>,
    /// How long access tokens live.
    pub lifetime: Duration,
}

/// How a principal came by its token.
#[derive(Clone, Copy, Debug)]
enum Via {
    /// As an application, by its own secret.
    Secret,
    /// As the identity of a machine.
    Machine,
    /// As a person, through this client; whether the client proved who it is.
    Client(Uuid, bool),
}

/// The development issuer.
pub struct Issuer {
    config: IssuerConfig,
    now: fn() -> i64,
    key: RsaKeyPair,
    kid: String,
    devices: DeviceFlow,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("config", &self.config).field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes an issuer with a new RSA-2048 key. `now` gives Unix seconds.
    ///
    /// # Errors
    /// If two principals share a name or an id, one has no secret, or no key can be made.
    pub fn new(mut config: IssuerConfig, now: fn() -> i64) -> Result<Self, IssuerError> {
        config.base_url.truncate(config.base_url.trim_end_matches('/').len());
        let everybody: Vec<&DevPrincipal> =
            config.principals.iter().chain(&config.applications).chain(&config.managed).collect();
        for (index, principal) in everybody.iter().enumerate() {
            let clash = |p: &&&DevPrincipal| {
                p.name == principal.name
                    || p.client_id == principal.client_id
                    || p.object_id == principal.object_id
            };
            if principal.client_secret.is_empty() {
                return Err(IssuerError::Config(format!("principal `{}` has no secret", principal.name)));
            }
            if let Some(other) = everybody.iter().take(index).find(clash) {
                return Err(IssuerError::Config(format!(
                    "principals `{}` and `{}` share a name or an id",
                    other.name, principal.name
                )));
            }
        }
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| IssuerError::Crypto("making a key"))?;
        Ok(Self { config, now, key, kid: random_text(20)?, devices: DeviceFlow::default() })
    }

    /// The routes of the issuer. Every answer carries `x-scoregate-development-issuer: true`.
    pub fn router(self: Arc<Self>) -> Router {
        endpoints::router(self)
    }

    /// A signed app-only access token for a principal by name, without HTTP.
    ///
    /// # Errors
    /// If no principal has the name, or signing fails.
    pub fn token(
        &self,
        principal: &str,
        audience: &str,
        version: TokenVersion,
    ) -> Result<String, IssuerError> {
        let found = self.config.principals.iter().find(|p| p.name == principal);
        let principal = found.ok_or_else(|| IssuerError::UnknownPrincipal(principal.to_owned()))?;
        self.access_token(principal, audience, version, Via::Secret)
    }

    /// The public keys as the v2 keys document has them.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys(TokenVersion::V2)
    }

    fn keys(&self, version: TokenVersion) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.key.public_key());
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(&public.n), "e": URL_SAFE_NO_PAD.encode(&public.e),
            "issuer": self.issuer(version, "{tenantid}"),
        }]})
    }

    fn issuer(&self, version: TokenVersion, tenant: &str) -> String {
        match version {
            TokenVersion::V1 => format!("{STS}/{tenant}/"),
            TokenVersion::V2 => format!("{}/{tenant}/v2.0", self.config.base_url),
        }
    }

    /// The discovery document. That of an alias has a template for an issuer; its endpoints are the only tenant's, so that clients work.
    fn metadata(&self, path_tenant: &str, version: TokenVersion) -> Result<Value, Refusal> {
        let tenant = self.config.tenant.to_string();
        let alias = TENANT_ALIASES.iter().any(|a| path_tenant.eq_ignore_ascii_case(a));
        if !alias {
            self.check_tenant(path_tenant)?;
        }
        let base = format!("{}/{tenant}", self.config.base_url);
        let dir = match version {
            TokenVersion::V1 => "",
            TokenVersion::V2 => "/v2.0",
        };
        Ok(json!({
            "issuer": self.issuer(version, if alias { "{tenantid}" } else { &tenant }),
            "authorization_endpoint": format!("{base}/oauth2{dir}/authorize"),
            "token_endpoint": format!("{base}/oauth2{dir}/token"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{base}/discovery{dir}/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "grant_types_supported": ["client_credentials", "refresh_token", DEVICE_CODE_GRANT, ON_BEHALF_OF_GRANT],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"],
            "scopes_supported": OIDC_SCOPES,
        }))
    }

    fn check_tenant(&self, tenant: &str) -> Result<(), Refusal> {
        if tenant.eq_ignore_ascii_case(&self.config.tenant.to_string()) {
            return Ok(());
        }
        let shown: String = tenant.chars().take(64).collect();
        Err(Refusal::bad(
            "invalid_tenant",
            90002,
            format!("Tenant '{shown}' not found. This development issuer has one tenant."),
        ))
    }

    fn access_token(
        &self,
        principal: &DevPrincipal,
        audience: &str,
        version: TokenVersion,
        via: Via,
    ) -> Result<String, IssuerError> {
        let mut claims = self.claims(principal, audience, version)?;
        // How the client proved who it is: not at all, by a secret, by a certificate.
        let (client, strength) = match via {
            Via::Secret => (principal.client_id, "1"),
            Via::Machine => (principal.client_id, "2"),
            Via::Client(client, proven) => (client, if proven { "1" } else { "0" }),
        };
        let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        let [client_claim, strength_claim, name_claim] = match version {
            TokenVersion::V1 => ["appid", "appidacr", "unique_name"],
            TokenVersion::V2 => ["azp", "azpacr", "preferred_username"],
        };
        add(client_claim, json!(client));
        add(strength_claim, json!(strength));
        if matches!(via, Via::Client(..)) {
            add("scp", json!("user_impersonation"));
            add("sub", json!(pairwise(client, principal.object_id)));
            add("name", json!(principal.name));
            add(name_claim, json!(username(principal)));
        } else {
            add("idtyp", json!("app"));
            add("sub", json!(principal.object_id));
        }
        if matches!(via, Via::Machine) {
            add("xms_mirid", json!(managed::resource_id(&principal.name)));
        }
        if !principal.groups.is_empty() {
            add("groups", json!(principal.groups));
        }
        self.sign(version, &Value::Object(claims))
    }

    fn id_token(&self, principal: &DevPrincipal, client: Uuid) -> Result<String, IssuerError> {
        let mut claims = self.claims(principal, &client.to_string(), TokenVersion::V2)?;
        let mut add = |name: &str, value: String| claims.insert(name.to_owned(), Value::String(value));
        add("sub", pairwise(client, principal.object_id));
        add("name", principal.name.clone());
        add("preferred_username", username(principal));
        self.sign(TokenVersion::V2, &Value::Object(claims))
    }

    /// The claims that every token has.
    fn claims(
        &self,
        principal: &DevPrincipal,
        audience: &str,
        version: TokenVersion,
    ) -> Result<serde_json::Map<String, Value>, IssuerError> {
        let now = (self.now)();
        let version_text = if version == TokenVersion::V1 { "1.0" } else { "2.0" };
        let claims = [
            ("aud", json!(audience)),
            ("iss", json!(self.issuer(version, &self.config.tenant.to_string()))),
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(now.saturating_add(self.lifetime()))),
            ("oid", json!(principal.object_id)),
            ("tid", json!(self.config.tenant)),
            ("ver", json!(version_text)),
            ("uti", json!(random_text(16)?)),
        ];
        Ok(claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn lifetime(&self) -> i64 {
        i64::try_from(self.config.lifetime.as_secs()).unwrap_or(i64::MAX)
    }

    fn sign(&self, version: TokenVersion, claims: &Value) -> Result<String, IssuerError> {
        let head = match version {
            TokenVersion::V1 => {
                json!({"typ": "JWT", "alg": "RS256", "kid": self.kid, "x5t": self.kid})
            }
            TokenVersion::V2 => json!({"typ": "JWT", "alg": "RS256", "kid": self.kid}),
        };
        let [head, body] = [&head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{head}.{body}");
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed =
            self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
        signed.map_err(|_| IssuerError::Crypto("signing"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Compares two secrets without telling by the time taken where they differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Random bytes as base64url.
pub(super) fn random_text(length: usize) -> Result<String, IssuerError> {
    let mut bytes = vec![0_u8; length];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssuerError::Crypto("random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The `sub` of a user, different for each client.
fn pairwise(client: Uuid, object: Uuid) -> String {
    let pair = [*client.as_bytes(), *object.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pair))
}

fn username(principal: &DevPrincipal) -> String {
    format!("{}@dev.invalid", principal.name)
}
