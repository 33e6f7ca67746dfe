//! What every store of jobs promises of their items: taken in order, by one, and not too many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;

use super::jobs::{Pair, id, job, state};
use crate::model::job::{Counts, Failure, JobStatus};
use crate::store::jobs::{Claim, FileRef, JobStore, Lead, Outcome, Part, Submitted};

/// The suite; `fresh` makes a store in which nothing is.
pub(crate) async fn run(fresh: impl AsyncFn() -> Pair) {
    what_is_planned_stays(&*fresh().await[0]).await;
    items_come_in_order_and_not_too_many(&*fresh().await[0]).await;
    an_item_that_was_lost_is_anothers(&*fresh().await[0]).await;
    what_became_of_items_is_counted(&*fresh().await[0]).await;
    of_many_each_item_is_taken_once(fresh().await).await;
    who_loses_an_item_at_the_last_moment_is_told(fresh().await).await;
    what_is_broken_off_is_done_whole_or_not_at_all(&*fresh().await[0]).await;
    gateways_know_how_many_they_are(&*fresh().await[0]).await;
    ten_thousand_items_of_ten_files_are_planned_and_counted(&*fresh().await[0]).await;
}

async fn gateways_know_how_many_they_are(store: &dyn JobStore) {
    assert_eq!(store.present("a", (10, 20)).await.unwrap(), 1);
    assert_eq!(store.present("b", (11, 21)).await.unwrap(), 2);
    assert_eq!(store.present("a", (12, 22)).await.unwrap(), 2);
    assert_eq!(store.present("a", (21, 31)).await.unwrap(), 1, "one that says nothing is forgotten");
    assert_eq!(store.present("b", (22, 32)).await.unwrap(), 2);
    assert_eq!(store.present("b", (23, 0)).await.unwrap(), 1, "and so is one that says that it goes");
}

pub(super) fn files(item: u64) -> Vec<FileRef> {
    let file = |n| FileRef { path: format!("in/{item}/{n}.csv"), name: format!("{item}/{n}.csv"), size: n };
    (0..2).map(file).collect()
}

pub(super) fn items(range: std::ops::Range<u64>) -> Vec<Vec<FileRef>> {
    range.map(files).collect()
}

pub(super) fn part(rows: u64) -> Part {
    let (failures, bytes_read, bytes_written) = (1, 10 * rows, 20 * rows);
    let failure = |code: &str| Failure { code: code.to_owned(), message: "m".to_owned() };
    Part {
        object: Some(format!("o{rows}")),
        rows,
        failures,
        bytes_read,
        bytes_written,
        told: vec![failure("f")],
    }
}

pub(super) fn indices(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.index).collect()
}

/// Keeps a job, takes its lead until 1,000,000, plans so many items and has it run.
pub(super) async fn running(store: &dyn JobStore, name: &str, many: u64) -> Lead {
    let made = store.submit(&job(name, 1), None).await.unwrap();
    assert!(matches!(made, Submitted::New(_)), "{made:?}");
    let lead = store.lead(0, 1_000_000).await.unwrap().unwrap();
    assert_eq!(lead.job.spec.name.as_str(), name);
    assert!(store.plan(&lead, 0, &items(0..many)).await.unwrap());
    assert!(store.note(&lead, &state(JobStatus::Running), Some("still sealed")).await.unwrap());
    lead
}

pub(super) async fn claim(store: &dyn JobStore, lead: &Lead, now: i64, most: u32) -> Vec<Claim> {
    store.claim(&id(&lead.job), (now, now + 100), most, 1_000).await.unwrap()
}

