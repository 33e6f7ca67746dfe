//! The judgement of a token: its form, its issuer, its key, its signature, its claims.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::aml_token::{Issued, TokenKeys};
use super::caller::Caller;
use super::claims::{self, BadClaim, Rules};
use super::issuer::{Issuer, Plane};
use super::jwks::VerifyingKey;
use super::jws::{Compact, Malformed};
use super::keys::Lookup;
use super::memory::{Grounds, Memory, Passed};
use crate::clock::Clock;
use crate::model::scope::Scope;

/// Why a token is not accepted. The caller is told only that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// It is not a token at all.
    Malformed(Malformed),
    /// Nobody that is trusted issued it.
    UnknownIssuer,
    /// Its issuer has no such key.
    UnknownKey,
    /// The signature is not its issuer's.
    Signature,
    /// What it says is not acceptable.
    Claim(BadClaim),
    /// The gateway issued it for another endpoint.
    WrongEndpoint,
    /// The gateway issued it for an endpoint whose mode has changed since.
    Revoked,
    /// The issuer's keys are not there, so nothing can be said.
    Unavailable,
}

impl Rejection {
    /// A word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Rejection::Malformed(Malformed::Shape) => "shape",
            Rejection::Malformed(Malformed::Header) => "header",
            Rejection::Malformed(Malformed::Algorithm) => "algorithm",
            Rejection::Malformed(Malformed::KeyId) => "key_id",
            Rejection::Malformed(Malformed::Payload) => "payload",
            Rejection::UnknownIssuer => "issuer",
            Rejection::UnknownKey => "key",
            Rejection::Signature => "signature",
            Rejection::Claim(BadClaim::Type) => "claim",
            Rejection::Claim(BadClaim::Audience) => "audience",
            Rejection::Claim(BadClaim::Expired) => "expired",
            Rejection::Claim(BadClaim::NotYetValid) => "not_yet_valid",
            Rejection::Claim(BadClaim::Lifetime) => "lifetime",
            Rejection::Claim(BadClaim::Tenant) => "tenant",
            Rejection::Claim(BadClaim::Version) => "version",
            Rejection::Claim(BadClaim::NotAnAccessToken) => "not_an_access_token",
            Rejection::Claim(BadClaim::Principal) => "principal",
            Rejection::WrongEndpoint => "endpoint",
            Rejection::Revoked => "revoked",
            Rejection::Unavailable => "keys_unavailable",
        }
    }
}

/// Leeway and lengths.
#[derive(Debug, Clone, Copy)]
pub struct TokenTimes {
    /// Leeway for `exp` and `nbf`.
    pub clock_skew: Duration,
    /// The longest life of a token.
    pub max_lifetime: Duration,
    /// Least time between refreshes for unknown key ids.
    pub cool_down: Duration,
}

/// Judges tokens, and remembers those that passed.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: HashMap<String, Arc<Issuer>>,
    plane: Plane,
    memory: Memory,
    clock: Arc<dyn Clock>,
    times: TokenTimes,
}

impl TokenVerifier {
    /// A verifier for tokens of these issuers for one plane, with a memory of this many bytes.
    pub fn new(
        issuers: &[Arc<Issuer>],
        plane: Plane,
        clock: Arc<dyn Clock>,
        times: TokenTimes,
        cache_bytes: usize,
    ) -> TokenVerifier {
        TokenVerifier {
            issuers: issuers.iter().map(|issuer| (issuer.name.clone(), issuer.clone())).collect(),
            plane,
            memory: Memory::new(cache_bytes),
            clock,
            times,
        }
    }

    /// The issuers, in no order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// Who calls with a token of an issuer. Waits only for the key of an unknown id.
    ///
    /// Dropping the future forgets the judgement and nothing else.
    pub async fn caller(&self, token: &str) -> Result<Arc<Caller>, Rejection> {
        match self.remembered(token) {
            Some(caller) => Ok(caller),
            None => self.verify(token).await,
        }
    }

    /// The caller of a token that passed before and still does.
    fn remembered(&self, token: &str) -> Option<Arc<Caller>> {
        let now = self.clock.unix();
        self.memory.recall(token, now, |grounds| same_keys(grounds, now)).map(|passed| passed.caller)
    }

