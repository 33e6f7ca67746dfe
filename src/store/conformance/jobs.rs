//! What every store of jobs promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use uuid::Uuid;

use crate::model::batch::BatchSettings;
use crate::model::job::{Counts, Data, DataKind, Failure, JobName, JobSpec, JobState, JobStatus, Owner};
use crate::model::role::PrincipalId;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::store::jobs::{Claim, FileRef, JobFilter, JobStore, KeptJob, Lead, Outcome, Part, Submitted};

/// One store, as two processes have it.
type Pair = [Arc<dyn JobStore>; 2];

/// The suite; `fresh` makes a store in which nothing is.
pub(crate) async fn run(fresh: impl AsyncFn() -> Pair) {
    a_request_makes_one_job(fresh().await).await;
    a_name_is_one_jobs(&*fresh().await[0]).await;
    lists_are_newest_first(&*fresh().await[0]).await;
    the_oldest_is_led_first_and_by_one(fresh().await).await;
    a_lead_that_was_lost_says_nothing_more(&*fresh().await[0]).await;
    nothing_comes_after_the_end(&*fresh().await[0]).await;
    a_wish_to_stop_is_not_lost(fresh().await).await;
    what_is_planned_stays(&*fresh().await[0]).await;
    items_come_in_order_and_not_too_many(&*fresh().await[0]).await;
    an_item_that_was_lost_is_anothers(&*fresh().await[0]).await;
    what_became_of_items_is_counted(&*fresh().await[0]).await;
    of_many_each_item_is_taken_once(fresh().await).await;
    who_loses_an_item_at_the_last_moment_is_told(fresh().await).await;
    ten_thousand_items_of_ten_files_are_planned_and_counted(&*fresh().await[0]).await;
}

fn workspace(name: &str) -> WorkspaceRef {
    WorkspaceRef { subscription: "S".to_owned(), resource_group: "default".to_owned(), name: name.to_owned() }
}

/// A job by this name, made at this time.
fn job(name: &str, created: i64) -> KeptJob {
    let data = |uri: &str| Data { name: "d".to_owned(), kind: DataKind::UriFolder, uri: uri.to_owned() };
    let spec = JobSpec {
        name: name.parse().unwrap(),
        workspace: workspace("Ws"),
        endpoint: "Batch-ep".parse().unwrap(),
        deployment: "Blue".parse().unwrap(),
        experiment: String::new(),
        description: "it's \"quoted\" and has a \0".to_owned(),
        tags: [("a".to_owned(), "ä".to_owned())].into(),
        properties: std::collections::BTreeMap::new(),
        input: data("azureml://datastores/a/paths/in"),
        output: data("azureml://datastores/a/paths/out"),
        settings: BatchSettings::default(),
        owner: Owner {
            object_id: PrincipalId(Uuid::from_u128(1)),
            tenant: None,
            kind: "User".to_owned(),
            app_id: None,
            groups: None,
        },
        grounds: Vec::new(),
        revision: 3,
        request_id: "r".to_owned(),
        created,
    };
    KeptJob { spec, state: JobState::accepted(), cancel: false, sealed: Some("sealed".to_owned()) }
}

fn id(job: &KeptJob) -> Scope {
    job.spec.scope().unwrap()
}

fn state(status: JobStatus) -> JobState {
    JobState { status, ..JobState::accepted() }
}

fn files(item: u64) -> Vec<FileRef> {
    let file = |n| FileRef { path: format!("in/{item}/{n}.csv"), name: format!("{item}/{n}.csv"), size: n };
    (0..2).map(file).collect()
}

fn items(range: std::ops::Range<u64>) -> Vec<Vec<FileRef>> {
    range.map(files).collect()
}

fn part(rows: u64) -> Part {
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

fn indices(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.index).collect()
}

/// Keeps a job, takes its lead until 1,000,000, plans so many items and has it run.
async fn running(store: &dyn JobStore, name: &str, many: u64) -> Lead {
    let made = store.submit(&job(name, 1), None).await.unwrap();
    assert!(matches!(made, Submitted::New(_)), "{made:?}");
    let lead = store.lead("leader", 0, 1_000_000).await.unwrap().unwrap();
    assert_eq!(lead.job.spec.name.as_str(), name);
    assert!(store.plan(&lead, 0, &items(0..many)).await.unwrap());
    assert!(store.note(&lead, &state(JobStatus::Running), Some("still sealed")).await.unwrap());
    lead
}

