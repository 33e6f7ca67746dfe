//! Tokens of a key that the issuer has only just published, judged while its refresher runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::forge::{ATTACKER, ENTRA_V2, Gate, LONGER, MAX_STALE, NOW, TENANT, Token, jwk, v2};
use super::{OK, Rejection};
use crate::clock::ManualClock;
use crate::identity::fetch::{Ask, Document, Fetch, FetchError};
use crate::identity::keys::{KeyTimes, Refresher, Suppressed};

const HOUR: Duration = Duration::from_hours(1);

/// Gives one set of keys after the other, the last for ever.
#[derive(Debug)]
struct Provider {
    sets: Mutex<VecDeque<Value>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Fetch for Provider {
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError> {
        self.asked.lock().push(ask.url.to_owned());
        let keys = "https://login.microsoftonline.com/keys";
        let answer = if ask.url == keys {
            let mut sets = self.sets.lock();
            let last = sets.len() == 1;
            if last { sets.front().cloned() } else { sets.pop_front() }.unwrap()
        } else {
            json!({"issuer": v2(TENANT), "jwks_uri": keys})
        };
        Ok(Document { bytes: answer.to_string().into_bytes(), max_age: None })
    }
}

impl Provider {
    fn fetches(&self) -> usize {
        self.asked.lock().len() / 2
    }
}

/// A gate whose only keys are what the provider gives for the tenant's version 2; the first set is there.
async fn gate(cool_down: Duration, sets: impl IntoIterator<Item = Vec<Value>>) -> (Gate, Arc<Provider>) {
    let sets = sets.into_iter().map(|keys| json!({ "keys": keys }));
    let provider = Arc::new(Provider { sets: Mutex::new(sets.collect()), asked: Mutex::default() });
    let gate = Gate::without_keys(Duration::from_mins(1), cool_down);
    let issuer = gate.issuers.iter().find(|issuer| issuer.name == v2(TENANT));
    let refresher = Refresher {
        issuer: issuer.unwrap().clone(),
        fetch: provider.clone(),
        clock: Arc::new(ManualClock::at(NOW)),
        times: KeyTimes { refresh: HOUR, cool_down, max_stale: MAX_STALE },
        directory: None,
    };
    tokio::spawn(refresher.run());
    while gate.judge(&Token::v2().signed()).await != OK {
        tokio::task::yield_now().await;
    }
    (gate, provider)
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_new_key_and_are_accepted() {
    let (old, new) = (jwk("entra-v2", &ENTRA_V2), jwk("next", &LONGER));
    let (gate, provider) = gate(HOUR, [vec![old.clone()], vec![old, new]]).await;
    let token = Token::v2().kid("next").signed_by(&LONGER).signed();
    let judged = join_all((0..100).map(|_| gate.verifier.verify(&token))).await;
    assert!(judged.iter().all(Result::is_ok), "{judged:?}");
    assert_eq!(provider.fetches(), 2);
    assert!(gate.verifier.remembered(&token).is_some());
}

#[tokio::test(start_paused = true)]
async fn forged_key_ids_cost_one_fetch_and_are_refused() {
    let old = jwk("entra-v2", &ENTRA_V2);
    let (gate, provider) = gate(HOUR, [vec![old]]).await;
    let tokens: Vec<String> = (0..50)
        .map(|n| {
            let token = Token::v2().kid(format!("forged {n}"));
            token.signed_by(&ATTACKER).signed()
        })
        .collect();
    for _ in 0..2 {
        let judged = join_all(tokens.iter().map(|token| gate.verifier.verify(token))).await;
        assert_eq!(judged, vec![Err(Rejection::UnknownKey); 50]);
    }
    assert_eq!(provider.fetches(), 2);
    assert_eq!(gate.issuer(&v2(TENANT)).keys.suppressed(Suppressed::InVain), 50);
    // Good tokens are judged all the while.
    assert_eq!(gate.judge(&Token::v2().signed()).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_forged_key_id_is_remembered_beyond_the_cool_down() {
    let (gate, provider) = gate(Duration::ZERO, [vec![jwk("entra-v2", &ENTRA_V2)]]).await;
    for (kid, fetches) in [("one", 2), ("one", 2), ("another", 3), ("one", 3), ("another", 3)] {
        assert_eq!(gate.judge(&Token::v2().kid(kid).signed()).await, "key");
        assert_eq!(provider.fetches(), fetches, "{kid}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_withdrawn_opens_nothing_any_more() {
    let (old, new) = (jwk("entra-v2", &ENTRA_V2), jwk("next", &LONGER));
    let (gate, _) = gate(HOUR, [vec![old], vec![new]]).await;
    let token = Token::v2().signed();
    assert_eq!(gate.judge(&token).await, OK);
    // A token of the new key brings the set in which the old one is missing.
    let next = Token::v2().kid("next").signed_by(&LONGER);
    assert_eq!(gate.judge(&next.signed()).await, OK);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, "key");
}
