//! Many writers and sudden ends: what was acknowledged is in the audit history, whole, once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use parking_lot::Mutex;
use scoregate::model::audit::{Outcome, Record};
use scoregate::model::resource::Resource;
use scoregate::rbac::builtin;
use scoregate::store::Store;
use scoregate::store::chain::Chain;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::owned_site;
use crate::support::rest::{
    Body, Caller, Reply, deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id,
};
use crate::support::sha256;
use crate::support::site::Site;
use crate::support::stand::object_id;

const WRITERS: usize = 32;
/// Acknowledged writes of all of them together.
const ACKNOWLEDGED: usize = 160;
const KILLS: usize = 200;
const SEED: u64 = 20_260_118;

/// Every record of the audit, which has to be whole.
async fn audit(site: &Site) -> Vec<Record> {
    let (store, vault) = site.store().await;
    let mut records = Vec::new();
    let chain = Chain::new(vault.audit_key());
    chain.verify(&store, |_, text| records.push(serde_json::from_str(text).unwrap())).await.unwrap();
    records
}

fn revision(etag: &str) -> u64 {
    u64::from_str_radix(etag.trim_matches('"'), 16).unwrap()
}

/// An endpoint's body with these words in it.
fn described(words: &str) -> Value {
    let mut body = endpoint_body("Key", &json!({}));
    body["properties"]["description"] = json!(words);
    body["tags"] = json!({"writer": words});
    body
}

/// Reads the endpoint and writes it anew as of what was read: what a careful client does. Gives what was read, too.
async fn read_and_write(owner: &Caller, path: &str, words: &str) -> (u64, Reply) {
    let etag = owner.get(path).await.is(200).etag();
    (revision(&etag), owner.put_if(&etag, path, described(words)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_of_one_endpoint_none_undoes_what_another_was_acknowledged() {
    let (site, stand) = owned_site("").await;
    let mut process = site.serve();
    let owner = site.rest(&process).by(&stand.management_token("owner"));
    let path = endpoint("shared");
    owner.put(&path, described("first")).await.is(201);
    let (done, lost) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (owner, path, done, lost) = (owner.clone(), path.clone(), done.clone(), lost.clone());
        writers.spawn(async move {
            for attempt in 0.. {
                let words = format!("writer {writer}, attempt {attempt}");
                let (read, reply) = read_and_write(&owner, &path, &words).await;
                let reply = reply.any(&[200, 409, 412]);
                if reply.status == 200 {
                    assert_eq!(reply.at("/properties/description"), &json!(words));
                    let id = reply.header("x-ms-request-id").unwrap().to_owned();
                    done.lock().push((revision(&reply.etag()), read, words, id));
                } else {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                if done.lock().len() >= ACKNOWLEDGED {
                    return;
                }
            }
        });
    }
    writers.join_all().await;
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));

    let mut done = done.lock().clone();
    done.sort();
    let records = audit(&site).await;
    let key = path.to_lowercase();
    let history: Vec<(&Record, _)> = records
        .iter()
        .flat_map(|record| record.changes.iter().map(move |change| (record, change)))
        .filter(|(_, change)| change.id == key)
        .collect();
    for pair in history.windows(2) {
        assert_eq!(pair[0].1.after, pair[1].1.before, "each write is on top of the one before");
    }
    // What the digest of each write has to be: the endpoint as it is now, with that writer's words.
    let (store, _) = site.store().await;
    let stored = store.get(&path.parse().unwrap()).await.unwrap().unwrap();
    let digest = |words: &str| {
        let mut resource = stored.resource.clone();
        let Resource::Endpoint(endpoint) = &mut resource else { panic!("{resource:?}") };
        words.clone_into(&mut endpoint.spec.description);
        endpoint.spec.tags = BTreeMap::from([("writer".to_owned(), words.to_owned())]);
        sha256(serde_json::to_string(&resource).unwrap().as_bytes())
    };
    let acknowledged: Vec<_> = done
        .iter()
        .map(|(revision, read, words, id)| (*read, *revision, Some(digest(words)), id.clone()))
        .collect();
    let recorded: Vec<_> = history
        .windows(2)
        .map(|pair| {
            let (before, (record, change)) = (pair[0].0, &pair[1]);
            (before.revision, record.revision, change.after.clone(), record.deed.request_id.clone())
        })
        .collect();
    assert_eq!(
        recorded, acknowledged,
        "each acknowledged write once, in order, on top of what its writer had read"
    );
    let refused = records.iter().filter(|record| matches!(record.deed.outcome, Outcome::Refused { .. }));
    let lost = lost.load(Ordering::Relaxed);
    assert_eq!(refused.count(), lost, "who lost is in the history as well");
    println!("{} writes acknowledged, {lost} lost the race", acknowledged.len());
    stand.stop().await;
}

/// What is known of an endpoint that has one writer: nothing while it is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    there: bool,
    traffic: BTreeMap<String, u8>,
    deployments: BTreeSet<String>,
    grants: BTreeSet<Uuid>,
}

/// A writer of an endpoint of its own: what it knows to be so, and what it is about to make of that.
#[derive(Default)]
struct Churn {
    name: String,
    sure: Model,
    attempted: Model,
    /// Ids of the requests that were acknowledged.
    acknowledged: Vec<String>,
}