async fn what_is_planned_stays(store: &dyn JobStore) {
    store.submit(&job("j", 1), None).await.unwrap();
    let lead = store.lead(0, 10).await.unwrap().unwrap();
    let place = id(&lead.job);
    assert!(store.plan(&lead, 0, &[]).await.unwrap());
    assert!(store.plan(&lead, 0, &items(0..700)).await.unwrap());
    // Whoever leads next plans again what he finds, which may be other files by then.
    let next = store.lead(10, 1_000).await.unwrap().unwrap();
    assert!(store.plan(&next, 0, &items(5_000..5_600)).await.unwrap());
    assert!(store.plan(&next, 600, &items(600..1_300)).await.unwrap());
    let counts = store.counts(&place).await.unwrap();
    assert_eq!(counts, Counts { mini_batches: 1_300, files: 2_600, ..Counts::default() });
    assert_eq!(claim(store, &next, 0, 9).await, [], "not before it runs");
    assert!(store.note(&next, &state(JobStatus::Running), None).await.unwrap());
    assert_eq!(store.running(9).await.unwrap(), [store.job(&place).await.unwrap().unwrap()]);
    let mut claims = claim(store, &next, 0, 1_000).await;
    claims.extend(store.claim(&place, (0, 9), 1_000, 2_000).await.unwrap());
    assert_eq!(indices(&claims), (0..1_300).collect::<Vec<_>>());
    assert!(claims.iter().all(|claim| claim.files == files(claim.index)), "what was there stays as it was");
}

async fn items_come_in_order_and_not_too_many(store: &dyn JobStore) {
    let lead = running(store, "j", 10).await;
    let place = id(&lead.job);
    let take = async |now: i64, most: u32, in_all: u32| {
        store.claim(&place, (now, now + 10), most, in_all).await.unwrap()
    };
    let first = take(0, 3, 5).await;
    assert_eq!(indices(&first), [0, 1, 2]);
    let expected = Claim { job: place.clone(), index: 0, attempt: 1, failed: 0, files: files(0) };
    assert_eq!(first[0], expected);
    assert_eq!(indices(&take(1, 9, 5).await), [3, 4], "five are held");
    assert_eq!(take(2, 9, 5).await, []);
    assert_eq!(take(2, 9, 2).await, [], "fewer than are held");
    // One that is done with makes room; one that waits makes room and is passed over until its time.
    assert!(store.settle(&first[1], &Outcome::Done(part(1))).await.unwrap());
    assert!(store.settle(&first[0], &Outcome::Again { not_before: 5 }).await.unwrap());
    assert!(store.settle(&first[2], &Outcome::GivenUp).await.unwrap());
    let next = take(3, 2, 5).await;
    assert_eq!(indices(&next), [2, 5]);
    assert_eq!((next[0].attempt, next[0].failed), (2, 0), "given up is not failed");
    let again = take(5, 9, 5).await;
    assert_eq!(indices(&again), [0]);
    assert_eq!((again[0].attempt, again[0].failed), (2, 1));
    assert_eq!(store.claim(&id(&job("nobody", 1)), (0, 9), 9, 9).await.unwrap(), []);
}

async fn an_item_that_was_lost_is_anothers(store: &dyn JobStore) {
    let lead = running(store, "j", 4).await;
    let place = id(&lead.job);
    let take = async |times: (i64, i64), most: u32, in_all: u32| {
        store.claim(&place, times, most, in_all).await.unwrap()
    };
    let first = take((0, 10), 2, 9).await;
    assert_eq!(store.keep_claims(&first, 20).await.unwrap(), []);
    assert_eq!(indices(&take((10, 30), 9, 3).await), [2], "kept in time");
    let second = take((20, 30), 1, 3).await;
    assert_eq!(indices(&second), [0]);
    assert_eq!(
        (second[0].attempt, second[0].failed),
        (2, 0),
        "a holder that was lost is no failure of the item"
    );
    for outcome in
        [Outcome::Done(part(9)), Outcome::Failed(part(9)), Outcome::Again { not_before: 0 }, Outcome::GivenUp]
    {
        assert!(!store.settle(&first[0], &outcome).await.unwrap(), "{outcome:?}");
    }
    // What nobody has taken yet is not his any more either: otherwise more could be held than may be.
    assert_eq!(store.keep_claims(&first, 90).await.unwrap(), first);
    assert!(!store.settle(&first[1], &Outcome::Done(part(9))).await.unwrap());
    assert_eq!(store.ended(&place, 0, 9).await.unwrap(), []);
    // Late, but nobody asked meanwhile.
    assert!(store.settle(&second[0], &Outcome::Done(part(2))).await.unwrap());
    let ended = store.ended(&place, 0, 9).await.unwrap();
    assert_eq!((ended.len(), &ended[0].part), (1, &part(2)));
    // Said again, because the answer was lost, it is so; something else is not.
    assert!(store.settle(&second[0], &Outcome::Done(part(2))).await.unwrap());
    assert!(!store.settle(&second[0], &Outcome::Failed(part(2))).await.unwrap());
    assert!(!store.settle(&second[0], &Outcome::GivenUp).await.unwrap());
    assert_eq!(store.keep_claims(&second, 90).await.unwrap(), second);
    assert_eq!(store.keep_claims(&[], 90).await.unwrap(), []);
    assert_eq!(store.ended(&place, 0, 9).await.unwrap(), ended);
}

