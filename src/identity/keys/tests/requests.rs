//! Requests with key ids that the set does not have.

use futures_util::future::join_all;

use super::provider::until;
use super::*;

/// The last refresh is always long enough ago.
const NO_COOL_DOWN: Duration = Duration::ZERO;
/// It never is.
const LONG_COOL_DOWN: Duration = Duration::from_hours(1);

/// How often no refresh was made: for the cool-down, for an id looked for in vain.
fn suppressed(keys: &KeyCell) -> [u64; 2] {
    Suppressed::ALL.map(|why| keys.suppressed(why))
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_brings_the_key_that_has_just_been_published() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a", "b"]))]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    assert!(!is_found(keys, "b"));
    assert!(keys.refresh_for("b", NO_COOL_DOWN).await);
    assert!(is_found(keys, "b"));
    assert_eq!((provider.fetches(), suppressed(keys)), (2, [0, 0]));
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_fetch_and_all_get_the_key() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a", "b"]))]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    let request = || async {
        assert!(!is_found(keys, "b"));
        keys.refresh_for("b", NO_COOL_DOWN).await && is_found(keys, "b")
    };
    provider.close();
    let early = join_all((0..50).map(|_| request()));
    let late = async {
        until(|| provider.fetches() == 2).await;
        // The fetch is under way; whoever comes now waits for it too.
        let (found, ()) = tokio::join!(join_all((0..50).map(|_| request())), async {
            tokio::task::yield_now().await;
            provider.open();
        });
        found
    };
    let (early, late) = tokio::join!(early, late);
    assert_eq!([early, late].concat(), [true; 100]);
    assert_eq!((provider.fetches(), suppressed(keys)), (2, [0, 0]));
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_ask_once_within_the_cool_down_however_many_they_are() {
    let provider = Provider::of_entra([Some(set(&["a"]))]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    let first = join_all((0..100).map(|n| async move {
        let kid = format!("forged {n}");
        keys.refresh_for(&kid, LONG_COOL_DOWN).await
    }));
    assert_eq!(first.await, [true; 100], "all wait for the one that is made");
    for n in 0..100 {
        let kid = format!("forged again {n}");
        assert!(!keys.refresh_for(&kid, LONG_COOL_DOWN).await);
    }
    assert_eq!((provider.fetches(), suppressed(keys)), (2, [100, 0]));
    // After it, one more.
    assert!(keys.refresh_for("forged at last", NO_COOL_DOWN).await);
    assert_eq!((provider.fetches(), suppressed(keys)), (3, [100, 0]));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_looked_for_in_vain_does_not_ask_again() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a"])), Some(set(&["a", "b"]))]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    assert!(keys.refresh_for("x", NO_COOL_DOWN).await);
    keys.in_vain("x");
    assert!(!keys.refresh_for("x", NO_COOL_DOWN).await);
    assert_eq!((provider.fetches(), suppressed(keys)), (2, [0, 1]));
    // Another id does. It brings another set, in which the first may be.
    assert!(keys.refresh_for("b", NO_COOL_DOWN).await);
    assert!(is_found(keys, "b"));
    assert!(keys.refresh_for("x", NO_COOL_DOWN).await);
    assert_eq!((provider.fetches(), suppressed(keys)), (4, [0, 1]));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_looked_for_in_vain_waits_for_no_fetch_of_others() {
    let provider = Provider::of_entra([Some(set(&["a"]))]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    keys.in_vain("x");
    provider.close();
    let before = tokio::time::Instant::now();
    let refused = async {
        until(|| provider.fetches() == 2).await;
        let waited = keys.refresh_for("x", NO_COOL_DOWN).await;
        (waited, before.elapsed())
    };
    let (_, refused) = tokio::join!(keys.refresh_for("y", NO_COOL_DOWN), refused);
    assert_eq!(refused, (false, Duration::ZERO));
}

#[test]
fn ids_looked_for_in_vain_are_remembered_up_to_a_number() {
    let keys = KeyCell::default();
    for n in 0..UNKNOWN_MOST + 500 {
        keys.in_vain(&n.to_string());
    }
    let wishes = keys.wishes.lock();
    assert_eq!(wishes.unknown.len(), 1000);
    assert!(wishes.unknown.contains_key("0") && !wishes.unknown.contains_key("1000"));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_two_seconds_and_the_fetch_goes_on_without_it() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a", "b"]))]);
    let mut running = Running::entra(&provider).await;
    provider.close();
    let keys = &running.issuer.keys;
    let before = tokio::time::Instant::now();
    assert!(!keys.refresh_for("b", NO_COOL_DOWN).await);
    assert_eq!(before.elapsed().as_secs(), WAIT.as_secs());
    assert!(!keys.refresh_for("b", NO_COOL_DOWN).await);
    assert_eq!(provider.fetches(), 2, "the second waited for the first's fetch");
    provider.open();
    running.next_fetch().await;
    assert!(is_found(&running.issuer.keys, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_takes_nothing_with_it() {
    let provider = Provider::of_entra([Some(set(&["a"])), Some(set(&["a", "b"]))]);
    let mut running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    // Polled once, which is when it asks.
    tokio::select! {
        biased;
        _ = keys.refresh_for("b", NO_COOL_DOWN) => panic!("nothing was fetched yet"),
        () = std::future::ready(()) => {}
    }
    running.next_fetch().await;
    assert!(is_found(&running.issuer.keys, "b"));
    assert_eq!(provider.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_ends_the_wait_and_changes_nothing() {
    let provider = Provider::of_entra([Some(set(&["a"])), None]);
    let running = Running::entra(&provider).await;
    let keys = &running.issuer.keys;
    let (before, asked) = (keys.generation(), tokio::time::Instant::now());
    // Nothing came in which the id could have been, so nothing is known of it.
    assert!(!keys.refresh_for("b", NO_COOL_DOWN).await);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert!(is_found(keys, "a") && !is_found(keys, "b"));
    assert_eq!(keys.generation(), before);
}

#[tokio::test(start_paused = true)]
async fn a_request_during_the_first_fetch_waits_for_that_one() {
    let provider = Provider::of_entra([Some(set(&["a", "b"]))]);
    let issuer = entra();
    let refresher = refresher(&issuer, &provider, None);
    // As if remembered from the last run.
    let remembered = refresher.parse(set(&["a"]).to_string().as_bytes(), None).unwrap();
    issuer.keys.install(remembered, NOW, TIMES.max_stale);
    provider.close();
    let running = tokio::spawn(Running::start(refresher));
    until(|| provider.fetches() == 1).await;
    let (waited, ()) = tokio::join!(issuer.keys.refresh_for("b", NO_COOL_DOWN), async {
        provider.open();
    });
    assert!(waited && is_found(&issuer.keys, "b"));
    running.await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.fetches(), 1, "nobody needs another");
}
