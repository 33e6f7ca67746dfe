//! The memory of tokens that passed.

use std::sync::Arc;
use std::time::Duration;

use super::forge::{ATTACKER, CI, ENTRA_V2, Gate, LONGER, MAX_STALE_S, NOW, TENANT, Token, jwk, v1, v2};
use super::{OK, Rejection, cut, judged, row};

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
