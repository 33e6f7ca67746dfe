//! What is sealed to a job while it runs, and gone once it has ended.

use std::fmt;

use zeroize::Zeroizing;

use crate::identity::vault::{Vault, VaultError};
use crate::model::scope::Scope;

/// What opens a job's data, besides what is sealed to its data stores.
#[derive(Default)]
pub(super) struct Secrets {
    /// The query of its input's address, which may sign it.
    pub(super) query: Option<Zeroizing<String>>,
    /// The refresh token that gets tokens for storage as its owner.
    pub(super) refresh: Option<Zeroizing<String>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

fn context(job: &Scope) -> String {
    format!("secrets of {}", job.key())
}

impl Secrets {
    /// Sealed to a job; none if there are none.
    pub(super) fn seal(&self, vault: &Vault, job: &Scope) -> Result<Option<String>, VaultError> {
        if self.query.is_none() && self.refresh.is_none() {
            return Ok(None);
        }
        let both = [&self.query, &self.refresh].map(|secret| secret.as_ref().map(|secret| secret.as_str()));
        let both = serde_json::to_string(&both).map_err(|_| VaultError::Crypto)?;
        vault.seal(&Zeroizing::new(both), &context(job)).map(Some)
    }

    /// Opens what is sealed to a job.
    pub(super) fn open(vault: &Vault, job: &Scope, sealed: Option<&str>) -> Result<Secrets, VaultError> {
        let Some(sealed) = sealed else { return Ok(Secrets::default()) };
        let both = vault.unseal(sealed, &context(job))?;
        let [query, refresh]: [Option<String>; 2] =
            serde_json::from_str(&both).map_err(|_| VaultError::Sealed)?;
        Ok(Secrets { query: query.map(Zeroizing::new), refresh: refresh.map(Zeroizing::new) })
    }
}
