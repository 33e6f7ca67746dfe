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
    let text = value.to_str().map_err(|_| CredentialError::Malformed)?;
    let (scheme, credential) = text.split_once(' ').ok_or(CredentialError::Malformed)?;
    let b64token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() || !credential.bytes().all(b64token) {
        return Err(CredentialError::Malformed);
    }
    Ok(credential)
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
