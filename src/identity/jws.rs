//! The compact form of a signed token, taken apart strictly and without trust (RFC 7515 section 3.1, RFC 7519).

use std::collections::HashSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// The longest token that is looked at, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// The deepest nesting of a header.
const MAX_DEPTH: usize = 8;

/// What keeps a text from being a token that could be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not three parts of canonical base64url, or too long.
    Shape,
    /// The header is not one JSON object without repeated names, or holds what changes the meaning of a token.
    Header,
    /// Another algorithm than RS256.
    Algorithm,
    /// No usable key id.
    KeyId,
    /// The payload is not one JSON object.
    Payload,
}

/// A token taken apart. Nothing in it is true yet.
#[derive(Debug)]
pub struct Compact<'a> {
    /// The key's id.
    pub kid: String,
    /// The bytes that were signed.
    pub signed: &'a str,
    /// The signature as it is written.
    pub signature: &'a str,
    /// Its length in bytes.
    pub signature_length: usize,
    /// The payload, JSON as it was signed.
    pub payload: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    pub fn parse(token: &'a str) -> Result<Compact<'a>, Malformed> {
        if token.len() > MAX_LENGTH {
            return Err(Malformed::Shape);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::Shape)?;
        // The engine refuses padding, white space, a further dot and bits left over in the last character.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty());
        let parts = (decode(header), decode(payload), decode(signature));
        let (Some(header), Some(payload), Some(raw)) = parts else {
            return Err(Malformed::Shape);
        };
        Ok(Compact { kid: key_id(&header)?, signed, signature, signature_length: raw.len(), payload })
    }
}

fn key_id(header: &[u8]) -> Result<String, Malformed> {
    let UniqueObject(fields) = serde_json::from_slice(header).map_err(|_| Malformed::Header)?;
    let get = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    if fields.iter().any(|(_, value)| depth(value) >= MAX_DEPTH) {
        return Err(Malformed::Header);
    }
    if get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(Malformed::Algorithm);
    }
    let kind = match get("typ") {
        None => true,
        Some(value) => {
            value.as_str().is_some_and(|t| t.eq_ignore_ascii_case("jwt") || t.eq_ignore_ascii_case("at+jwt"))
        }
    };
    // `crit` asks for rules nobody here knows, `zip` and `b64: false` change what was signed.
    let unchanged = get("crit").is_none()
        && get("zip").is_none()
        && get("b64").is_none_or(|value| value == &Value::Bool(true));
    if !kind || !unchanged {
        return Err(Malformed::Header);
    }
    let kid = get("kid").and_then(Value::as_str).ok_or(Malformed::KeyId)?;
    let printable =
        !kid.is_empty() && kid.len() <= 256 && kid.chars().all(|c| ('\u{20}'..='\u{7e}').contains(&c));
    printable.then(|| kid.to_owned()).ok_or(Malformed::KeyId)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

/// A JSON object in which each name stands once.
#[derive(Debug)]
pub struct UniqueObject(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for UniqueObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = UniqueObject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueObject, A::Error> {
                let (mut fields, mut seen) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom("a name is repeated"));
                    }
                    fields.push((name, value));
                }
                Ok(UniqueObject(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(header: &str) -> Result<String, Malformed> {
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        Compact::parse(&token).map(|compact| compact.kid)
    }

    #[test]
    fn headers_are_read_strictly() {
        assert_eq!(with_header(r#"{"alg":"RS256","kid":"k"}"#), Ok("k".to_owned()));
        assert_eq!(
            with_header(
                r#"{"alg":"RS256","kid":"k","typ":"at+JWT","b64":true,"jku":"http://x","x5c":["a"]}"#
            ),
            Ok("k".to_owned())
        );
        for (bad, why) in [
            (r#"{"alg":"none","kid":"k"}"#, Malformed::Algorithm),
            (r#"{"alg":"HS256","kid":"k"}"#, Malformed::Algorithm),
            (r#"{"alg":"rs256","kid":"k"}"#, Malformed::Algorithm),
            (r#"{"alg":["RS256"],"kid":"k"}"#, Malformed::Algorithm),
            (r#"{"kid":"k"}"#, Malformed::Algorithm),
            (r#"{"alg":"RS256","alg":"RS256","kid":"k"}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","crit":["exp"]}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","zip":"DEF"}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","b64":false}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","typ":"JWE"}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","typ":1}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k","x":[[[[[[[[[1]]]]]]]]]}"#, Malformed::Header),
            (r#"[{"alg":"RS256","kid":"k"}]"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":"k"} {}"#, Malformed::Header),
            (r#"{"alg":"RS256"}"#, Malformed::KeyId),
            (r#"{"alg":"RS256","kid":""}"#, Malformed::KeyId),
            (r#"{"alg":"RS256","kid":7}"#, Malformed::KeyId),
            (r#"{"alg":"RS256","kid":"a\u0000"}"#, Malformed::KeyId),
            (r#"{"alg":"RS256","kid":"é"}"#, Malformed::KeyId),
        ] {
            assert_eq!(with_header(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn only_three_canonical_parts_are_a_token() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#);
        assert!(Compact::parse(&format!("{header}.e30.c2ln")).is_ok());
        for bad in [
            String::new(),
            "a.b".into(),
            format!("{header}.e30"),
            format!("{header}.e30."),
            format!("{header}..c2ln"),
            ".e30.c2ln".into(),
            format!("{header}.e30.c2ln.x"),
            format!("{header}.e30=.c2ln"),
            format!("{header}.e30.c2lu="),
            format!("{header}.e31.c2ln"),
            format!("{header}.e30.c2 n"),
            format!("{header}.e30.c2+n"),
            format!("{header}.{}.c2ln", "e30".repeat(6000)),
        ] {
            assert!(matches!(Compact::parse(&bad), Err(Malformed::Shape)), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
