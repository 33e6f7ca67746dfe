//! Keys that sign the tokens which the gateway issues for endpoints.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An RSA key: the public half for everybody, the private half sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// The `kid` of its tokens.
    pub id: String,
    /// The modulus, base64url.
    pub n: String,
    /// The exponent, base64url.
    pub e: String,
    /// The private key (PKCS #8), sealed with the master key.
    pub sealed: String,
    /// When it was made, Unix seconds.
    pub made: i64,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.id)
    }
}