async fn what_became_of_items_is_counted(store: &dyn JobStore) {
    let lead = running(store, "j", 6).await;
    let place = id(&lead.job);
    let held = claim(store, &lead, 0, 5).await;
    let nothing = Part { object: None, told: Vec::new(), failures: 0, ..part(0) };
    let settle = async |n: usize, outcome: Outcome| assert!(store.settle(&held[n], &outcome).await.unwrap());
    settle(3, Outcome::Done(part(7))).await;
    settle(0, Outcome::Done(part(5))).await;
    settle(2, Outcome::Failed(nothing.clone())).await;
    settle(1, Outcome::Again { not_before: 0 }).await;
    let again = claim(store, &lead, 0, 1).await;
    assert!(store.settle(&again[0], &Outcome::Failed(part(1))).await.unwrap());
    let expected = Counts {
        mini_batches: 6,
        done: 2,
        failed: 2,
        files: 12,
        failures: 3,
        rows: 13,
        retries: 1,
        bytes_read: 130,
        bytes_written: 260,
    };
    assert_eq!(store.counts(&place).await.unwrap(), expected);
    let ended = store.ended(&place, 0, 9).await.unwrap();
    let parts: Vec<_> = ended.iter().map(|one| (one.index, one.done, one.part.clone())).collect();
    assert_eq!(parts, [(0, true, part(5)), (1, false, part(1)), (2, false, nothing), (3, true, part(7))]);
    assert_eq!(store.ended(&place, 1, 2).await.unwrap(), ended[1..3]);
    assert_eq!(store.ended(&place, 4, 9).await.unwrap(), []);
    assert_eq!(store.counts(&id(&job("nobody", 1))).await.unwrap(), Counts::default());
    assert_eq!(store.ended(&id(&job("nobody", 1)), 0, 9).await.unwrap(), []);
}

async fn of_many_each_item_is_taken_once(stores: Pair) {
    const ITEMS: u64 = 80;
    const IN_ALL: u32 = 6;
    let lead = running(&*stores[0], "j", ITEMS).await;
    let (place, held) = (id(&lead.job), Arc::new(AtomicI64::new(0)));
    let workers = (0..16_usize).map(|n| {
        let (store, place, held) = (stores[n % 2].clone(), place.clone(), held.clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while store.counts(&place).await.unwrap().done < ITEMS {
                let claims = store.claim(&place, (0, 1_000), 2, IN_ALL).await.unwrap();
                assert!(claims.is_sorted_by_key(|claim| claim.index));
                let took = i64::try_from(claims.len()).unwrap();
                assert!(
                    held.fetch_add(took, Ordering::SeqCst) + took <= i64::from(IN_ALL),
                    "too many at once"
                );
                for claim in claims {
                    // Counted as gone before it is, so that this never counts one too many.
                    held.fetch_sub(1, Ordering::SeqCst);
                    assert!(store.settle(&claim, &Outcome::Done(part(claim.index))).await.unwrap());
                    mine.push((claim.index, claim.attempt));
                }
            }
            mine
        })
    });
    let mut taken: Vec<_> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..ITEMS).map(|index| (index, 1)).collect::<Vec<_>>());
}

