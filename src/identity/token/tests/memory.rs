//! The memory of tokens that passed.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use uuid::Uuid;

use super::forge::{ATTACKER, CI, ENTRA_V2, Gate, LONGER, MAX_STALE_S, NOW, OID, TENANT, Token, jwk, v1, v2};
use super::{OK, Rejection, cut, judged, row};
use crate::identity::aml_token::{self, Issue, TokenKeys};
use crate::identity::caller::{Caller, CallerHeaders, CallerKind, Groups};
use crate::identity::claims::BadClaim;
use crate::identity::memory::{Grounds, Memory, Passed};
use crate::identity::vault::Vault;
use crate::model::role::PrincipalId;
use crate::model::scope::Scope;
use crate::model::token_key::TokenKey;

#[tokio::test]
async fn a_token_is_remembered_from_its_judgement_on() {
    let gate = Gate::new();
    let token = Token::v2().signed();
    assert_eq!(gate.verifier.remembered(&token), None);
    let caller = gate.verifier.verify(&token).await.unwrap();
    let remembered = gate.verifier.remembered(&token).unwrap();
    assert!(Arc::ptr_eq(&caller, &remembered));
    // Byte for byte: what differs in one is another token.
    assert_eq!(gate.verifier.remembered(&format!("{token}=")), None);
    assert_eq!(gate.verifier.remembered(cut(&token)), None);
}

#[tokio::test]
async fn a_token_is_forgotten_at_its_end() {
    let gate = Gate::new();
    let token = Token::v2().claim("exp", NOW + 100).signed();
    gate.verifier.verify(&token).await.unwrap();
    gate.clock.set(NOW + 100 + 59);
    assert!(gate.verifier.remembered(&token).is_some());
    gate.clock.set(NOW + 100 + 60);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, "expired");
    // A clock that goes back does not bring the entry back; the token is judged anew.
    gate.clock.set(NOW);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, OK);
}

#[tokio::test]
async fn a_token_does_not_hold_before_its_beginning() {
    let gate = Gate::new();
    let token = Token::v2().claim("nbf", NOW).signed();
    gate.verifier.verify(&token).await.unwrap();
    gate.clock.set(NOW - 60);
    assert!(gate.verifier.remembered(&token).is_some());
    gate.clock.set(NOW - 61);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, "not_yet_valid");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_forgotten_with_its_key() {
    let gate = Gate::new();
    let token = Token::v2().signed();
    gate.verifier.verify(&token).await.unwrap();
    gate.install(&v2(TENANT), &[jwk("next", &LONGER)]);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, "key");
    // Nor does another key of the same id do.
    gate.install(&v2(TENANT), &[jwk("entra-v2", &ATTACKER)]);
    assert_eq!(gate.judge(&token).await, "signature");
}

#[tokio::test]
async fn a_set_with_a_key_more_has_tokens_judged_anew() {
    let gate = Gate::new();
    let token = Token::v2().signed();
    gate.verifier.verify(&token).await.unwrap();
    gate.install(&v2(TENANT), &[jwk("entra-v2", &ENTRA_V2), jwk("next", &LONGER)]);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.judge(&token).await, OK);
}

#[tokio::test]
async fn the_same_set_again_changes_nothing() {
    let gate = Gate::new();
    let token = Token::v2().signed();
    gate.verifier.verify(&token).await.unwrap();
    // In another order, as providers do.
    gate.install(&v2(TENANT), &[jwk("shared", &ENTRA_V2), jwk("entra-v2", &ENTRA_V2)]);
    assert!(gate.verifier.remembered(&token).is_some());
}

#[tokio::test]
async fn another_issuers_keys_do_not_matter() {
    let gate = Gate::new();
    let token = Token::v2().signed();
    gate.verifier.verify(&token).await.unwrap();
    gate.install(&v1(TENANT), &[jwk("next", &LONGER)]);
    gate.install(CI, &[jwk("next", &LONGER)]);
    assert!(gate.verifier.remembered(&token).is_some());
}

#[tokio::test]
async fn keys_that_are_too_old_open_nothing() {
    let gate = Gate::new();
    let token = Token::v2()
        .claim("iat", NOW + MAX_STALE_S)
        .claim("nbf", NOW + MAX_STALE_S)
        .claim("exp", NOW + MAX_STALE_S + 3600)
        .signed();
    gate.clock.set(NOW + MAX_STALE_S);
    assert_eq!(gate.judge(&token).await, OK);
    gate.clock.set(NOW + MAX_STALE_S + 1);
    assert_eq!(gate.verifier.remembered(&token), None);
    assert_eq!(gate.verifier.verify(&token).await, Err(Rejection::Unavailable));
    assert_eq!(gate.judge(&token).await, "keys_unavailable");
}

#[tokio::test]
async fn without_keys_only_what_needs_none_is_said() {
    let rows = vec![
        row("good", Token::v2(), "keys_unavailable"),
        row("of another issuer", Token::ci(), "keys_unavailable"),
        row("unknown key", Token::v2().kid("entra-v3"), "keys_unavailable"),
        row("forged", Token::v2().signed_by(&ATTACKER), "keys_unavailable"),
        row("past its end", Token::v2().claim("exp", NOW - 60), "expired"),
        row("of nobody", Token::v2().claim("iss", "https://evil.example"), "issuer"),
        row("none", Token::v2().header("alg", "none"), "algorithm"),
    ];
    judged(&Gate::without_keys(Duration::ZERO, Duration::ZERO), rows).await;
}

#[tokio::test]
async fn of_requests_with_a_forged_token_at_once_none_passes() {
    let gate = Gate::new();
    let forged = Token::v2().signed_by(&ATTACKER).signed();
    let judged = join_all((0..64).map(|_| gate.verifier.caller(&forged))).await;
    assert_eq!(judged, vec![Err(Rejection::Signature); 64]);
}