async fn claim(store: &dyn JobStore, lead: &Lead, now: i64, most: u32) -> Vec<Claim> {
    store.claim(&id(&lead.job), "worker", (now, now + 100), most, 1_000).await.unwrap()
}

async fn a_request_makes_one_job([one, other]: Pair) {
    let store = &*one;
    let first = job("first", 1);
    assert_eq!(store.job(&id(&first)).await.unwrap(), None);
    assert_eq!(store.submit(&first, Some("r1")).await.unwrap(), Submitted::New(first.clone()));
    assert_eq!(store.job(&id(&first)).await.unwrap(), Some(first.clone()));
    // Whatever else comes under it, and however it is named.
    let again = job("again", 2);
    assert_eq!(store.submit(&again, Some("r1")).await.unwrap(), Submitted::Known(first.clone()));
    assert_eq!(store.submit(&first, Some("r1")).await.unwrap(), Submitted::Known(first.clone()));
    assert_eq!(store.job(&id(&again)).await.unwrap(), None);
    // Of somebody else, to another endpoint, in another workspace it is another request.
    let mut others = [job("o1", 1), job("o2", 1), job("o3", 1)];
    others[0].spec.owner.object_id = PrincipalId(Uuid::from_u128(2));
    others[1].spec.endpoint = "another".parse().unwrap();
    others[2].spec.workspace = workspace("another");
    for other in &others {
        assert_eq!(store.submit(other, Some("r1")).await.unwrap(), Submitted::New(other.clone()));
    }
    // An id of any length, with any character.
    let long = "r\0ä".repeat(5_000);
    assert!(matches!(store.submit(&job("long", 1), Some(&long)).await.unwrap(), Submitted::New(_)));
    assert!(matches!(store.submit(&job("long2", 1), Some(&long)).await.unwrap(), Submitted::Known(_)));

    let stores = [one, other];
    let at_once = (0..32_usize).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.submit(&job(&format!("race-{n}"), 5), Some("race")).await.unwrap() })
    });
    let (mut new, mut names) = (0, BTreeSet::new());
    for made in join_all(at_once).await {
        match made.unwrap() {
            Submitted::New(job) => {
                new += 1;
                names.insert(job.spec.name);
            }
            Submitted::Known(job) => {
                names.insert(job.spec.name);
            }
            Submitted::NameTaken => panic!("nobody else has the name"),
        }
    }
    assert_eq!((new, names.len()), (1, 1), "one job of 32 submissions");
    assert_eq!(stores[0].unfinished().await.unwrap(), 6);
}

async fn a_name_is_one_jobs(store: &dyn JobStore) {
    let made = |submitted: &Submitted| matches!(submitted, Submitted::New(_));
    assert!(made(&store.submit(&job("name", 1), Some("a")).await.unwrap()));
    assert_eq!(store.submit(&job("name", 2), Some("b")).await.unwrap(), Submitted::NameTaken);
    assert_eq!(store.submit(&job("name", 2), None).await.unwrap(), Submitted::NameTaken);
    assert_eq!(store.job(&id(&job("name", 1))).await.unwrap().unwrap().spec.created, 1);
    // As it is written, in its workspace.
    assert!(made(&store.submit(&job("Name", 3), None).await.unwrap()));
    assert_eq!(store.job(&id(&job("Name", 1))).await.unwrap().unwrap().spec.created, 3);
    let mut elsewhere = job("name", 4);
    elsewhere.spec.workspace = workspace("elsewhere");
    assert!(made(&store.submit(&elsewhere, None).await.unwrap()));
    // The rest of an id in any case.
    let shouted =
        id(&elsewhere).to_string().replace("workspaces/elsewhere/jobs", "WORKSPACES/Elsewhere/Jobs");
    assert_eq!(store.job(&shouted.parse().unwrap()).await.unwrap(), Some(elsewhere));
    assert_eq!(store.job(&workspace("elsewhere").scope().unwrap()).await.unwrap(), None, "no job's id");
    // A job that has ended keeps nothing sealed, even if it comes so.
    let mut over = job("over", 1);
    over.state.status = JobStatus::Failed;
    assert!(matches!(store.submit(&over, None).await.unwrap(), Submitted::New(KeptJob { sealed: None, .. })));
    assert_eq!(store.job(&id(&over)).await.unwrap().unwrap().sealed, None);
}

