//! An issuer's set of signing keys, parsed strictly (RFC 7517).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::jws::Compact;

/// The largest set that is read, in bytes.
pub const MAX_BYTES: usize = 512 * 1024;
/// The most keys that are taken from one set.
const MAX_KEYS: usize = 100;

/// Why a document is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not a JSON object with `keys`.
    #[error("it is not a JSON Web Key Set")]
    NotASet,
    /// More keys than any issuer has.
    #[error("it holds more than 100 keys")]
    TooMany,
    /// None of its keys can verify RS256.
    #[error("it holds no RSA key that may be used for signatures")]
    NoUsableKey,
}

/// A key that signatures are verified with.
pub struct VerifyingKey {
    key: DecodingKey,
    modulus_length: usize,
    /// Modulus and exponent, by which two keys are told apart.
    material: (Vec<u8>, Vec<u8>),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey(RSA {})", self.modulus_length * 8)
    }
}

impl VerifyingKey {
    /// Whether the token's signature over its bytes is this key's (RSASSA-PKCS1-v1_5 with SHA-256).
    pub fn verifies(&self, token: &Compact<'_>) -> bool {
        token.signature_length == self.modulus_length
            && jsonwebtoken::crypto::verify(
                token.signature,
                token.signed.as_bytes(),
                &self.key,
                Algorithm::RS256,
            )
            .unwrap_or(false)
    }

    /// Whether it is the same key.
    pub fn same_as(&self, other: &VerifyingKey) -> bool {
        self.material == other.material
    }
}

/// Keys by id.
#[derive(Debug, Clone, Default)]
pub struct KeySet(HashMap<String, Arc<VerifyingKey>>);

impl KeySet {
    /// The key of that id.
    pub fn get(&self, kid: &str) -> Option<&Arc<VerifyingKey>> {
        self.0.get(kid)
    }

    /// Whether both hold the same keys under the same ids.
    pub fn same_as(&self, other: &KeySet) -> bool {
        self.len() == other.len()
            && self.0.iter().all(|(kid, key)| other.0.get(kid).is_some_and(|theirs| theirs.same_as(key)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whose keys are wanted: Entra's documents mix keys of several clouds and say for each whose tokens it signs.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The issuer, with which a key's `issuer` has to agree once its `{tenantid}` is filled in.
    pub issuer: &'a str,
    /// The tenant that stands for `{tenantid}`.
    pub tenant: &'a str,
    /// The cloud that the discovery document names.
    pub cloud: Option<&'a str>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    issuer: Option<String>,
    cloud_instance_name: Option<String>,
}

/// Reads a set. A key that cannot be used is skipped; a set without a usable key is no set.
pub fn parse(bytes: &[u8], wanted: Wanted<'_>) -> Result<KeySet, JwksError> {
    let document: Document = serde_json::from_slice(bytes).map_err(|_| JwksError::NotASet)?;
    if document.keys.len() > MAX_KEYS {
        return Err(JwksError::TooMany);
    }
    let mut keys = HashMap::new();
    for value in document.keys {
        if let Some((kid, key)) = usable(value, wanted) {
            keys.entry(kid).or_insert(Arc::new(key));
        }
    }
    if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(KeySet(keys)) }
}

fn usable(value: Value, wanted: Wanted<'_>) -> Option<(String, VerifyingKey)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.alg.as_deref().is_none_or(|alg| alg == "RS256")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let of_this_issuer = jwk.issuer.as_deref().is_none_or(|issuer| {
        let start = issuer.to_ascii_lowercase().find("{tenantid}");
        match start.and_then(|at| Some((issuer.get(..at)?, issuer.get(at + "{tenantid}".len()..)?))) {
            Some((before, after)) => wanted.issuer == format!("{before}{}{after}", wanted.tenant),
            None => issuer == wanted.issuer,
        }
    });
    let of_this_cloud = match (jwk.cloud_instance_name.as_deref(), wanted.cloud) {
        (Some(own), Some(wanted)) => own == wanted,
        _ => true,
    };
    let kid_is_plain = !jwk.kid.is_empty() && jwk.kid.len() <= 256;
    if jwk.kty != "RSA" || !kid_is_plain || !for_signatures || !of_this_issuer || !of_this_cloud {
        return None;
    }
    let number = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let start = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(start..).map(<[u8]>::to_vec)
    };
    let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
    let exponent = e.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let sound = (2048..=8192).contains(&bits) && exponent >= 65_537 && exponent % 2 == 1;
    sound.then(|| {
        let key = DecodingKey::from_rsa_raw_components(&n, &e);
        (jwk.kid, VerifyingKey { key, modulus_length: n.len(), material: (n, e) })
    })
}
