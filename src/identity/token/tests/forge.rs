//! Tokens and keys made to order: right in everything that a row does not change.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::clock::ManualClock;
use crate::identity::issuer::{Issuer, Plane};
use crate::identity::jwks::{self, Wanted};
use crate::identity::token::{TokenTimes, TokenVerifier};
use crate::settings::{Entra, Identity, OidcIssuer};

pub(super) const NOW: i64 = 1_900_000_000;
pub(super) const DAY: i64 = 24 * 3600;

/// Two tenants that are let in, and one that is not.
pub(super) const TENANT: Uuid = uuid!("aa020000-1111-4222-8333-444455556666");
pub(super) const NEIGHBOUR: Uuid = uuid!("bb020000-1111-4222-8333-444455556666");
pub(super) const STRANGER: Uuid = uuid!("cc020000-1111-4222-8333-444455556666");

/// Who calls, and through which application.
pub(super) const OID: Uuid = uuid!("ce2c0000-1111-4222-8333-44445555abcd");
pub(super) const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// Azure Machine Learning's data plane: as v1 tokens name it, and as v2 tokens do.
pub(super) const ML: &str = "https://ml.azure.com";
pub(super) const ML_APP: &str = "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe";
/// An audience that is configured with its slash.
pub(super) const API: &str = "api://scoregate/";

pub(super) const CI: &str = "https://ci.example";
pub(super) const MAX_STALE: Duration = Duration::from_hours(24);
pub(super) const MAX_STALE_S: i64 = DAY;

/// Made once in a process; 2048 bits where nothing else is said.
pub(super) type Key = LazyLock<RsaKeyPair>;
pub(super) static ENTRA_V2: Key = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(super) static ENTRA_V1: Key = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(super) static CI_KEY: Key = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(super) static LONGER: Key = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa3072).unwrap());
/// In nobody's set.
pub(super) static ATTACKER: Key = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

pub(super) fn v1(tenant: Uuid) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

pub(super) fn v2(tenant: Uuid) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public half as an entry of a key set.
pub(super) fn jwk(kid: &str, key: &Key) -> Value {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    json!({"kty": "RSA", "use": "sig", "kid": kid, "n": base64url(&public.n), "e": base64url(&public.e)})
}

/// The public half as the PEM that anybody can download.
pub(super) fn pem(key: &Key) -> String {
    let der = key.public_key().as_der().unwrap();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
}

pub(super) fn rsa(key: &Key, padding: &'static dyn RsaEncoding, bytes: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), bytes, &mut signature).unwrap();
    signature
}

/// The signature that Entra would make with that key.
pub(super) fn pkcs1(key: &'static Key) -> impl Fn(&[u8]) -> Vec<u8> {
    |bytes| rsa(key, &RSA_PKCS1_SHA256, bytes)
}

pub(super) fn hmac(secret: &str, bytes: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    aws_lc_rs::hmac::sign(&key, bytes).as_ref().to_vec()
}

pub(super) fn ecdsa(bytes: &[u8]) -> Vec<u8> {
    let key = signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    key.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
}

/// Members of a JSON object as they are written: a name may stand twice, a value may be anything.
#[derive(Clone)]
struct Members(Vec<(String, String)>);

impl Members {
    fn of(object: &Value) -> Members {
        let members = object.as_object().unwrap().iter();
        Members(members.map(|(name, value)| (name.clone(), value.to_string())).collect())
    }

    fn add(&mut self, name: &str, text: String) {
        self.0.push((name.to_owned(), text));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }

