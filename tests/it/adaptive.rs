//! `adaptive_concurrency` on the wire: the gateway finds out how many requests at once do good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::instance::ok;
use crate::support::played::{Link, play};
use crate::support::raw::Raw;
use crate::support::stand::deployment;
use crate::support::{PATIENCE, Plan, Stand};

/// Requests that the model works on at once; what is more waits inside of it.
const KNEE: usize = 4;
/// What it takes for one.
const WORK: Duration = Duration::from_millis(8);
/// Clients, each with a request under way at all times.
const CLIENTS: usize = 32;
/// Requests in all, and those of them that settle it.
const REQUESTS: usize = 1_600;
const SETTLING: usize = 800;

/// What the model saw: how many requests it had at once, summed over those that came after it had settled.
#[derive(Default)]
struct Count {
    inside: AtomicUsize,
    came: AtomicUsize,
    sum: AtomicUsize,
    most: AtomicUsize,
}

async fn model(mut link: Link, count: Arc<Count>, places: Arc<Semaphore>) {
    while link.request().await.is_some() {
        let inside = count.inside.fetch_add(1, Ordering::SeqCst) + 1;
        if count.came.fetch_add(1, Ordering::SeqCst) >= SETTLING {
            count.sum.fetch_add(inside, Ordering::SeqCst);
        }
        count.most.fetch_max(inside, Ordering::SeqCst);
        let place = places.acquire().await.unwrap();
        tokio::time::sleep(WORK).await;
        drop(place);
        // The gateway's count goes down later than this, never earlier.
        count.inside.fetch_sub(1, Ordering::SeqCst);
        link.write(ok("{}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_settles_near_the_knee_of_a_model() {
    let mut found = Vec::new();
    for adaptive in [true, false] {
        let (count, places) = (Arc::new(Count::default()), Arc::new(Semaphore::new(KNEE)));
        let told = count.clone();
        let url = play(move |link| model(link, told.clone(), places.clone())).await;
        let plan = Plan::endpoint("aad_token", &[&url]);
        let text = deployment("my-ep", "blue", &[&url], &format!("adaptive_concurrency: {adaptive}\n"));
        // Nobody is turned away: whoever has no place at the model waits at the gateway.
        let settings = "64, max_queue_wait_ms: 60000, request_timeout_ms: 60000";
        let stand = Stand::start(plan.blue(text.replace("512 }", &format!("{settings} }}")))).await;
        let token = stand.token("scientist");
        let message = format!(
            "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (message, address) = (message.clone(), stand.gateway.data);
            clients.spawn(async move {
                let mut raw = Raw::connect(address).await;
                for _ in 0..REQUESTS / CLIENTS {
                    raw.say(&message).await;
                    assert_eq!(raw.hear().await.expect("an answer").status, 200);
                }
            });
        }
        tokio::time::timeout(PATIENCE * 3, clients.join_all()).await.expect("they come to their end");
        let sum = count.sum.load(Ordering::SeqCst);
        let mean =
            f64::from(u32::try_from(sum).unwrap()) / f64::from(u32::try_from(REQUESTS - SETTLING).unwrap());
        let most = count.most.load(Ordering::SeqCst);
        println!(
            "adaptive: {adaptive}; a model of {KNEE} at once before {CLIENTS} clients: {mean:.1} at once on average, {most} at most"
        );
        found.push(mean);
        stand.stop().await;
    }
    let knee = f64::from(u32::try_from(KNEE).unwrap());
    assert!(found[0] > knee * 0.4 && found[0] < knee * 3.0, "{found:?}");
    assert!(found[1] > knee * 6.0, "without it the model has all of them: {found:?}");
}
