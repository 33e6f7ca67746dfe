//! What opens a data store: sealed under the master key for the store's own resource id, so that it opens nowhere else.

use zeroize::Zeroizing;

use super::vault::{Vault, VaultError};
use crate::model::datastore::{Credential, SealedCredential};
use crate::model::scope::Scope;

/// Seals a credential for the store of this id.
pub fn seal(vault: &Vault, store: &Scope, credential: &Credential) -> Result<SealedCredential, VaultError> {
    let text = serde_json::to_string(credential).map(Zeroizing::new).map_err(|_| VaultError::Crypto)?;
    vault.seal(&text, store.key()).map(SealedCredential)
}

/// Opens the credential of the store of this id.
pub fn open(vault: &Vault, store: &Scope, sealed: &SealedCredential) -> Result<Credential, VaultError> {
    let text = vault.unseal(&sealed.0, store.key())?;
    serde_json::from_str(&text).map_err(|_| VaultError::Sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_opens_for_its_own_store_alone() {
        let vault = Vault::ephemeral().unwrap();
        let id =
            |name: &str| format!("/subscriptions/S/resourceGroups/G/providers/P/w/{name}").parse().unwrap();
        let credential = Credential::AccessKey { id: "id".into(), secret: "secret".into() };
        let sealed = seal(&vault, &id("One"), &credential).unwrap();
        assert_eq!(open(&vault, &id("one"), &sealed).unwrap(), credential);
        assert!(open(&vault, &id("two"), &sealed).is_err());
        assert!(!format!("{sealed:?}{credential:?}").contains("secret"));
    }
}