    fn text(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// A token in the making.
#[derive(Clone)]
pub(super) struct Token {
    header: Members,
    claims: Members,
    key: &'static Key,
}

impl Token {
    /// A user's token of version 2, through the command line.
    pub(super) fn v2() -> Token {
        Token::new(
            "entra-v2",
            &ENTRA_V2,
            &json!({
                "ver": "2.0", "iss": v2(TENANT), "tid": TENANT, "aud": ML_APP, "azp": CLIENT, "azpacr": "0",
                "oid": OID, "sub": "x3Kq", "scp": "user_impersonation", "uti": "pQ1", "name": "An Analyst",
                "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600,
            }),
        )
    }

    /// The same in version 1.
    pub(super) fn v1() -> Token {
        Token::new(
            "entra-v1",
            &ENTRA_V1,
            &json!({
                "ver": "1.0", "iss": v1(TENANT), "tid": TENANT, "aud": ML, "appid": CLIENT, "appidacr": "0",
                "oid": OID, "sub": "x3Kq", "scp": "user_impersonation", "uti": "pQ1",
                "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600,
            }),
        )
    }

    /// A token of the issuer that is not Entra.
    pub(super) fn ci() -> Token {
        Token::new(
            "ci",
            &CI_KEY,
            &json!({
                "iss": CI, "aud": "scoregate", "sub": "repo:org/app", "iat": NOW - 300, "exp": NOW + 3600,
            }),
        )
    }

    fn new(kid: &str, key: &'static Key, claims: &Value) -> Token {
        Token {
            header: Members::of(&json!({"typ": "JWT", "alg": "RS256", "kid": kid})),
            claims: Members::of(claims),
            key,
        }
    }

    pub(super) fn header(self, name: &str, value: impl Into<Value>) -> Token {
        self.no_header(name).header_again(name, value)
    }

    /// Once more, after the one that is there.
    pub(super) fn header_again(mut self, name: &str, value: impl Into<Value>) -> Token {
        self.header.add(name, value.into().to_string());
        self
    }

    pub(super) fn no_header(mut self, name: &str) -> Token {
        self.header.remove(name);
        self
    }

    pub(super) fn kid(self, kid: impl Into<Value>) -> Token {
        self.header("kid", kid)
    }

    pub(super) fn claim(self, name: &str, value: impl Into<Value>) -> Token {
        let text = value.into().to_string();
        self.claim_text(name, &text)
    }

    /// A claim as JSON text, for what no JSON value can say.
    pub(super) fn claim_text(self, name: &str, text: &str) -> Token {
        let mut token = self.no_claim(name);
        token.claims.add(name, text.to_owned());
        token
    }

    /// Once more, after the one that is there.
    pub(super) fn claim_again(mut self, name: &str, value: impl Into<Value>) -> Token {
        self.claims.add(name, value.into().to_string());
        self
    }

    pub(super) fn no_claim(mut self, name: &str) -> Token {
        self.claims.remove(name);
        self
    }

    pub(super) fn signed_by(mut self, key: &'static Key) -> Token {
        self.key = key;
        self
    }

    /// Header and payload, as they stand.
    pub(super) fn texts(&self) -> (String, String) {
        (self.header.text(), self.claims.text())
    }

    /// The signed part.
    pub(super) fn unsigned(&self) -> String {
        format!("{}.{}", base64url(self.header.text()), base64url(self.claims.text()))
    }

    pub(super) fn signed(&self) -> String {
        self.signed_with(pkcs1(self.key))
    }

    pub(super) fn signed_with(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        sealed(&self.unsigned(), sign)
    }

    /// Another header text, signed as it is.
    pub(super) fn with_header_bytes(&self, header: impl AsRef<[u8]>) -> String {
        let payload = base64url(self.claims.text());
        sealed(&format!("{}.{payload}", base64url(header)), pkcs1(self.key))
    }

    /// Another payload text, signed as it is.
    pub(super) fn with_payload_bytes(&self, payload: impl AsRef<[u8]>) -> String {
        let header = base64url(self.header.text());
        sealed(&format!("{header}.{}", base64url(payload)), pkcs1(self.key))
    }
}

impl From<Token> for String {
    fn from(token: Token) -> String {
        token.signed()
    }
}

/// Text that is signed as it is, whatever it is.
pub(super) fn sealed(text: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    format!("{text}.{}", base64url(sign(text.as_bytes())))
}

/// Header, payload and signature as they are written.
pub(super) fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

/// Two tenants of Entra in both versions, and another issuer.
pub(super) fn identity() -> Identity {
    Identity {
        entra: vec![Entra {
            authority: "https://login.microsoftonline.com".to_owned(),
            tenants: vec![TENANT, NEIGHBOUR],
            v1_issuer: Some("https://sts.windows.net/{tenant}/".to_owned()),
            ca_file: None,
            allow_http: false,
        }],
        issuers: vec![OidcIssuer {
            issuer: CI.to_owned(),
            audiences: vec!["scoregate".to_owned()],
            control_audiences: Vec::new(),
            principal_claim: "sub".to_owned(),
            groups_claim: Some("groups".to_owned()),
            jwks_file: None,
            jwks_hosts: Vec::new(),
            ca_file: None,
            allow_http: false,
        }],
        data_audiences: [ML, ML_APP, API].map(str::to_owned).to_vec(),
        control_audiences: Vec::new(),
        clock_skew: Duration::from_mins(1),
        max_token_lifetime: Duration::from_hours(24),
        directory: None,
        on_behalf_of: None,
    }
}

/// A verifier and all that it depends on.
pub(super) struct Gate {
    pub(super) verifier: TokenVerifier,
    pub(super) issuers: Vec<Arc<Issuer>>,
    pub(super) clock: Arc<ManualClock>,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate::with_skew(Duration::from_mins(1))
    }

    /// A verifier whose issuers all have keys, and a cool-down longer than any test. The key id `shared` stands in each set, for another key in each.
    pub(super) fn with_skew(clock_skew: Duration) -> Gate {
        let gate = Gate::without_keys(clock_skew, Duration::from_hours(1));
        for tenant in [TENANT, NEIGHBOUR] {
            gate.install(&v2(tenant), &[jwk("entra-v2", &ENTRA_V2), jwk("shared", &ENTRA_V2)]);
            gate.install(&v1(tenant), &[jwk("entra-v1", &ENTRA_V1), jwk("shared", &ENTRA_V1)]);
        }
        gate.install(CI, &[jwk("ci", &CI_KEY), jwk("shared", &CI_KEY)]);
        gate
    }

    pub(super) fn without_keys(clock_skew: Duration, cool_down: Duration) -> Gate {
        let issuers = Issuer::all(&identity());
        let clock = Arc::new(ManualClock::at(NOW));
        let times = TokenTimes { clock_skew, max_lifetime: Duration::from_hours(24), cool_down };
        Gate {
            verifier: TokenVerifier::new(&issuers, Plane::Data, clock.clone(), times, 1 << 20),
            issuers,
            clock,
        }
    }

    pub(super) fn issuer(&self, name: &str) -> &Issuer {
        self.issuers.iter().find(|issuer| issuer.name == name).unwrap()
    }

    /// Installs a set that was fetched at [`NOW`].
    pub(super) fn install(&self, issuer: &str, keys: &[Value]) {
        let issuer = self.issuer(issuer);
        let wanted = Wanted { issuer: &issuer.name, tenant: &issuer.tenant(), cloud: None };
        let set = jwks::parse(json!({ "keys": keys }).to_string().as_bytes(), wanted).unwrap();
        issuer.keys.install(set, NOW, MAX_STALE);
    }

    /// `accepted`, or the reason why not. Only what is accepted may be remembered.
    pub(super) async fn judge(&self, token: &str) -> &'static str {
        let judged = self.verifier.verify(token).await;
        assert_eq!(self.verifier.remembered(token), judged.clone().ok());
        judged.map_or_else(super::Rejection::reason, |_| super::OK)
    }
}
