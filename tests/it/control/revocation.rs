//! What is taken away is gone once the taking is acknowledged: for open connections too, under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use scoregate::rbac::builtin;
use serde_json::json;
use uuid::Uuid;

use super::PATIENT;
use crate::support::rest::{
    Caller, deployment, deployment_body, endpoint, endpoint_body, grant_body, grant_id,
};
use crate::support::stand::object_id;
use crate::support::{Instance, Plan, Raw, Stand, until};

/// Revocations of each kind.
const ROUNDS: u32 = 20;
/// Connections of each credential. Together with the pace they make 500 requests a second.
const CONNECTIONS: usize = 4;
const PACE: Duration = Duration::from_millis(40);

/// Requests with one credential on kept-alive connections, for ever.
struct Lane {
    credential: Mutex<String>,
    /// When each request began, and what it was answered, by connection.
    seen: [Mutex<Vec<(Instant, u16)>>; CONNECTIONS],
}

impl Lane {
    fn start(data: SocketAddr, endpoint: &'static str, credential: &str) -> Arc<Lane> {
        let lane = Arc::new(Lane { credential: Mutex::new(credential.to_owned()), seen: Default::default() });
        for connection in 0..CONNECTIONS {
            let lane = lane.clone();
            tokio::spawn(async move {
                let mut raw = Raw::connect(data).await;
                let mut ticks = tokio::time::interval(PACE);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let credential = lane.credential.lock().clone();
                    let message = format!(
                        "POST /endpoints/{endpoint}/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nContent-Length: 2\r\n\r\n{{}}"
                    );
                    let began = Instant::now();
                    raw.say(message).await;
                    // A connection ends with the gateway; before that, whoever waits for it misses it.
                    let Some(answer) = raw.hear().await else { return };
                    lane.seen[connection].lock().push((began, answer.status));
                }
            });
        }
        lane
    }

    /// Waits until every connection has been answered three requests that began after this, and gives what they were answered.
    async fn since(&self, moment: Instant) -> Vec<u16> {
        let after = |seen: &Mutex<Vec<(Instant, u16)>>| -> Vec<u16> {
            let seen = seen.lock();
            seen.iter().filter(|(began, _)| *began > moment).map(|(_, status)| *status).collect()
        };
        until("requests go on", async || self.seen.iter().all(|seen| after(seen).len() >= 3)).await;
        self.seen.iter().flat_map(after).collect()
    }

    /// How many requests were answered so far.
    fn count(&self) -> usize {
        self.seen.iter().map(|seen| seen.lock().len()).sum()
    }

    /// How long after this the last request began that still got through since `from`.
    fn last_success(&self, from: Instant, moment: Instant) -> Duration {
        let all = self.seen.iter().flat_map(|seen| seen.lock().clone());
        let through = all.filter(|(began, status)| *began > from && *status == 200).map(|(began, _)| began);
        through.max().map_or(Duration::ZERO, |began| began.saturating_duration_since(moment))
    }
}

/// What was measured of one kind of revocation.
#[derive(Default)]
struct Measured {
    /// From the change's being sent until it was acknowledged.
    acknowledged: Vec<Duration>,
    /// From the acknowledgement until the last request began that still got through.
    got_through: Vec<Duration>,
}

impl Measured {
    /// Makes a change that this lane is to be refused after with this status.
    async fn revoke(&mut self, lane: &Lane, status: u16, change: impl AsyncFnOnce()) {
        let from = Instant::now();
        assert!(lane.since(from).await.iter().all(|status| *status == 200), "it gets through before");
        let sent = Instant::now();
        change().await;
        let acknowledged = Instant::now();
        let answers = lane.since(acknowledged).await;
        self.acknowledged.push(acknowledged - sent);
        self.got_through.push(lane.last_success(from, acknowledged));
        assert!(answers.iter().all(|answer| *answer == status), "after the acknowledgement: {answers:?}");
    }

    /// What was measured, in words.
    fn tell(mut self, what: &str) -> String {
        assert!(self.acknowledged.len() >= ROUNDS as usize, "{what}");
        let told = [&mut self.acknowledged, &mut self.got_through].map(|times| {
            times.sort();
            format!("median {:?}, max {:?}", times[times.len() / 2], times[times.len() - 1])
        });
        format!(
            "{what}: acknowledged in {}; last request that got through began {} after that",
            told[0], told[1]
        )
    }
}

/// Makes a change and waits until this lane gets through again, which it has to from the acknowledgement on.
async fn restore(lane: &Lane, change: impl AsyncFnOnce()) {
    change().await;
    let answers = lane.since(Instant::now()).await;
    assert!(answers.iter().all(|status| *status == 200), "after the acknowledgement: {answers:?}");
}

