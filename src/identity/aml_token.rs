//! Tokens that the gateway issues for one endpoint (`aml_token`): signed by keys in the store, bound to the endpoint's
//! id and to its epoch, so that they die with the endpoint and with its mode.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::caller::{Caller, CallerHeaders, CallerKind, Groups};
use super::claims::BadClaim;
use super::jwks::{self, KeySet, VerifyingKey, Wanted};
use super::jws::{Compact, Malformed};
use super::token::Rejection;
use super::vault::{Vault, VaultError};
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::model::token_key::TokenKey;

/// The `iss` of the gateway's own tokens.
pub const ISSUER: &str = "https://scoregate/endpoint-tokens";

/// What a token says. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: PrincipalId,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tid: Option<Uuid>,
    epoch: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// What a token is issued for.
#[derive(Debug, Clone, Copy)]
pub struct Issue<'a> {
    /// The endpoint that it opens.
    pub endpoint: &'a Scope,
    /// That endpoint's epoch.
    pub epoch: Uuid,
    /// Who asked for it, and so may score with it.
    pub caller: &'a Caller,
    /// Now, Unix seconds.
    pub now: i64,
    /// How long it lives, seconds.
    pub lifetime: i64,
}

/// The context under which private keys are sealed.
fn context(id: &str) -> String {
    format!("token key {id}")
}

/// Makes a signing key.
pub fn make_key(vault: &Vault, now: i64) -> Result<TokenKey, VaultError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| VaultError::Crypto)?;
    let id = Uuid::new_v4().simple().to_string();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let private = pair.as_der().map_err(|_| VaultError::Crypto)?;
    let private = Zeroizing::new(STANDARD.encode(private.as_ref()));
    Ok(TokenKey {
        sealed: vault.seal(&private, &context(&id))?,
        n: URL_SAFE_NO_PAD.encode(public.n),
        e: URL_SAFE_NO_PAD.encode(public.e),
        id,
        made: now,
    })
}

/// Signs a token. Takes a millisecond of computing.
pub fn issue(vault: &Vault, key: &TokenKey, what: Issue<'_>) -> Result<String, VaultError> {
    let private = vault.unseal(&key.sealed, &context(&key.id))?;
    let private = STANDARD.decode(private.as_bytes()).map(Zeroizing::new).map_err(|_| VaultError::Sealed)?;
    let pair = RsaKeyPair::from_pkcs8(&private).map_err(|_| VaultError::Sealed)?;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: what.endpoint.key().to_owned(),
        sub: what.caller.object_id,
        kind: what.caller.kind.as_str().to_owned(),
        tid: what.caller.tenant,
        epoch: what.epoch,
        iat: what.now,
        nbf: what.now,
        exp: what.now + what.lifetime,
        jti: Uuid::new_v4(),
    };
    let head = json!({"alg": "RS256", "typ": "JWT", "kid": key.id});
    let body = serde_json::to_vec(&claims).map_err(|_| VaultError::Crypto)?;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(body));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| VaultError::Crypto)?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The public halves as a JSON Web Key Set (RFC 7517).
fn published<'a>(keys: impl Iterator<Item = &'a TokenKey>) -> Value {
    let one = |key: &TokenKey| json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.id, "n": key.n, "e": key.e});
    json!({"keys": keys.map(one).collect::<Vec<_>>()})
}

/// The keys that tokens are verified with.
#[derive(Debug, Default)]
pub struct TokenKeys {
    keys: KeySet,
    published: Value,
}

impl TokenKeys {
    /// The public halves of these keys.
    pub fn of(keys: Vec<&TokenKey>) -> TokenKeys {
        let published = published(keys.into_iter());
        let wanted = Wanted { issuer: ISSUER, tenant: "", cloud: None };
        // Without a key there is no set, and no token is valid.
        let keys = jwks::parse(published.to_string().as_bytes(), wanted).unwrap_or_default();
        TokenKeys { keys, published }
    }

    /// The public halves as a JSON Web Key Set.
    pub fn published(&self) -> &Value {
        &self.published
    }

    /// Judges a token, whichever endpoint it is for; `skew` is the leeway in seconds.
    pub fn verify(&self, token: &str, now: i64, skew: i64) -> Result<(Caller, Issued), Rejection> {
        let compact = Compact::parse(token).map_err(Rejection::Malformed)?;
        let key = self.keys.get(&compact.kid).ok_or(Rejection::UnknownKey)?;
        if !key.verifies(&compact) {
            return Err(Rejection::Signature);
        }
        let claims: Claims =
            serde_json::from_slice(&compact.payload).map_err(|_| Rejection::Malformed(Malformed::Payload))?;
        if claims.iss != ISSUER {
            return Err(Rejection::UnknownIssuer);
        }
        if now >= claims.exp + skew {
            return Err(Rejection::Claim(BadClaim::Expired));
        }
        if claims.nbf > now + skew {
            return Err(Rejection::Claim(BadClaim::NotYetValid));
        }
        let kind = match claims.kind.as_str() {
            "ServicePrincipal" => CallerKind::ServicePrincipal,
            _ => CallerKind::User,
        };
        let caller = Caller {
            object_id: claims.sub,
            tenant: claims.tid,
            kind,
            app_id: None,
            groups: Groups::Known(Box::default()),
            token_id: Some(claims.jti.to_string()),
            expires: claims.exp + skew,
            not_before: claims.nbf - skew,
            headers: CallerHeaders::of(claims.sub, kind, claims.tid),
        };
        let issued = Issued { endpoint: claims.aud, epoch: claims.epoch, kid: compact.kid, key: key.clone() };
        Ok((caller, issued))
    }