async fn who_loses_an_item_at_the_last_moment_is_told(stores: Pair) {
    const ROUNDS: u64 = 24;
    let lead = running(&*stores[0], "j", ROUNDS + 1).await;
    let place = id(&lead.job);
    for round in 0..ROUNDS {
        let mine = stores[0].claim(&place, (0, 10), 1, 1).await.unwrap().remove(0);
        assert_eq!(mine.index, round);
        let attempt = mine.attempt;
        let (one, other, at) = (stores[0].clone(), stores[1].clone(), place.clone());
        let settling = tokio::spawn(async move { one.settle(&mine, &Outcome::Done(part(1))).await.unwrap() });
        let claiming = tokio::spawn(async move { other.claim(&at, (10, 20), 1, 1).await.unwrap() });
        let (settled, theirs) = (settling.await.unwrap(), claiming.await.unwrap().remove(0));
        // Either it was done with and the next one is taken, or it is another's.
        let outcome = if settled {
            assert_eq!(theirs.index, round + 1);
            Outcome::GivenUp
        } else {
            assert_eq!((theirs.index, theirs.attempt), (round, attempt + 1));
            Outcome::Done(part(1))
        };
        assert!(stores[1].settle(&theirs, &outcome).await.unwrap());
    }
    assert_eq!(stores[0].counts(&place).await.unwrap().done, ROUNDS);
}

async fn what_is_broken_off_is_done_whole_or_not_at_all(store: &dyn JobStore) {
    const ITEMS: u64 = 1_200;
    let lead = running(store, "j", 0).await;
    let place = id(&lead.job);
    for round in 0..12 {
        let first = round * ITEMS;
        let many = items(first..first + ITEMS);
        let planning = store.plan(&lead, first, &many);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(2 * round), planning).await;
        assert_eq!(store.counts(&place).await.unwrap().mini_batches % ITEMS, 0, "round {round}");
        let taking = store.claim(&place, (0, 9), 7, 1_000_000);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(500 * round), taking).await;
    }
    assert!(store.plan(&lead, 0, &items(0..12 * ITEMS)).await.unwrap());
    assert_eq!(store.counts(&place).await.unwrap().mini_batches, 12 * ITEMS);
    let rest = store.claim(&place, (9, 20), 1_000, 1_000).await.unwrap();
    assert_eq!(indices(&rest), (0..1_000).collect::<Vec<_>>());
}

async fn ten_thousand_items_of_ten_files_are_planned_and_counted(store: &dyn JobStore) {
    const ITEMS: u64 = 10_000;
    let lead = running(store, "j", 0).await;
    let file = |item: u64, n: u64| FileRef {
        path: format!("datasets/2026/measurements/part-{item:05}/file-{n}.csv"),
        name: format!("part-{item:05}/file-{n}.csv"),
        size: 100_000,
    };
    let many: Vec<Vec<FileRef>> = (0..ITEMS).map(|item| (0..10).map(|n| file(item, n)).collect()).collect();
    let began = std::time::Instant::now();
    assert!(store.plan(&lead, 0, &many).await.unwrap());
    let planned = began.elapsed();
    let began = std::time::Instant::now();
    let counts = store.counts(&id(&lead.job)).await.unwrap();
    println!("{ITEMS} items planned in {planned:?}, counted in {:?}", began.elapsed());
    assert_eq!(counts, Counts { mini_batches: ITEMS, files: 10 * ITEMS, ..Counts::default() });
    let claims = claim(store, &lead, 0, 100).await;
    assert_eq!((claims.len(), &claims[99].files), (100, &many[99]));
}