async fn make(owner: &Caller, name: &str, mode: &str, instance: &Instance) {
    owner.put(&endpoint(name), endpoint_body(mode, &json!({}))).await.is(201);
    owner.put(&deployment(name, "blue"), deployment_body(&[&instance.url])).await.is(201);
    set_mode(owner, name, mode).await;
}

async fn set_mode(owner: &Caller, name: &str, mode: &str) {
    owner.put(&endpoint(name), endpoint_body(mode, &json!({"blue": 100}))).await.is(200);
}

async fn key(owner: &Caller, name: &str, slot: &str) -> String {
    let keys = owner.post(&format!("{}/listKeys", endpoint(name)), "").await.is(200);
    keys.json[slot].as_str().unwrap().to_owned()
}

async fn roles(owner: &Caller, lane: &Lane) -> Measured {
    let mut measured = Measured::default();
    let id = |round: u32| grant_id(&endpoint("rev-role"), Uuid::from_u128(0x1000 + u128::from(round)));
    let grant = async |round: u32| {
        let body = grant_body(builtin::DATA_SCIENTIST, object_id("scientist"));
        owner.put(&id(round), body).await.is(201);
    };
    grant(0).await;
    for round in 0..ROUNDS {
        measured.revoke(lane, 403, async || drop(owner.delete(&id(round)).await.is(200))).await;
        restore(lane, async || grant(round + 1).await).await;
    }
    measured
}

async fn keys(owner: &Caller, lane: &Lane, other: &Lane) -> Measured {
    let mut measured = Measured::default();
    let path = format!("{}/regenerateKeys", endpoint("rev-key"));
    for _ in 0..ROUNDS {
        let from = Instant::now();
        let change = async || drop(owner.post(&path, json!({"keyType": "Primary"})).await.is(200));
        measured.revoke(lane, 401, change).await;
        let kept = other.since(from).await;
        assert!(kept.iter().all(|status| *status == 200), "the other key stays good: {kept:?}");
        let fresh = key(owner, "rev-key", "primaryKey").await;
        restore(lane, async || *lane.credential.lock() = fresh).await;
    }
    measured
}

async fn modes(owner: &Caller, by_key: &Lane, by_token: &Lane) -> Measured {
    let mut measured = Measured::default();
    for _ in 0..ROUNDS / 2 {
        measured.revoke(by_key, 401, async || set_mode(owner, "rev-mode", "AADToken").await).await;
        measured.revoke(by_token, 401, async || set_mode(owner, "rev-mode", "Key").await).await;
    }
    measured
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_its_acknowledgement_on_a_revocation_holds_on_open_connections_under_load() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::default();
    let scope = endpoint("rev-mode");
    plan.grant("scientist", "AzureML Data Scientist", &scope);
    let stand = Stand::start(plan.owned().set("limits", PATIENT)).await;
    let owner = stand.as_("owner");
    for (name, mode) in [("rev-role", "AADToken"), ("rev-key", "Key"), ("rev-mode", "Key")] {
        make(&owner, name, mode, &blue).await;
    }
    let lane = |endpoint, credential: &str| Lane::start(stand.gateway.data, endpoint, credential);
    let token = stand.token("scientist");
    let by_role = lane("rev-role", &token);
    let by_primary = lane("rev-key", &key(&owner, "rev-key", "primaryKey").await);
    let by_secondary = lane("rev-key", &key(&owner, "rev-key", "secondaryKey").await);
    let (by_key, by_token) =
        (lane("rev-mode", &key(&owner, "rev-mode", "primaryKey").await), lane("rev-mode", &token));
    let changes = stand.metric("scoregate_change_in_force_seconds_count").await;
    let lanes = [&by_role, &by_primary, &by_secondary, &by_key, &by_token].map(Arc::clone);
    let asked = || lanes.iter().map(|lane| lane.count()).sum::<usize>();
    let (requests, began) = (asked(), Instant::now());
    let (roles, keys, modes) = tokio::join!(
        roles(&owner, &by_role),
        keys(&owner, &by_primary, &by_secondary),
        modes(&owner, &by_key, &by_token),
    );
    let changes = stand.metric("scoregate_change_in_force_seconds_count").await - changes;
    // Each of these is one change at least; reading the new keys leaves records besides.
    assert!(changes >= 3.0 * f64::from(ROUNDS), "{changes} changes were counted");
    let rate = (asked() - requests) as u128 * 1_000 / began.elapsed().as_millis();
    println!("{rate} requests a second");
    println!("{}", roles.tell("a role assignment is deleted"));
    println!("{}", keys.tell("a key is regenerated"));
    println!("{}", modes.tell("the auth mode is changed"));
    stand.stop().await;
}