    /// Whether the key that a token passed by is still one of these.
    pub fn holds(&self, issued: &Issued) -> bool {
        self.keys.get(&issued.kid).is_some_and(|key| key.same_as(&issued.key))
    }
}

/// What a token of the gateway's own opens.
#[derive(Debug)]
pub struct Issued {
    /// The endpoint's id in lower case.
    endpoint: String,
    epoch: Uuid,
    kid: String,
    key: Arc<VerifyingKey>,
}

impl Issued {
    /// Whether it opens an endpoint in its present epoch.
    pub fn opens(&self, endpoint: &Scope, epoch: Uuid) -> Result<(), Rejection> {
        match (self.is_for_another(endpoint), self.epoch == epoch) {
            (true, _) => Err(Rejection::WrongEndpoint),
            (false, false) => Err(Rejection::Revoked),
            (false, true) => Ok(()),
        }
    }

    /// Whether it is for another endpoint than this one.
    pub fn is_for_another(&self, endpoint: &Scope) -> bool {
        self.endpoint != endpoint.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let id = PrincipalId(Uuid::from_u128(7));
        Caller {
            object_id: id,
            tenant: Some(Uuid::from_u128(8)),
            kind: CallerKind::ServicePrincipal,
            app_id: None,
            groups: Groups::Known(Box::default()),
            token_id: None,
            expires: 0,
            not_before: 0,
            headers: CallerHeaders::of(id, CallerKind::ServicePrincipal, None),
        }
    }

    #[test]
    fn a_token_opens_one_endpoint_in_one_epoch_for_its_time() {
        let vault = Vault::ephemeral().unwrap();
        let [endpoint, other]: [Scope; 2] =
            ["/subscriptions/A", "/subscriptions/b"].map(|s| s.parse().unwrap());
        let [epoch, later] = [1, 2].map(Uuid::from_u128);
        let [old, new] = [make_key(&vault, 0).unwrap(), make_key(&vault, 1).unwrap()];
        let who = caller();
        let what = Issue { endpoint: &endpoint, epoch, caller: &who, now: 1_000, lifetime: 100 };
        let keys = TokenKeys::of(vec![&old, &new]);
        for key in [&old, &new] {
            let token = issue(&vault, key, what).unwrap();
            let verify = |at: &Scope, epoch, now| {
                let (caller, issued) = keys.verify(&token, now, 5)?;
                issued.opens(at, epoch).map(|()| caller)
            };
            let found = verify(&endpoint, epoch, 1_000).unwrap();
            assert_eq!((found.object_id, found.kind, found.tenant), (who.object_id, who.kind, who.tenant));
            assert!(verify(&"/SUBSCRIPTIONS/a".parse().unwrap(), epoch, 1_104).is_ok());
            assert_eq!(verify(&endpoint, epoch, 1_105), Err(Rejection::Claim(BadClaim::Expired)));
            assert_eq!(verify(&endpoint, epoch, 994), Err(Rejection::Claim(BadClaim::NotYetValid)));
            assert_eq!(verify(&other, epoch, 1_000), Err(Rejection::WrongEndpoint));
            assert_eq!(verify(&other, later, 1_000), Err(Rejection::WrongEndpoint));
            assert_eq!(verify(&endpoint, later, 1_000), Err(Rejection::Revoked));
        }
        let token = issue(&vault, &old, what).unwrap();
        let (_, issued) = keys.verify(&token, 1_000, 5).unwrap();
        let refused = |keys: &TokenKeys, token: &str| keys.verify(token, 1_000, 5).unwrap_err();
        let rotated = TokenKeys::of(vec![&new]);
        assert_eq!(refused(&rotated, &token), Rejection::UnknownKey);
        assert_eq!(refused(&TokenKeys::default(), &token), Rejection::UnknownKey);
        // A snapshot reads the keys anew: what counts is whether the key is the same, not whether it is the same object.
        assert!(TokenKeys::of(vec![&old]).holds(&issued) && !rotated.holds(&issued));
        let renamed = TokenKey { id: old.id.clone(), ..new.clone() };
        assert!(!TokenKeys::of(vec![&renamed]).holds(&issued));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, payload) = signed.split_once('.').unwrap();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let longer = URL_SAFE_NO_PAD.encode(payload.replace("1100", "9100"));
        let forged = format!("{head}.{longer}.{signature}");
        assert_eq!(refused(&keys, &forged), Rejection::Signature);
    }

    #[test]
    fn a_signing_key_is_sealed_and_says_nothing_of_itself() {
        let vault = Vault::ephemeral().unwrap();
        let key = make_key(&vault, 0).unwrap();
        assert_eq!(format!("{key:?}"), format!("TokenKey({})", key.id));
        let endpoint: Scope = "/subscriptions/a".parse().unwrap();
        let who = caller();
        let what = Issue { endpoint: &endpoint, epoch: Uuid::nil(), caller: &who, now: 0, lifetime: 1 };
        assert!(issue(&Vault::ephemeral().unwrap(), &key, what).is_err());
    }
}
