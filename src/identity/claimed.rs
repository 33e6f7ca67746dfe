//! What a refused token claims to be, for the log: hashed, so that one forger's tokens are known for his and no word of
//! his stands in it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The first 16 hexadecimal digits of the SHA-256 of what a token names; `printf %s KID | sha256sum` begins alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Of its `iss`.
    pub issuer: Option<String>,
    /// Of its `kid`.
    pub key: Option<String>,
}

impl Claimed {
    /// What a text names that would be a token.
    pub fn by(token: &str) -> Claimed {
        let mut parts = token.split('.');
        let mut hashed = |name: &str| {
            let part = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
            let object: Value = serde_json::from_slice(&part).ok()?;
            object.get(name)?.as_str().map(hash)
        };
        let (key, issuer) = (hashed("kid"), hashed("iss"));
        Claimed { issuer, key }
    }
}

fn hash(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let first = digest.as_ref().first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_and_says_nothing() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let of = |head: &str, payload: &str| Claimed::by(&format!("{}.{}.x", part(head), part(payload)));
        let (key, issuer) = (Some("ac9bb0cbb4940c4c".to_owned()), Some("5ad1097450fed90a".to_owned()));
        assert_eq!(
            of(r#"{"kid":"mint-1"}"#, r#"{"iss":"https://evil.test/"}"#),
            Claimed { issuer, key: key.clone() }
        );
        assert_eq!(of(r#"{"kid":"mint-1"}"#, r#"{"iss":1}"#), Claimed { issuer: None, key });
        for text in ["", "x", "..", "{}", "a.b.c", &part("{}")] {
            assert_eq!(Claimed::by(text), Claimed { issuer: None, key: None }, "{text}");
        }
    }
}