    /// Judges a token that is not remembered, and remembers it if it passes.
    async fn verify(&self, token: &str) -> Result<Arc<Caller>, Rejection> {
        let compact = Compact::parse(token).map_err(Rejection::Malformed)?;
        let name =
            claims::claimed_issuer(&compact.payload).ok_or(Rejection::Malformed(Malformed::Payload))?;
        let issuer = self.issuers.get(&name).ok_or(Rejection::UnknownIssuer)?;
        // Reading the claims costs a hundredth of a signature: what they rule out needs no key.
        let rules = self.rules();
        let caller = claims::judge(&compact.payload, issuer, self.plane, rules).map_err(Rejection::Claim)?;
        let (key, generation) = match find(issuer, &compact.kid, rules.now) {
            Err(Rejection::UnknownKey) => {
                let fresh = issuer.keys.refresh_for(&compact.kid, self.times.cool_down).await;
                let found = find(issuer, &compact.kid, rules.now);
                if fresh && matches!(found, Err(Rejection::UnknownKey)) {
                    issuer.keys.in_vain(&compact.kid);
                }
                found?
            }
            found => found?,
        };
        let judge = || {
            let grounds = Grounds::Issuer(issuer.clone(), generation);
            let passed = || Passed { caller: Arc::new(caller), grounds };
            key.verifies(&compact).then(passed).ok_or(Rejection::Signature)
        };
        let holds = |grounds: &Grounds| same_keys(grounds, rules.now);
        self.memory.judge(token, rules.now, holds, judge).await.map(|passed| passed.caller)
    }

    /// Who calls with a token that the gateway issued for this endpoint in this epoch.
    ///
    /// Dropping the future forgets the judgement and nothing else.
    pub async fn issued(
        &self,
        keys: &TokenKeys,
        token: &str,
        endpoint: &Scope,
        epoch: Uuid,
    ) -> Result<Arc<Caller>, Rejection> {
        let (caller, issued) = self.own(keys, token).await?;
        issued.opens(endpoint, epoch).map(|()| caller)
    }

    /// Whether the gateway issued this token for another endpoint.
    pub async fn is_for_another(&self, keys: &TokenKeys, token: &str, endpoint: &Scope) -> bool {
        self.own(keys, token).await.is_ok_and(|(_, issued)| issued.is_for_another(endpoint))
    }

    /// A token of the gateway's own, whichever endpoint it is for.
    async fn own(&self, keys: &TokenKeys, token: &str) -> Result<(Arc<Caller>, Arc<Issued>), Rejection> {
        let Rules { now, skew, .. } = self.rules();
        let holds = |grounds: &Grounds| matches!(grounds, Grounds::Own(issued) if keys.holds(issued));
        let judge = || {
            let (caller, issued) = keys.verify(token, now, skew)?;
            Ok(Passed { caller: Arc::new(caller), grounds: Grounds::Own(Arc::new(issued)) })
        };
        let passed = if let Some(passed) = self.memory.recall(token, now, holds) {
            passed
        } else {
            self.memory.judge(token, now, holds, judge).await?
        };
        match passed.grounds {
            Grounds::Own(issued) => Ok((passed.caller, issued)),
            Grounds::Issuer(..) => Err(Rejection::UnknownIssuer),
        }
    }

    fn rules(&self) -> Rules {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4);
        Rules {
            now: self.clock.unix(),
            skew: seconds(self.times.clock_skew),
            max_lifetime: seconds(self.times.max_lifetime),
        }
    }
}

/// Whether a token passed by keys that its issuer still has.
fn same_keys(grounds: &Grounds, now: i64) -> bool {
    match grounds {
        Grounds::Issuer(issuer, generation) => {
            issuer.keys.generation() == *generation && issuer.keys.is_usable(now)
        }
        Grounds::Own(_) => false,
    }
}

/// A key, and the generation of the set that it is from.
fn find(issuer: &Issuer, kid: &str, now: i64) -> Result<(Arc<VerifyingKey>, u64), Rejection> {
    // Read before the key: a set installed in between makes the entry old, never the other way round.
    let generation = issuer.keys.generation();
    match issuer.keys.look_up(kid, now) {
        Lookup::Found(key) => Ok((key, generation)),
        Lookup::Unknown => Err(Rejection::UnknownKey),
        Lookup::Unavailable => Err(Rejection::Unavailable),
    }
}

#[cfg(test)]
mod tests;
