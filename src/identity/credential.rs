//! The one place where a credential may be: a single `Authorization: Bearer` field.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Why there is no credential to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialError {
    /// No `Authorization` field.
    Missing,
    /// Several of them.
    Repeated,
    /// Another scheme than Bearer, or a shape that RFC 6750 section 2.1 does not give it.
    Malformed,
}

/// The credential in `Authorization: Bearer …` (RFC 6750 section 2.1; the scheme in any case, one space).
pub fn bearer(headers: &HeaderMap) -> Result<&str, CredentialError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let value = fields.next().ok_or(CredentialError::Missing)?;
    if fields.next().is_some() {
        return Err(CredentialError::Repeated);
    }
    let (scheme, credential) = value.as_bytes().split_at_checked(7).ok_or(CredentialError::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || credential.is_empty() || !is_b64token(credential) {
        return Err(CredentialError::Malformed);
    }
    std::str::from_utf8(credential).map_err(|_| CredentialError::Malformed)
}

/// Whether all bytes are those of a `b64token`. Looks at every byte without an early exit or a branch, so that the
/// compiler compares many at once: tokens are long and this is done for each request.
fn is_b64token(bytes: &[u8]) -> bool {
    let bad = bytes.iter().fold(0_u8, |bad, byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        let dash_to_slash = byte.wrapping_sub(b'-') < 3;
        let other = (*byte == b'_') || (*byte == b'~') || (*byte == b'+') || (*byte == b'=');
        bad | u8::from(!(letter | digit | dash_to_slash | other))
    });
    bad == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<String, CredentialError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn one_bearer_field_and_nothing_else() {
        assert_eq!(read(&["Bearer a.b-c_~+/="]), Ok("a.b-c_~+/=".to_owned()));
        assert_eq!(read(&["bEARER x"]), Ok("x".to_owned()));
        assert_eq!(read(&[]), Err(CredentialError::Missing));
        assert_eq!(read(&["Bearer a", "Bearer a"]), Err(CredentialError::Repeated));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a",
            "Bearer a ",
            "Bearer a,Bearer b",
            "Bearer a b",
            "Basic a",
            "a",
            "Bearer\ta",
            "Bearer é",
        ] {
            assert_eq!(read(&[bad]), Err(CredentialError::Malformed), "{bad:?}");
        }
    }
}
