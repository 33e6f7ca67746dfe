//! An issuer's keys over time, from a provider that says what a test lets it say.
//!
//! Tokio's time is paused: it jumps to the next timer when nothing else is left to do. The cool-down is measured on
//! the machine's clock, so here it is none at all or an hour.

mod discovery;
mod provider;
mod remembering;
mod requests;
mod sets;

use super::*;
use provider::{NOW, Provider, Running, TIMES, entra, is_found, is_unavailable, refresher, set};

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_at_the_start_and_again_and_again() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a", "b"])), Some(set(&["b"]))]);
    let mut running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    assert!(is_found(keys, "a") && !is_found(keys, "b"));
    running.next_fetch().await;
    let keys = &running.issuer.keys;
    assert!(is_found(keys, "a") && is_found(keys, "b"));
    running.next_fetch().await;
    let keys = &running.issuer.keys;
    assert!(!is_found(keys, "a") && is_found(keys, "b"));
    assert_eq!((provider.fetches(), keys.suppressed(Suppressed::InVain)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_at_the_start_is_asked_until_it_answers() {
    let provider = Provider::of_entra([None, None, Some(set(&["a"]))]);
    let mut running = Running::entra(&provider).await;
    assert!(is_unavailable(&running.issuer.keys, "a", NOW));
    assert_eq!(running.issuer.keys.age(NOW), None);
    running.next_fetch().await;
    assert!(is_unavailable(&running.issuer.keys, "a", NOW));
    running.next_fetch().await;
    assert!(is_found(&running.issuer.keys, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_good_set_stays_while_the_provider_is_away_but_not_for_ever() {
    let provider = Provider::of_entra([Some(set(&["a"])), None]);
    let mut running = Running::entra(&provider).await;
    running.next_fetch().await;
    running.next_fetch().await;
    let (keys, end) = (&running.issuer.keys, NOW + TIMES.max_stale.as_secs().cast_signed());
    assert!(matches!(keys.look_up("a", end), Lookup::Found(_)) && keys.is_usable(end));
    assert!(matches!(keys.look_up("b", end), Lookup::Unknown));
    assert!(is_unavailable(keys, "a", end + 1) && is_unavailable(keys, "b", end + 1));
    assert!(!keys.is_usable(end + 1));
    assert_eq!(keys.age(end), Some(end - NOW));
}

#[tokio::test(start_paused = true)]
async fn the_same_set_again_makes_it_fresh_and_changes_nothing() {
    let provider = Provider::of_entra([Some(set(&["a", "b"])), Some(set(&["b", "a"])), Some(set(&["b"]))]);
    let clock = Arc::new(crate::clock::ManualClock::at(NOW));
    let refresher = Refresher { clock: clock.clone(), ..refresher(&entra(), &provider, None) };
    let mut running = Running::start(refresher).await;
    let before = running.issuer.keys.generation();
    clock.set(NOW + 3600);
    running.next_fetch().await;
    let keys = &running.issuer.keys;
    assert_eq!((keys.generation(), keys.age(NOW + 3600)), (before, Some(0)));
    running.next_fetch().await;
    assert_eq!(running.issuer.keys.generation(), before + 1);
}

#[test]
fn refreshes_are_spread_and_keep_to_half_of_a_shorter_max_age() {
    let refresher = refresher(&entra(), &Provider::of_entra([None]), None);
    for (max_age, least, most) in [
        (None, 54 * 60, 66 * 60),
        (Some(24 * 3600), 54 * 60, 66 * 60),
        (Some(7200), 54 * 60, 66 * 60),
        (Some(600), 270, 330),
        (Some(0), 0, 2),
    ] {
        let pauses = (0..100).map(|_| refresher.pause(max_age.map(Duration::from_secs)));
        for pause in pauses {
            let expected = Duration::from_secs(least)..=Duration::from_secs(most);
            assert!(expected.contains(&pause) && !pause.is_zero(), "{max_age:?}: {pause:?}");
        }
    }
}
