//! Who is calling: from a header to a [`caller::Caller`], or to the reason why not.
//!
//! [`credential`] reads the one place where a credential may be. [`token`] judges tokens by the keys that
//! [`keys`] holds for each issuer; [`endpoint_key`] compares keys; [`on_behalf_of`] gets tokens
//! in a caller's name. Nothing here decides what a caller may do.

pub mod aml_token;
pub mod caller;
pub mod claimed;
pub mod claims;
pub mod credential;
pub mod directory;
pub mod endpoint_key;
pub mod fetch;
pub mod issuer;
pub mod jwks;
pub mod jws;
pub mod keys;
mod memory;
pub mod on_behalf_of;
pub mod secret_file;
pub mod store_credential;
pub mod token;
pub mod vault;
