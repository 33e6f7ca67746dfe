//! Endpoint keys: made, sealed for the store, compared in constant time.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::vault::{Vault, VaultError};
use crate::model::endpoint::{EndpointKeys, StoredKey};
use crate::model::scope::Scope;

/// Every key that the gateway makes begins so and matches `sgk_[A-Za-z0-9_-]{49}`: 32 random bytes, then
/// the first four of their SHA-256, so that a scanner can tell a leaked key from a look-alike without asking us.
pub const PREFIX: &str = "sgk_";

/// Makes a key.
pub fn generate() -> Result<Zeroizing<String>, VaultError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(&mut *bytes).map_err(|_| VaultError::Crypto)?;
    let check = digest::digest(&digest::SHA256, &*bytes);
    let check = check.as_ref().get(..4).unwrap_or_default();
    Ok(Zeroizing::new(format!("{PREFIX}{}{}", URL_SAFE_NO_PAD.encode(*bytes), URL_SAFE_NO_PAD.encode(check))))
}

/// Makes both keys of a new endpoint, sealed for the store.
pub fn generate_pair(vault: &Vault, endpoint: &Scope) -> Result<EndpointKeys, VaultError> {
    let one = |slot: &str| store(vault, endpoint, slot, &generate()?);
    Ok(EndpointKeys { primary: one("primary")?, secondary: one("secondary")? })
}

/// Seals a key for the store; `slot` is `primary` or `secondary`.
pub fn store(vault: &Vault, endpoint: &Scope, slot: &str, key: &str) -> Result<StoredKey, VaultError> {
    Ok(StoredKey { sealed: vault.seal(key, &context(endpoint, slot))?, digest: vault.digest(key) })
}

/// Opens a stored key, to list it.
pub fn reveal(
    vault: &Vault,
    endpoint: &Scope,
    slot: &str,
    key: &StoredKey,
) -> Result<Zeroizing<String>, VaultError> {
    vault.unseal(&key.sealed, &context(endpoint, slot))
}

fn context(endpoint: &Scope, slot: &str) -> String {
    format!("{}/{slot}", endpoint.key())
}

/// The digests of an endpoint's two keys, as the data plane holds them.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigests([[u8; 32]; 2]);

impl std::fmt::Debug for KeyDigests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigests(…)")
    }
}

/// Which key was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySlot {
    /// The primary key.
    Primary,
    /// The secondary key.
    Secondary,
}

impl KeySlot {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            KeySlot::Primary => "primary",
            KeySlot::Secondary => "secondary",
        }
    }
}

impl KeyDigests {
    /// The digests of stored keys.
    pub fn of(keys: &EndpointKeys) -> KeyDigests {
        KeyDigests([keys.primary.digest, keys.secondary.digest])
    }

    /// Both digests.
    pub fn both(&self) -> [[u8; 32]; 2] {
        self.0
    }

    /// Whether a key of another set is still the same.
    pub fn keeps(&self, slot: KeySlot, before: &KeyDigests) -> bool {
        let place = |KeyDigests([primary, secondary]): &KeyDigests| match slot {
            KeySlot::Primary => *primary,
            KeySlot::Secondary => *secondary,
        };
        place(self) == place(before)
    }

    /// Which key this is. Takes the same time whether it is the first, the second or neither.
    pub fn check(&self, vault: &Vault, presented: &str) -> Option<KeySlot> {
        let digest = vault.digest(presented);
        let [primary, secondary] = &self.0;
        let (first, second): (Choice, Choice) = (digest.ct_eq(primary), digest.ct_eq(secondary));
        match (bool::from(first), bool::from(second)) {
            (true, _) => Some(KeySlot::Primary),
            (false, true) => Some(KeySlot::Secondary),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_form_and_opens_its_own_endpoint_only() {
        let vault = Vault::ephemeral().unwrap();
        let scope: Scope = "/subscriptions/s".parse().unwrap();
        let keys = generate_pair(&vault, &scope).unwrap();
        let primary = reveal(&vault, &scope, "primary", &keys.primary).unwrap();
        let secondary = reveal(&vault, &scope, "secondary", &keys.secondary).unwrap();
        assert!(primary.starts_with(PREFIX) && primary.len() == 53 && *primary != *secondary);
        let bytes = URL_SAFE_NO_PAD.decode(&primary[4..47]).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, &bytes).as_ref()[..4]),
            primary[47..]
        );
        let digests = KeyDigests::of(&keys);
        assert_eq!(digests.check(&vault, &primary), Some(KeySlot::Primary));
        assert_eq!(digests.check(&vault, &secondary), Some(KeySlot::Secondary));
        assert_eq!(digests.check(&vault, &generate().unwrap()), None);
        assert_eq!(digests.check(&vault, ""), None);
        assert!(reveal(&vault, &scope, "secondary", &keys.primary).is_err());
    }
}