fn caller() -> Caller {
    let (object_id, kind) = (PrincipalId(OID), CallerKind::User);
    Caller {
        object_id,
        tenant: None,
        kind,
        app_id: None,
        groups: Groups::Known(Box::default()),
        token_id: None,
        expires: NOW + 100,
        not_before: NOW,
        headers: CallerHeaders::of(object_id, kind, None),
    }
}

/// A second request comes while the first one's token is being judged: it waits, and judges nothing itself.
#[tokio::test]
async fn of_requests_with_one_token_at_once_one_judges() {
    let gate = Gate::new();
    let issuer = gate.issuers[0].clone();
    let memory = Arc::new(Memory::new(1 << 20));
    let (entered, enter) = mpsc::channel();
    let (go, going) = mpsc::channel();
    let first = std::thread::spawn({
        let memory = memory.clone();
        move || {
            let judge = || {
                entered.send(()).unwrap();
                going.recv().unwrap();
                Ok::<_, Rejection>(Passed { caller: Arc::new(caller()), grounds: Grounds::Issuer(issuer, 0) })
            };
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(memory.judge("token", NOW, |_| true, judge))
                .unwrap()
        }
    });
    enter.recv().unwrap();
    let second =
        memory.judge("token", NOW, |_| true, || -> Result<Passed, Rejection> { panic!("judged twice") });
    let mut second = Box::pin(second);
    assert!(poll_immediate(&mut second).await.is_none(), "it does not wait");
    // Another token's judgement goes on meanwhile.
    let other = memory.judge("other", NOW, |_| true, || Err(Rejection::Signature));
    assert!(other.await.is_err());
    go.send(()).unwrap();
    let (first, second) = (first.join().unwrap(), second.await.unwrap());
    assert!(Arc::ptr_eq(&first.caller, &second.caller));
}

/// Two signing keys and a token of the first for an endpoint in its first epoch.
fn own() -> (TokenKey, TokenKey, Scope, String) {
    let vault = Vault::ephemeral().unwrap();
    let [old, new] = [0, 1].map(|made| aml_token::make_key(&vault, made).unwrap());
    let endpoint: Scope = "/subscriptions/a".parse().unwrap();
    let caller = caller();
    let what = Issue { endpoint: &endpoint, epoch: FIRST, caller: &caller, now: NOW, lifetime: 100 };
    let token = aml_token::issue(&vault, &old, what).unwrap();
    (old, new, endpoint, token)
}

/// Epochs of an endpoint.
const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

#[tokio::test]
async fn an_issued_token_is_remembered_for_its_endpoint_and_epoch() {
    let (old, _, endpoint, token) = own();
    let (gate, keys) = (Gate::new(), TokenKeys::of(vec![&old]));
    let issued = |at, epoch| gate.verifier.issued(&keys, &token, at, epoch);
    let first = issued(&endpoint, FIRST).await.unwrap();
    assert!(Arc::ptr_eq(&first, &issued(&endpoint, FIRST).await.unwrap()));
    // What is remembered is that the token is genuine, not that it opens whatever is asked for.
    let other = "/subscriptions/b".parse().unwrap();
    assert_eq!(issued(&other, FIRST).await, Err(Rejection::WrongEndpoint));
    assert_eq!(issued(&endpoint, SECOND).await, Err(Rejection::Revoked));
    assert!(Arc::ptr_eq(&first, &issued(&endpoint, FIRST).await.unwrap()));
    assert!(gate.verifier.is_for_another(&keys, &token, &other).await);
    assert!(!gate.verifier.is_for_another(&keys, &token, &endpoint).await);
    assert!(!gate.verifier.is_for_another(&keys, &Token::v2().signed(), &endpoint).await);
}

#[tokio::test]
async fn an_issued_token_is_forgotten_at_its_end_and_with_its_key() {
    let (old, new, endpoint, token) = own();
    let gate = Gate::new();
    let issued = async |keys: &[&TokenKey]| {
        let keys = TokenKeys::of(keys.to_vec());
        gate.verifier.issued(&keys, &token, &endpoint, FIRST).await
    };
    let first = issued(&[&old]).await.unwrap();
    // A snapshot later, and beside a new key.
    assert!(Arc::ptr_eq(&first, &issued(&[&old, &new]).await.unwrap()));
    assert_eq!(issued(&[&new]).await, Err(Rejection::UnknownKey));
    let renamed = TokenKey { id: old.id.clone(), ..new.clone() };
    issued(&[&old]).await.unwrap();
    assert_eq!(issued(&[&renamed]).await, Err(Rejection::Signature));
    issued(&[&old]).await.unwrap();
    gate.clock.set(NOW + 100 + 60);
    assert_eq!(issued(&[&old]).await, Err(Rejection::Claim(BadClaim::Expired)));
    gate.clock.set(NOW - 61);
    assert_eq!(issued(&[&old]).await, Err(Rejection::Claim(BadClaim::NotYetValid)));
}

#[tokio::test]
async fn a_token_that_passed_as_one_kind_is_not_taken_for_the_other() {
    let (old, _, endpoint, issued) = own();
    let (gate, keys) = (Gate::new(), TokenKeys::of(vec![&old]));
    let of_entra = Token::v2().signed();
    for _ in 0..2 {
        gate.verifier.issued(&keys, &issued, &endpoint, FIRST).await.unwrap();
        assert_eq!(gate.verifier.caller(&issued).await, Err(Rejection::UnknownIssuer));
        gate.verifier.caller(&of_entra).await.unwrap();
        let judged = gate.verifier.issued(&keys, &of_entra, &endpoint, FIRST).await;
        assert_eq!(judged, Err(Rejection::UnknownKey));
    }
}