async fn lists_are_newest_first(store: &dyn JobStore) {
    let names = ["b", "B", "a-1", "a0", "a_1", "c"];
    for (n, name) in names.iter().enumerate() {
        store.submit(&job(name, if *name == "c" { 9 } else { 5 }), None).await.unwrap();
        let mut other = job(&format!("other-{n}"), 7);
        other.spec.endpoint = "other".parse().unwrap();
        other.spec.deployment = if n < 2 { "green" } else { "blue" }.parse().unwrap();
        store.submit(&other, None).await.unwrap();
        let mut elsewhere = job(name, 8);
        elsewhere.spec.workspace = workspace("elsewhere");
        store.submit(&elsewhere, None).await.unwrap();
    }
    let filter = |endpoint: Option<(&str, Option<&str>)>| JobFilter {
        workspace: workspace("wS").scope().unwrap(),
        endpoint: endpoint.map(|(name, deployment)| (name.to_owned(), deployment.map(str::to_owned))),
    };
    let list = async |filter: &JobFilter, after: Option<&str>, most: u32| {
        let after: Option<JobName> = after.map(|name| name.parse().unwrap());
        let jobs = store.jobs(filter, after.as_ref(), most).await.unwrap();
        jobs.into_iter().map(|job| job.spec.name.to_string()).collect::<Vec<_>>()
    };
    let of_endpoint = filter(Some(("batch-ep", None)));
    let mut listed = list(&of_endpoint, None, 100).await;
    assert_eq!(listed.remove(0), "c");
    let mut sorted = ["b", "B", "a-1", "a0", "a_1"];
    sorted.sort_unstable_by(|one, other| other.as_bytes().cmp(one.as_bytes()));
    assert_eq!(listed, sorted, "those of one moment by their names' bytes");
    // Page by page it is the same.
    let whole = list(&filter(None), None, 100).await;
    assert_eq!(whole.len(), 2 * names.len());
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = list(&filter(None), after.as_deref(), 5).await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        pages.extend(page);
    }
    assert_eq!(pages, whole);
    assert_eq!(list(&filter(Some(("other", None))), None, 100).await.len(), names.len());
    assert_eq!(list(&filter(Some(("other", Some("green")))), None, 100).await, ["other-1", "other-0"]);
    assert_eq!(list(&filter(Some(("other", Some("green")))), Some("other-1"), 100).await, ["other-0"]);
    assert_eq!(list(&filter(Some(("nobody", None))), None, 100).await, [""; 0]);
    assert_eq!(list(&filter(None), Some("unheard-of"), 100).await, [""; 0]);
}

async fn the_oldest_is_led_first_and_by_one([one, other]: Pair) {
    for (name, created) in [("young", 9), ("old", 1), ("middle-b", 5), ("middle-a", 5)] {
        one.submit(&job(name, created), None).await.unwrap();
    }
    let lead = one.lead("h", 10, 20).await.unwrap().unwrap();
    assert_eq!((lead.job.spec.name.as_str(), lead.holder.as_str()), ("old", "h"));
    assert_eq!(lead.job, one.job(&id(&lead.job)).await.unwrap().unwrap());
    assert_eq!(one.lead("h", 19, 30).await.unwrap().unwrap().job.spec.name.as_str(), "middle-a");
    // At its end a lease is over.
    let again = other.lead("h2", 20, 100).await.unwrap().unwrap();
    assert_eq!(again.job.spec.name.as_str(), "old");
    assert!(again.fence > lead.fence);

    let stores = [one, other];
    let at_once = (0..16_usize).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.lead(&format!("h{n}"), 1_000, 2_000).await.unwrap() })
    });
    let led: Vec<Lead> = join_all(at_once).await.into_iter().filter_map(Result::unwrap).collect();
    let names: BTreeSet<&JobName> = led.iter().map(|lead| &lead.job.spec.name).collect();
    assert_eq!((led.len(), names.len()), (4, 4), "each of four jobs is led by one of 16");
}