impl Churn {
    /// What comes next: the endpoint is made, fitted out, used, and removed whole.
    fn step(&self, random: &mut fastrand::Rng) -> (Method, String, Body, Model) {
        let (name, mut next) = (self.name.as_str(), self.sure.clone());
        if !self.sure.there {
            next.there = true;
            return (Method::PUT, endpoint(name), endpoint_body("Key", &json!({})).into(), next);
        }
        for colour in ["blue", "green"] {
            if next.deployments.insert(colour.to_owned()) {
                let body = deployment_body(&["http://127.0.0.1:9"]);
                return (Method::PUT, deployment(name, colour), body.into(), next);
            }
        }
        if next.grants.is_empty() {
            let id = Uuid::from_u128(random.u128(1..));
            next.grants.insert(id);
            let body = grant_body(builtin::DATA_SCIENTIST, object_id("scientist"));
            return (Method::PUT, grant_id(&endpoint(name), id), body.into(), next);
        }
        if random.u8(0..4) == 0 {
            return (Method::DELETE, endpoint(name), Body::None, Model::default());
        }
        let blue = random.u8(1..100);
        next.traffic = BTreeMap::from([("blue".to_owned(), blue), ("green".to_owned(), 100 - blue)]);
        (Method::PUT, endpoint(name), endpoint_body("Key", &json!(next.traffic)).into(), next)
    }
}

/// Works until the gateway is gone.
async fn churn(state: Arc<Mutex<Churn>>, owner: Caller, acknowledged: Arc<AtomicUsize>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let (method, path, body, next) = state.lock().step(&mut random);
        state.lock().attempted = next.clone();
        let call = owner.rest.try_call(method, &path, body, owner.token.as_deref(), &[]).await;
        let Ok(reply) = call else { return };
        let reply = reply.any(&[200, 201]);
        let mut state = state.lock();
        state.sure = next;
        state.acknowledged.push(reply.header("x-ms-request-id").unwrap().to_owned());
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the store holds of each endpoint. What belongs to none that is there is shown as one that is not there.
async fn found(site: &Site) -> BTreeMap<String, Model> {
    let (store, _) = site.store().await;
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    for stored in store.contents().await.unwrap().iter() {
        match &stored.resource {
            Resource::Endpoint(endpoint) => {
                let model = models.entry(endpoint.spec.name.to_string()).or_default();
                model.there = true;
                let shares = endpoint.spec.traffic.shares();
                model.traffic = shares.map(|(name, share)| (name.to_string(), share)).collect();
            }
            Resource::Deployment(deployment) => {
                let model = models.entry(deployment.endpoint.to_string()).or_default();
                model.deployments.insert(deployment.name.to_string());
            }
            Resource::RoleAssignment(grant) => {
                let name = grant.scope.to_string().rsplit('/').next().unwrap().to_owned();
                models.entry(name).or_default().grants.insert(grant.id);
            }
            other => panic!("nobody wrote {other:?}"),
        }
    }
    models
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sudden_end_leaves_no_resource_half_done_and_no_acknowledged_write_undone() {
    let (site, stand) = owned_site("").await;
    let token = stand.management_token("owner");
    let mut random = fastrand::Rng::with_seed(SEED);
    let name = |n: usize| format!("churn-{n}");
    let writers: Vec<_> =
        (0..4).map(|n| Arc::new(Mutex::new(Churn { name: name(n), ..Churn::default() }))).collect();
    for kill in 0..KILLS {
        let mut process = site.serve();
        let owner = site.rest(&process).by(&token);
        let (acknowledged, enough) = (Arc::new(AtomicUsize::new(0)), random.usize(1..16));
        let mut working = JoinSet::new();
        for writer in &writers {
            working.spawn(churn(writer.clone(), owner.clone(), acknowledged.clone(), random.u64(..)));
        }
        while acknowledged.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
        // Somewhere in a write after that, or between two.
        for _ in 0..random.u32(0..40_000) {
            std::hint::spin_loop();
        }
        process.signal("-KILL");
        assert_eq!(process.ended().await, None);
        working.join_all().await;
        let mut found = found(&site).await;
        for writer in &writers {
            let mut writer = writer.lock();
            let there = found.remove(&writer.name).unwrap_or_default();
            assert!(
                there == writer.sure || there == writer.attempted,
                "kill {kill}: {} is {there:?}, was {:?}, was to become {:?}",
                writer.name,
                writer.sure,
                writer.attempted
            );
            writer.sure = there;
        }
        assert!(found.is_empty(), "kill {kill}: nobody wrote {found:?}");
    }
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    for record in audit(&site).await {
        if record.deed.outcome == Outcome::Done {
            *recorded.entry(record.deed.request_id).or_default() += 1;
        }
    }
    let acknowledged: Vec<_> = writers.iter().flat_map(|writer| writer.lock().acknowledged.clone()).collect();
    for id in &acknowledged {
        assert_eq!(recorded.get(id), Some(&1), "an acknowledged write is in the history once");
    }
    println!("{} writes acknowledged, {KILLS} kills", acknowledged.len());
    stand.stop().await;
}
