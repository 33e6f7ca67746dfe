//! What every store of jobs promises of jobs: kept once, listed, led by one, stopped.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use uuid::Uuid;

use super::items::{claim, items, part, running};
use crate::model::batch::BatchSettings;
use crate::model::job::{Counts, Data, DataKind, JobName, JobSpec, JobState, JobStatus, Owner};
use crate::model::role::PrincipalId;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::store::jobs::{JobFilter, JobStore, KeptJob, Lead, Outcome, Submitted};

/// One store, as two processes have it.
pub(super) type Pair = [Arc<dyn JobStore>; 2];

/// The suite; `fresh` makes a store in which nothing is.
pub(crate) async fn run(fresh: impl AsyncFn() -> Pair) {
    a_request_makes_one_job(fresh().await).await;
    a_name_is_one_jobs(&*fresh().await[0]).await;
    lists_are_newest_first(&*fresh().await[0]).await;
    the_oldest_is_led_first_and_by_one(fresh().await).await;
    a_lead_that_was_lost_says_nothing_more(&*fresh().await[0]).await;
    nothing_comes_after_the_end(&*fresh().await[0]).await;
    what_is_put_together_stands_still(&*fresh().await[0]).await;
    what_settles_late_is_counted_or_not_settled(fresh().await).await;
    a_wish_to_stop_is_not_lost(fresh().await).await;
}

pub(super) fn workspace(name: &str) -> WorkspaceRef {
    WorkspaceRef { subscription: "S".to_owned(), resource_group: "default".to_owned(), name: name.to_owned() }
}

/// A job by this name, made at this time.
pub(super) fn job(name: &str, created: i64) -> KeptJob {
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

pub(super) fn id(job: &KeptJob) -> Scope {
    job.spec.scope().unwrap()
}

pub(super) fn state(status: JobStatus) -> JobState {
    JobState { status, ..JobState::accepted() }
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
    let lead = one.lead(10, 20).await.unwrap().unwrap();
    assert_eq!(lead.job.spec.name.as_str(), "old");
    assert_eq!(lead.job, one.job(&id(&lead.job)).await.unwrap().unwrap());
    assert_eq!(one.lead(19, 30).await.unwrap().unwrap().job.spec.name.as_str(), "middle-a");
    // At its end a lease is over.
    let again = other.lead(20, 100).await.unwrap().unwrap();
    assert_eq!(again.job.spec.name.as_str(), "old");
    assert!(again.fence > lead.fence);

    let stores = [one, other];
    let at_once = (0..16_usize).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { store.lead(1_000, 2_000).await.unwrap() })
    });
    let led: Vec<Lead> = join_all(at_once).await.into_iter().filter_map(Result::unwrap).collect();
    let names: BTreeSet<&JobName> = led.iter().map(|lead| &lead.job.spec.name).collect();
    assert_eq!((led.len(), names.len()), (4, 4), "each of four jobs is led by one of 16");
}

