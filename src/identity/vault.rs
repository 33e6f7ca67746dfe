//! The master key, and the keys that are derived from it: one encrypts secrets at rest, one makes the digests that
//! endpoint keys are compared by, one chains the audit's records, one signs manifests.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::secret_file::{self, SecretError};

/// Why there is no master key, or why something cannot be opened with it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file cannot be read or written.
    #[error("master key {}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// What was sealed does not open.
    #[error(
        "a stored secret does not open with this master key; restore the master key that belongs to the store"
    )]
    Sealed,
    /// The operating system gives no random bytes, or the cipher failed.
    #[error("cryptography failed")]
    Crypto,
}

/// The derived keys; the master key itself is not kept.
pub struct Vault {
    cipher: RandomizedNonceKey,
    /// Keys the digests of endpoint keys.
    pepper: hmac::Key,
    audit: Zeroizing<[u8; 32]>,
    signer: Ed25519KeyPair,
    fingerprint: u64,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl Vault {
    /// A vault whose key lives only as long as the process.
    pub fn ephemeral() -> Result<Vault, VaultError> {
        let mut master = Zeroizing::new([0_u8; 32]);
        rand::fill(&mut *master).map_err(|_| VaultError::Crypto)?;
        Vault::derive(&master)
    }

    /// The vault of the master key in a file: 32 bytes as base64, for the gateway's eyes alone. If `create` is set, the
    /// file is made if it is not there.
    pub fn open(file: &Path, create: bool) -> Result<Vault, VaultError> {
        let wrong = |why: String| VaultError::File { file: file.to_owned(), why };
        if create && !file.exists() {
            let mut master = Zeroizing::new([0_u8; 32]);
            rand::fill(&mut *master).map_err(|_| VaultError::Crypto)?;
            let mut options = std::fs::OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(file);
            let mut made = made.map_err(|error| wrong(format!("cannot be made: {error}")))?;
            let text = Zeroizing::new(STANDARD.encode(*master) + "\n");
            made.write_all(text.as_bytes())
                .and_then(|()| made.sync_all())
                .map_err(|error| wrong(format!("cannot be written: {error}")))?;
        }
        let text = secret_file::read(file).map_err(|error| {
            let remedy = match &error {
                SecretError::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
                    "; put the store's key there, or make one for a new store with `openssl rand -base64 32`"
                }
                SecretError::Unreadable(_) | SecretError::NoFile => {
                    "; it has to be a file that the gateway's user may read"
                }
                _ => "",
            };
            wrong(format!("{error}{remedy}"))
        })?;
        let bytes = STANDARD.decode(&*text).map(Zeroizing::new).ok();
        let master = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
        let master = master.ok_or_else(|| {
            wrong("is not 32 bytes as base64; `openssl rand -base64 32` makes one".to_owned())
        })?;
        Vault::derive(&master)
    }

