//! Names of endpoints and deployments, compared without regard to case.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is wrong with a name (Azure quota article: starts with a letter, 3–32 letters, digits and single dashes).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    #[error("`{0}` has {1} characters; a name has 3 to 32")]
    Length(String, usize),
    /// A character, or the place of one, that a host label could not carry.
    #[error(
        "`{0}` is not a name: it starts with a letter, then letters, digits and single dashes, and does not end in a dash"
    )]
    Shape(String),
}

fn check(text: &str) -> Result<(), NameError> {
    let count = text.chars().count();
    let shape = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.contains("--")
        && !text.ends_with('-');
    if !shape {
        return Err(NameError::Shape(text.chars().take(64).collect()));
    }
    if !(3..=32).contains(&count) {
        return Err(NameError::Length(text.chars().take(64).collect(), count));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type { shown: Box<str>, key: Box<str> }

        impl $type {
            /// The name in lower case, by which it is compared and looked up.
            pub fn key(&self) -> &str { &self.key }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self { shown: text.into(), key: text.to_ascii_lowercase().into() })
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> { text.parse() }
        }
        impl From<$type> for String { fn from(name: $type) -> String { name.shown.into() } }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.shown) }
        }
        impl PartialEq for $type { fn eq(&self, other: &Self) -> bool { self.key == other.key } }
        impl Eq for $type {}
        impl Hash for $type { fn hash<H: Hasher>(&self, state: &mut H) { self.key.hash(state); } }
        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> { Some(self.cmp(other)) }
        }
        impl Ord for $type { fn cmp(&self, other: &Self) -> std::cmp::Ordering { self.key.cmp(&other.key) } }
    };
}

name!(
    /// The stable name that clients call.
    EndpointName
);
name!(
    /// One version behind an endpoint, such as `blue`.
    DeploymentName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_quota_article() {
        for good in ["abc", "my-endp1", "A23456789012345678901234567890ab"] {
            assert!(good.parse::<EndpointName>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "1abc", "a--b", "abc-", "a_b", "a.b", "ä23", &"a".repeat(33)] {
            assert!(bad.parse::<EndpointName>().is_err(), "{bad}");
        }
        assert_eq!("Blue".parse::<DeploymentName>().unwrap(), "bLUE".parse::<DeploymentName>().unwrap());
    }
}