async fn a_lead_that_was_lost_says_nothing_more(store: &dyn JobStore) {
    store.submit(&job("j", 1), None).await.unwrap();
    let first = store.lead("a", 0, 10).await.unwrap().unwrap();
    // Kept in time, nobody takes it.
    let kept = store.keep_lead(&first, 30).await.unwrap();
    assert_eq!(kept, Some(first.job.clone()));
    assert_eq!(store.lead("b", 20, 40).await.unwrap(), None);
    // Over and not taken, it is still whose it was.
    assert!(store.note(&first, &state(JobStatus::Preparing), Some("s1")).await.unwrap());
    let second = store.lead("b", 30, 40).await.unwrap().unwrap();
    assert_eq!((second.job.state.status, second.job.sealed.as_deref()), (JobStatus::Preparing, Some("s1")));
    assert_eq!(store.keep_lead(&first, 99).await.unwrap(), None);
    assert!(!store.note(&first, &state(JobStatus::Failed), None).await.unwrap());
    assert!(!store.plan(&first, 0, &items(0..3)).await.unwrap());
    assert_eq!(store.counts(&id(&first.job)).await.unwrap(), Counts::default());
    let now = store.job(&id(&first.job)).await.unwrap().unwrap();
    assert_eq!((now.state.status, now.sealed.as_deref()), (JobStatus::Preparing, Some("s1")));
    assert!(store.note(&second, &state(JobStatus::Preparing), None).await.unwrap());
    assert_eq!(store.job(&id(&first.job)).await.unwrap().unwrap().sealed, None, "as it was said last");
    // The same holder by a later fence is another lead.
    let third = store.lead("a", 50, 60).await.unwrap().unwrap();
    assert_eq!(store.keep_lead(&first, 99).await.unwrap(), None);
    assert!(store.keep_lead(&third, 99).await.unwrap().is_some());
}

async fn nothing_comes_after_the_end(store: &dyn JobStore) {
    for (status, name) in [(JobStatus::Completed, "a"), (JobStatus::Failed, "b"), (JobStatus::Canceled, "c")]
    {
        let lead = running(store, name, 4).await;
        let (held, place) = (claim(store, &lead, 10, 1).await, id(&lead.job));
        assert_eq!((held.len(), store.unfinished().await.unwrap()), (1, 1));
        assert!(store.note(&lead, &state(status), Some("must go")).await.unwrap());
        let over = store.job(&place).await.unwrap().unwrap();
        assert_eq!((over.state.status, over.sealed.as_deref()), (status, None));
        assert_eq!(store.keep_lead(&lead, 2_000_000).await.unwrap(), None);
        assert!(!store.note(&lead, &state(JobStatus::Running), Some("s")).await.unwrap());
        assert!(!store.plan(&lead, 9, &items(9..10)).await.unwrap());
        assert_eq!(store.lead("b", 3_000_000, 4_000_000).await.unwrap(), None);
        assert_eq!(claim(store, &lead, 10_000, 9).await, []);
        assert_eq!(store.keep_claims(&held, 10_000).await.unwrap(), [0; 0]);
        assert!(!store.settle(&held[0], &Outcome::Done(part(1))).await.unwrap());
        assert_eq!(store.running(10).await.unwrap(), []);
        assert_eq!(store.cancel(&place).await.unwrap(), Some(over.clone()), "there is nothing to stop");
        assert_eq!(store.job(&place).await.unwrap(), Some(over));
        assert_eq!(
            (store.counts(&place).await.unwrap().mini_batches, store.unfinished().await.unwrap()),
            (4, 0)
        );
    }
}

async fn a_wish_to_stop_is_not_lost([one, other]: Pair) {
    let store = &*one;
    assert_eq!(store.cancel(&id(&job("nobody", 1))).await.unwrap(), None);
    let lead = running(store, "j", 4).await;
    let held = claim(store, &lead, 0, 1).await;
    let asked = store.cancel(&id(&lead.job)).await.unwrap().unwrap();
    assert!(asked.cancel && asked.state.status == JobStatus::Running);
    assert_eq!(store.cancel(&id(&lead.job)).await.unwrap(), Some(asked));
    // Whoever leads hears of it, and what he says does not undo it; what is begun may end, and nothing is begun.
    assert!(store.keep_lead(&lead, 1_000_000).await.unwrap().unwrap().cancel);
    assert!(store.note(&lead, &state(JobStatus::Running), None).await.unwrap());
    assert!(store.job(&id(&lead.job)).await.unwrap().unwrap().cancel);
    assert_eq!(claim(store, &lead, 0, 9).await, []);
    assert_eq!(store.running(9).await.unwrap(), []);
    assert_eq!(store.keep_claims(&held, 200).await.unwrap(), [0]);
    assert!(store.settle(&held[0], &Outcome::Done(part(1))).await.unwrap());
    assert!(store.note(&lead, &state(JobStatus::Canceled), None).await.unwrap());
    for round in 0..16 {
        let lead = running(store, &format!("race-{round}"), 0).await;
        let (place, asking, noting) = (id(&lead.job), one.clone(), other.clone());
        let (asked, noted) = (place.clone(), lead.clone());
        let asking = tokio::spawn(async move { asking.cancel(&asked).await.unwrap().unwrap() });
        let noting =
            tokio::spawn(
                async move { noting.note(&noted, &state(JobStatus::Completed), None).await.unwrap() },
            );
        let (asked, noted) = (asking.await.unwrap(), noting.await.unwrap());
        let now = store.job(&place).await.unwrap().unwrap();
        assert!(noted && now.state.status == JobStatus::Completed);
        assert_eq!(asked.cancel, now.cancel, "what was answered is so");
    }
}

