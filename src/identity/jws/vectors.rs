//! Project Wycheproof's vectors for JSON Web Signatures, at the level of form, key and signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Compact;
use crate::identity::jwks::{self, Wanted};

const VECTORS: &str = include_str!("../../../tests/data/wycheproof/json_web_signature_test.json");

/// Whether a token passes with a set of this one key.
fn passes(key: &Value, token: &str) -> bool {
    let set = json!({ "keys": [key] }).to_string();
    let wanted = Wanted { issuer: "", tenant: "", cloud: None };
    let Ok(keys) = jwks::parse(set.as_bytes(), wanted) else { return false };
    Compact::parse(token)
        .is_ok_and(|compact| keys.get(&compact.kid).is_some_and(|key| key.verifies(&compact)))
}

/// Whether a valid vector is one for us: RS256 by its header, with something signed.
fn is_ours(token: &str) -> bool {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    let header: Value = serde_json::from_slice(&parts.next().unwrap_or_default()).unwrap_or_default();
    header["alg"] == "RS256" && parts.next().is_some_and(|payload| !payload.is_empty())
}

#[test]
fn valid_rs256_passes_and_nothing_else_does() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut count, mut passed, mut wrong) = (0, Vec::new(), Vec::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        // What verifies a MAC also makes it, so those groups have no public key.
        let key = group.get("public").unwrap_or(&group["private"]);
        for vector in group["tests"].as_array().unwrap() {
            let (id, token) = (vector["tcId"].as_u64().unwrap(), vector["jws"].as_str().unwrap());
            count += 1;
            let expected = vector["result"] == "valid" && is_ours(token);
            if passes(key, token) != expected {
                wrong.push((id, vector["comment"].to_string()));
            }
            if expected {
                passed.push(id);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((count, passed), (401, vec![33, 260, 261, 262, 263, 345, 349]));
}