async fn a_lead_that_was_lost_says_nothing_more(store: &dyn JobStore) {
    store.submit(&job("j", 1), None).await.unwrap();
    let first = store.lead(0, 10).await.unwrap().unwrap();
    // Kept in time, nobody takes it.
    let kept = store.keep_lead(&first, 30).await.unwrap();
    assert_eq!(kept, Some(first.job.clone()));
    assert_eq!(store.lead(20, 40).await.unwrap(), None);
    // Over and not taken, it is still whose it was.
    assert!(store.note(&first, &state(JobStatus::Preparing), Some("s1")).await.unwrap());
    let second = store.lead(30, 40).await.unwrap().unwrap();
    assert_eq!((second.job.state.status, second.job.sealed.as_deref()), (JobStatus::Preparing, Some("s1")));
    assert_eq!(store.keep_lead(&first, 99).await.unwrap(), None);
    assert!(!store.note(&first, &state(JobStatus::Failed), None).await.unwrap());
    assert!(!store.plan(&first, 0, &items(0..3)).await.unwrap());
    assert_eq!(store.counts(&id(&first.job)).await.unwrap(), Counts::default());
    let now = store.job(&id(&first.job)).await.unwrap().unwrap();
    assert_eq!((now.state.status, now.sealed.as_deref()), (JobStatus::Preparing, Some("s1")));
    assert!(store.note(&second, &state(JobStatus::Preparing), None).await.unwrap());
    assert_eq!(store.job(&id(&first.job)).await.unwrap().unwrap().sealed, None, "as it was said last");
    // By a later fence it is another lead.
    let third = store.lead(50, 60).await.unwrap().unwrap();
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
        assert_eq!(store.lead(3_000_000, 4_000_000).await.unwrap(), None);
        assert_eq!(claim(store, &lead, 10_000, 9).await, []);
        assert_eq!(store.keep_claims(&held, 10_000).await.unwrap(), held);
        assert!(!store.settle(&held[0], &Outcome::Done(part(1))).await.unwrap());
        assert_eq!(store.running(10).await.unwrap(), []);
        assert_eq!(store.cancel(&place).await.unwrap(), Some(over.clone()), "there is nothing to stop");
        let counted = async || store.counts(&place).await.unwrap().mini_batches;
        assert_eq!((counted().await, store.unfinished().await.unwrap()), (4, 0));
        let other = running(store, &format!("beside-{name}"), 600).await;
        while store.sweep().await.unwrap() {}
        assert_eq!(store.job(&place).await.unwrap(), Some(over), "the job stays");
        let others = async || store.counts(&id(&other.job)).await.unwrap().mini_batches;
        assert_eq!((counted().await, others().await), (0, 600), "of what runs nothing is removed");
        assert!(store.note(&other, &state(JobStatus::Completed), None).await.unwrap());
        while store.sweep().await.unwrap() {}
        assert_eq!(others().await, 0);
    }
}

async fn what_is_put_together_stands_still(store: &dyn JobStore) {
    let lead = running(store, "j", 4).await;
    let (held, place) = (claim(store, &lead, 10, 2).await, id(&lead.job));
    assert!(store.settle(&held[0], &Outcome::Done(part(1))).await.unwrap());
    assert!(store.note(&lead, &state(JobStatus::Finalizing), None).await.unwrap());
    let (counts, ended) = (store.counts(&place).await.unwrap(), store.ended(&place, 0, 9).await.unwrap());
    for outcome in [Outcome::Done(part(1)), Outcome::Failed(part(1)), Outcome::GivenUp] {
        assert!(!store.settle(&held[1], &outcome).await.unwrap(), "{outcome:?}");
    }
    assert!(store.settle(&held[0], &Outcome::Done(part(1))).await.unwrap(), "that it is done stays true");
    assert_eq!(store.keep_claims(&held, 200).await.unwrap(), held, "nothing of it is worked on any more");
    assert_eq!(store.counts(&place).await.unwrap(), counts);
    assert_eq!(store.ended(&place, 0, 9).await.unwrap(), ended);
}

async fn what_settles_late_is_counted_or_not_settled([one, other]: Pair) {
    for round in 0..16 {
        let lead = running(&*one, &format!("late-{round}"), 1).await;
        let (held, place) = (claim(&*one, &lead, 10, 1).await, id(&lead.job));
        let (settling, counting) = (other.clone(), one.clone());
        let settling =
            tokio::spawn(async move { settling.settle(&held[0], &Outcome::Done(part(1))).await.unwrap() });
        let counting = tokio::spawn(async move {
            assert!(counting.note(&lead, &state(JobStatus::Finalizing), None).await.unwrap());
            counting.counts(&place).await.unwrap().done
        });
        let (settled, done) = tokio::join!(settling, counting);
        assert_eq!(done.unwrap(), u64::from(settled.unwrap()));
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
    assert_eq!(store.keep_claims(&held, 200).await.unwrap(), []);
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