async fn what_is_planned_stays(store: &dyn JobStore) {
    store.submit(&job("j", 1), None).await.unwrap();
    let lead = store.lead("a", 0, 10).await.unwrap().unwrap();
    let place = id(&lead.job);
    assert!(store.plan(&lead, 0, &[]).await.unwrap());
    assert!(store.plan(&lead, 0, &items(0..700)).await.unwrap());
    // Whoever leads next plans again what he finds, which may be other files by then.
    let next = store.lead("b", 10, 1_000).await.unwrap().unwrap();
    assert!(store.plan(&next, 0, &items(5_000..5_600)).await.unwrap());
    assert!(store.plan(&next, 600, &items(600..1_300)).await.unwrap());
    let counts = store.counts(&place).await.unwrap();
    assert_eq!(counts, Counts { mini_batches: 1_300, files: 2_600, ..Counts::default() });
    assert_eq!(claim(store, &next, 0, 9).await, [], "not before it runs");
    assert!(store.note(&next, &state(JobStatus::Running), None).await.unwrap());
    assert_eq!(store.running(9).await.unwrap(), [store.job(&place).await.unwrap().unwrap()]);
    let mut claims = claim(store, &next, 0, 1_000).await;
    claims.extend(store.claim(&place, "w", (0, 9), 1_000, 2_000).await.unwrap());
    assert_eq!(indices(&claims), (0..1_300).collect::<Vec<_>>());
    assert!(claims.iter().all(|claim| claim.files == files(claim.index)), "what was there stays as it was");
}

async fn items_come_in_order_and_not_too_many(store: &dyn JobStore) {
    let lead = running(store, "j", 10).await;
    let place = id(&lead.job);
    let take = async |now: i64, most: u32, in_all: u32| {
        store.claim(&place, "w", (now, now + 10), most, in_all).await.unwrap()
    };
    let first = take(0, 3, 5).await;
    assert_eq!(indices(&first), [0, 1, 2]);
    let expected =
        Claim { job: place.clone(), index: 0, attempt: 1, failed: 0, holder: "w".into(), files: files(0) };
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
    assert_eq!(store.claim(&id(&job("nobody", 1)), "w", (0, 9), 9, 9).await.unwrap(), []);
}

async fn an_item_that_was_lost_is_anothers(store: &dyn JobStore) {
    let lead = running(store, "j", 4).await;
    let place = id(&lead.job);
    let take = async |holder: &str, times: (i64, i64), most: u32, in_all: u32| {
        store.claim(&place, holder, times, most, in_all).await.unwrap()
    };
    let first = take("a", (0, 10), 2, 9).await;
    assert_eq!(store.keep_claims(&first, 20).await.unwrap(), [0, 1]);
    assert_eq!(indices(&take("b", (10, 30), 9, 3).await), [2], "kept in time");
    let second = take("b", (20, 30), 1, 3).await;
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
    assert_eq!(store.keep_claims(&first, 90).await.unwrap(), [0; 0]);
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
    assert_eq!(store.keep_claims(&second, 90).await.unwrap(), [0; 0]);
    assert_eq!(store.keep_claims(&[], 90).await.unwrap(), [0; 0]);
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
                let claims = store.claim(&place, &format!("w{n}"), (0, 1_000), 2, IN_ALL).await.unwrap();
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
        let mine = stores[0].claim(&place, "a", (0, 10), 1, 1).await.unwrap().remove(0);
        assert_eq!(mine.index, round);
        let attempt = mine.attempt;
        let (one, other, at) = (stores[0].clone(), stores[1].clone(), place.clone());
        let settling = tokio::spawn(async move { one.settle(&mine, &Outcome::Done(part(1))).await.unwrap() });
        let claiming = tokio::spawn(async move { other.claim(&at, "b", (10, 20), 1, 1).await.unwrap() });
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
