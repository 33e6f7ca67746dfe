//! The judgement of a token: its form, its issuer, its key, its signature, its claims — and a memory of the
//! tokens that passed, because a signature costs more than all the rest of a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::caller::Caller;
use super::claims::{self, BadClaim, Rules};
use super::issuer::{Issuer, Plane};
use super::jwks::VerifyingKey;
use super::jws::{Compact, Malformed};
use super::keys::Lookup;
use crate::clock::Clock;

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

/// A token that passed, as long as its issuer's keys stay the same.
#[derive(Debug, Clone)]
struct Passed {
    caller: Arc<Caller>,
    issuer: Arc<Issuer>,
    generation: u64,
}

#[derive(Debug, Clone)]
struct Size;

impl Weighter<Box<str>, Passed> for Size {
    fn weight(&self, token: &Box<str>, passed: &Passed) -> u64 {
        let groups = match &passed.caller.groups {
            super::caller::Groups::Known(groups) => groups.len() * 16,
            super::caller::Groups::Overage => 0,
        };
        (token.len() + groups + 512) as u64
    }
}

/// Judges tokens.
///
/// The memory is keyed by the whole token under a randomly keyed hash, compared byte for byte. An entry is used only
/// before its token's end and while its issuer's keys are the ones it was verified with; only tokens that passed
/// are remembered, so bad ones cannot push good ones out.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: HashMap<String, Arc<Issuer>>,
    plane: Plane,
    passed: Cache<Box<str>, Passed, Size, RandomState, DefaultLifecycle<Box<str>, Passed>>,
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
        let entries = (cache_bytes / 2048).max(16);
        TokenVerifier {
            issuers: issuers.iter().map(|issuer| (issuer.name.clone(), issuer.clone())).collect(),
            plane,
            passed: Cache::with(
                entries,
                cache_bytes as u64,
                Size,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
            clock,
            times,
        }
    }

    /// The issuers, in no order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// The caller of a token that passed before and still does.
    pub fn remembered(&self, token: &str) -> Option<Arc<Caller>> {
        let passed = self.passed.get(token)?;
        let now = self.clock.unix();
        let keys = &passed.issuer.keys;
        let holds = now < passed.caller.expires
            && now >= passed.caller.not_before
            && keys.generation() == passed.generation
            && keys.is_usable(now);
        if !holds {
            self.passed.remove(token);
            return None;
        }
        Some(passed.caller)
    }

    /// Judges a token in full and remembers it if it passes. Waits only for the key of an unknown id.
    ///
    /// Dropping the future forgets the judgement and nothing else.
    pub async fn verify(&self, token: &str) -> Result<Arc<Caller>, Rejection> {
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
        if !key.verifies(&compact) {
            return Err(Rejection::Signature);
        }
        let caller = Arc::new(caller);
        self.passed
            .insert(token.into(), Passed { caller: caller.clone(), issuer: issuer.clone(), generation });
        Ok(caller)
    }

    /// Now in Unix seconds, and the leeway for times.
    pub fn now_and_skew(&self) -> (i64, i64) {
        let rules = self.rules();
        (rules.now, rules.skew)
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
