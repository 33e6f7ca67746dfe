//! An authority of the test's own, whose key the test holds: it signs whatever the test wants it to say.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stand::AUDIENCE;

/// The key id of the authority.
pub const KID: &str = "mint-1";

/// A signing key and the tenant whose documents publish it.
pub struct Mint {
    pub tenant: Uuid,
    key: RsaKeyPair,
}

/// Unix seconds.
pub fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the gateway under test reads the real clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

impl Mint {
    pub fn new(tenant: Uuid) -> Mint {
        Mint { tenant, key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    fn modulus(&self) -> (Vec<u8>, Vec<u8>) {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.key.public_key());
        (public.n, public.e)
    }

    /// The public half as an entry of a key set.
    pub fn jwk(&self, kid: &str) -> Value {
        let (n, e) = self.modulus();
        json!({
            "kty": "RSA", "use": "sig", "kid": kid,
            "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
        })
    }

    /// Serves discovery and keys on loopback and gives the authority's address.
    pub async fn serve(&self) -> String {
        self.serve_also(Vec::new()).await
    }

    /// The same with more keys in the set.
    pub async fn serve_also(&self, more: Vec<Value>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("http://{}", listener.local_addr().unwrap());
        let keys = [vec![self.jwk(KID)], more].concat();
        let keys = json!({ "keys": keys });
        let base = format!("{authority}/{}", self.tenant);
        let metadata = |issuer: String| json!({ "issuer": issuer, "jwks_uri": format!("{base}/keys") });
        let tenant = self.tenant;
        let documents = [
            (format!("/{tenant}/keys"), keys),
            (format!("/{tenant}/.well-known/openid-configuration"), metadata(v1_issuer(tenant))),
            (format!("/{tenant}/v2.0/.well-known/openid-configuration"), metadata(format!("{base}/v2.0"))),
        ];
        let router = Router::new().fallback(document).with_state(documents.to_vec());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        authority
    }

    /// The claims of a good version 1 token for a principal.
    pub fn claims(&self, oid: Uuid) -> Value {
        json!({
            "aud": AUDIENCE, "iss": v1_issuer(self.tenant), "iat": now(), "nbf": now(), "exp": now() + 3600,
            "oid": oid, "sub": oid, "tid": self.tenant, "ver": "1.0", "appid": Uuid::nil(), "idtyp": "app",
        })
    }

    /// A good token for a principal.
    pub fn token(&self, oid: Uuid) -> String {
        self.with(oid, &json!({}))
    }

    /// A token whose claims are those of a good one but for these; `null` takes a claim away.
    pub fn with(&self, oid: Uuid, changes: &Value) -> String {
        let mut claims = self.claims(oid);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.sign(&json!({ "typ": "JWT", "alg": "RS256", "kid": KID }), &claims)
    }

    /// Signs these very parts.
    pub fn sign(&self, head: &Value, claims: &Value) -> String {
        self.seal(&message(head, claims))
    }

    /// Signs these very bytes, whatever they are.
    pub fn seal(&self, message: &str) -> String {
        let signature = self.signature(&RSA_PKCS1_SHA256, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The signature of these bytes.
    pub fn signature(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// The public half as the PEM that anybody can make of what is published.
    pub fn pem(&self) -> String {
        let der = self.key.public_key().as_der().unwrap();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }
}

/// A token "signed" with a secret.
pub fn hs256(message: &str, secret: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The two signed parts of a token.
pub fn message(head: &Value, claims: &Value) -> String {
    [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

pub fn v1_issuer(tenant: Uuid) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

async fn document(
    uri: Uri,
    State(documents): State<Vec<(String, Value)>>,
) -> Result<Json<Value>, StatusCode> {
    let found = documents.into_iter().find(|(path, _)| path == uri.path());
    found.map(|(_, document)| Json(document)).ok_or(StatusCode::NOT_FOUND)
}

/// A directory (Microsoft Graph's `getMemberObjects`) that knows some principals and fails for others.
pub async fn directory(members: Vec<(Uuid, Membership)>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |uri: Uri, State(members): State<Vec<(Uuid, Membership)>>| {
        let asked = |oid: &Uuid| uri.path() == format!("/v1.0/servicePrincipals/{oid}/getMemberObjects");
        match members.into_iter().find(|(oid, _)| asked(oid)) {
            Some((_, Membership::Groups(groups))) => Ok(Json(json!({ "value": groups }))),
            Some((_, Membership::Rubbish)) => Ok(Json(json!({ "groups": "many" }))),
            Some((_, Membership::Broken)) => Err(StatusCode::INTERNAL_SERVER_ERROR),
            None => Err(StatusCode::NOT_FOUND),
        }
    };
    let router = Router::new().fallback(answer).with_state(members);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// What the directory answers about a principal.
#[derive(Clone)]
pub enum Membership {
    Groups(Vec<Uuid>),
    Broken,
    Rubbish,
}