    fn derive(master: &[u8; 32]) -> Result<Vault, VaultError> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"scoregate").extract(master);
        let expand = |purpose: &[u8]| -> Result<Zeroizing<[u8; 32]>, VaultError> {
            let mut key = Zeroizing::new([0_u8; 32]);
            prk.expand(&[purpose], Bytes32)
                .and_then(|okm| okm.fill(&mut *key))
                .map_err(|_| VaultError::Crypto)?;
            Ok(key)
        };
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*expand(b"endpoint keys at rest")?);
        let pepper = hmac::Key::new(hmac::HMAC_SHA256, &*expand(b"endpoint key digests")?);
        let fingerprint = expand(b"fingerprint")?.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk));
        let audit = expand(b"audit chain")?;
        let signer = Ed25519KeyPair::from_seed_unchecked(&*expand(b"manifest signatures")?);
        let (cipher, signer) =
            (cipher.map_err(|_| VaultError::Crypto)?, signer.map_err(|_| VaultError::Crypto)?);
        Ok(Vault { cipher, pepper, audit, signer, fingerprint })
    }

    /// Tells one master key from another and says nothing of it; a store remembers it.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// The key that chains audit records.
    pub fn audit_key(&self) -> &[u8; 32] {
        &self.audit
    }

    /// The id of the key that [`Vault::sign`] signs with.
    fn signer_id(&self) -> String {
        format!("manifests-{:016x}", self.fingerprint)
    }

    /// Claims as a compact JSON Web Signature (RFC 7515) by Ed25519 (RFC 8037).
    pub fn sign(&self, claims: &Value) -> Result<String, VaultError> {
        let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.signer_id()});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&head), part(claims));
        let signature = self.signer.try_sign(message.as_bytes()).map_err(|_| VaultError::Crypto)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public half of the key that signs, as a JSON Web Key (RFC 8037). The same wherever the master key is.
    pub fn signer(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.signer.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.signer_id(), "x": x})
    }

    /// HMAC-SHA-256, by which a key is recognised without being kept.
    pub fn digest(&self, secret: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.pepper, secret.as_bytes());
        let mut digest = [0; 32];
        digest.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }

    /// Encrypts a secret for one place (AES-256-GCM): it opens only with the same context.
    pub fn seal(&self, secret: &str, context: &str) -> Result<String, VaultError> {
        let mut text = secret.as_bytes().to_vec();
        let nonce = self.cipher.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut text);
        let nonce = nonce.map_err(|_| VaultError::Crypto)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&text);
        Ok(STANDARD.encode(sealed))
    }

    /// Decrypts what was sealed with the same context.
    pub fn unseal(&self, sealed: &str, context: &str) -> Result<Zeroizing<String>, VaultError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| VaultError::Sealed)?;
        let (nonce, text) = bytes.split_at_checked(12).ok_or(VaultError::Sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Sealed)?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain = self.cipher.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text);
        let plain = plain.map_err(|_| VaultError::Sealed)?;
        String::from_utf8(plain.to_vec()).map(Zeroizing::new).map_err(|_| VaultError::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place() {
        let vault = Vault::ephemeral().unwrap();
        let sealed = vault.seal("secret", "a/primary").unwrap();
        assert_eq!(*vault.unseal(&sealed, "a/primary").unwrap(), "secret");
        assert!(vault.unseal(&sealed, "b/primary").is_err());
        assert!(Vault::ephemeral().unwrap().unseal(&sealed, "a/primary").is_err());
        assert!(!sealed.contains("secret") && format!("{vault:?}") == "Vault(…)");
    }

    #[test]
    fn what_is_signed_can_be_checked_by_whoever_knows_the_public_key() {
        use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
        let vault = Vault::derive(&[3; 32]).unwrap();
        let token = vault.sign(&json!({"rows": 1})).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = vault.signer();
        let public = UnparsedPublicKey::new(&ED25519, decode(key["x"].as_str().unwrap()));
        public.verify(message.as_bytes(), &decode(signature)).unwrap();
        assert!(public.verify(format!("{message}A").as_bytes(), &decode(signature)).is_err());
        let (head, claims) = message.split_once('.').unwrap();
        let head: Value = serde_json::from_slice(&decode(head)).unwrap();
        assert_eq!((&head["kid"], &head["alg"]), (&key["kid"], &json!("EdDSA")));
        assert_eq!(decode(claims), br#"{"rows":1}"#);
        // Other gateways of the same master key sign alike.
        assert_eq!(Vault::derive(&[3; 32]).unwrap().signer(), key);
        assert_ne!(Vault::derive(&[4; 32]).unwrap().signer(), key);
    }

    #[test]
    fn a_master_key_is_made_once_and_must_be_private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("master.key");
        let missing = Vault::open(&file, false).unwrap_err().to_string();
        assert!(missing.contains("master.key") && missing.contains("cannot be read"), "{missing}");
        let made = Vault::open(&file, true).unwrap().fingerprint();
        assert_eq!(Vault::open(&file, true).unwrap().fingerprint(), made);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Vault::open(&file, true).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "short").unwrap();
        assert!(Vault::open(&file, true).unwrap_err().to_string().contains("32 bytes"));
    }
}
