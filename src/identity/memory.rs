//! The memory of tokens that passed, because a signature costs more than all the rest of a request.

use std::sync::Arc;

use foldhash::quality::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::aml_token::Issued;
use super::caller::{Caller, Groups};
use super::issuer::Issuer;

/// What a token passed by, which has to be the same when it is presented again.
#[derive(Debug, Clone)]
pub(super) enum Grounds {
    /// The keys of an issuer, in this generation of its set.
    Issuer(Arc<Issuer>, u64),
    /// A key of the gateway's own.
    Own(Arc<Issued>),
}

/// A token that passed.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) caller: Arc<Caller>,
    pub(super) grounds: Grounds,
}

#[derive(Debug, Clone)]
struct Size;

impl Weighter<String, Passed> for Size {
    fn weight(&self, token: &String, passed: &Passed) -> u64 {
        let groups = match &passed.caller.groups {
            Groups::Known(groups) => groups.len() * 16,
            Groups::Overage => 0,
        };
        (token.len() + groups + 512) as u64
    }
}

/// Tokens that passed, in a bounded number of bytes.
///
/// Keyed by the whole token under a randomly keyed hash, compared byte for byte. An entry is used only in its token's
/// time and while its grounds hold; only tokens that passed are remembered, so bad ones cannot push good ones out.
#[derive(Debug)]
pub(super) struct Memory {
    passed: Cache<String, Passed, Size, RandomState, DefaultLifecycle<String, Passed>>,
}

impl Memory {
    /// A memory of this many bytes.
    pub(super) fn new(bytes: usize) -> Memory {
        let entries = (bytes / 2048).max(16);
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        Memory { passed: Cache::with(entries, bytes as u64, Size, hasher, lifecycle) }
    }

    /// What a token passed by before, if that still holds. What does not hold any more is forgotten.
    pub(super) fn recall(
        &self,
        token: &str,
        now: i64,
        holds: impl FnOnce(&Grounds) -> bool,
    ) -> Option<Passed> {
        let passed = self.passed.get(token)?;
        if is_its_time(&passed, now) && holds(&passed.grounds) {
            return Some(passed);
        }
        self.passed.remove(token);
        None
    }

    /// Has a token judged and remembers it if it passes. Of requests that come with the same token at once, one judges
    /// and the others wait for what it finds.
    ///
    /// Dropping the future leaves the judgement to another.
    pub(super) async fn judge<E>(
        &self,
        token: &str,
        now: i64,
        holds: impl FnOnce(&Grounds) -> bool,
        judge: impl FnOnce() -> Result<Passed, E>,
    ) -> Result<Passed, E> {
        match self.passed.get_value_or_guard_async(token).await {
            Ok(passed) if is_its_time(&passed, now) && holds(&passed.grounds) => Ok(passed),
            // The grounds changed in this very moment.
            Ok(_) => judge(),
            Err(place) => {
                let passed = judge()?;
                let _ = place.insert(passed.clone());
                Ok(passed)
            }
        }
    }
}

fn is_its_time(passed: &Passed, now: i64) -> bool {
    now < passed.caller.expires && now >= passed.caller.not_before
}
