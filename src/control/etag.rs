//! Etags: revisions of the store as clients see them, and what clients expect of them (RFC 9110 section 13.1).

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};

use crate::operations::Precondition;

/// The header that holds no etag, nor `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAnEtag(pub(super) &'static str);

/// A revision that nothing ever has.
const NOBODYS: u64 = u64::MAX;

/// An etag as clients see it.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision:x}\"")
}

/// What a request expects to change.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, NotAnEtag> {
    let text = |name: &http::HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or("").trim().to_owned());
        if values.next().is_some() { Some(String::new()) } else { first }
    };
    // A tag that is not one of ours is nobody's present one (RFC 9110 section 8.8.3).
    let revision = |tag: &str| {
        let opaque = tag.trim().trim_start_matches("W/").strip_prefix('"')?.strip_suffix('"')?;
        Some(u64::from_str_radix(opaque, 16).unwrap_or(NOBODYS)).filter(|_| !opaque.contains('"'))
    };
    let if_match = match text(&IF_MATCH).as_deref() {
        None => None,
        Some("*") => Some(Vec::new()),
        Some(tags) => {
            let tags: Option<Vec<u64>> = tags.split(',').map(revision).collect();
            Some(tags.ok_or(NotAnEtag("If-Match"))?)
        }
    };
    let if_absent = match text(&IF_NONE_MATCH).as_deref() {
        None => false,
        Some("*") => true,
        Some(_) => return Err(NotAnEtag("If-None-Match")),
    };
    Ok(Precondition { if_match, if_absent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: http::HeaderName, value: &str) -> Result<Precondition, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        precondition(&headers).map_err(|_| ())
    }

    #[test]
    fn etags_are_those_that_were_given() {
        let tag = etag(255);
        assert_eq!(tag, "\"ff\"");
        assert_eq!(read(IF_MATCH, &tag).unwrap().if_match, Some(vec![255]));
        assert_eq!(read(IF_MATCH, "\"1\", W/\"2\"").unwrap().if_match, Some(vec![1, 2]));
        assert_eq!(read(IF_MATCH, "*").unwrap().if_match, Some(vec![]));
        assert!(read(IF_NONE_MATCH, "*").unwrap().if_absent);
        assert_eq!(read(IF_MATCH, "\"somebody-elses\"").unwrap().if_match, Some(vec![NOBODYS]));
        for bad in ["ff", "", "\"1\" \"2\""] {
            assert!(read(IF_MATCH, bad).is_err(), "{bad}");
        }
        assert!(read(IF_NONE_MATCH, "\"1\"").is_err());
    }
}
