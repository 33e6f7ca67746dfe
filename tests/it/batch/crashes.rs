//! Gateways that end in the middle of jobs: whoever is there next goes on, and the output is as if nothing had been.

use serde_json::json;

use crate::support::batch::{self, Caller, Held, numbers, output, resources, status, store_of};
use crate::support::instance::Instance;
use crate::support::site::{Process, Site};
use crate::support::{Plan, Stand};

/// A site with batch endpoint `heart`, and the issuer of its owner.
async fn site(model: &Instance, settings: &str) -> (Site, Stand) {
    let stand = Stand::start(Plan::default()).await;
    (batch::site(&resources(&[&model.url], settings), &stand, ""), stand)
}

fn caller(process: &Process, stand: &Stand) -> Caller {
    Caller { address: process.data, token: stand.token("owner") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gateway_that_is_killed_again_and_again_leaves_the_same_bytes() {
    let model = Held::below(0).await;
    let settings = "mini_batch_size: 2, max_concurrency_per_instance: 4, rows_per_request: 3";
    let (site, stand) = site(&model.instance, settings).await;
    let expected = numbers(&store_of(site.directory.path()).join("in"), 200, 5);
    let mut process = site.serve();
    let answer = caller(&process, &stand).submit("in", json!({"name": "long"})).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    // Each time a little further, in the middle of mini-batches of ten rows; at last while the output is put together or
    // soon after.
    for done in [15, 30, 45, 60, 75, 90, 100_u64] {
        let owner = caller(&process, &stand);
        model.answer_below(done * 10 + 22);
        owner.done("long", done).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        process = site.serve();
    }
    let job = caller(&process, &stand).end("long").await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!(output(site.directory.path(), &job), expected);
    let counts = &job["properties"]["scoregate"]["counts"];
    assert_eq!((&counts["rows"], &counts["done"], &counts["failed"]), (&json!(1000), &json!(100), &json!(0)));
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_gateway_that_ends_gives_up_what_it_holds() {
    let model = Held::below(12).await;
    let (site, stand) = site(&model.instance, "mini_batch_size: 1, max_concurrency_per_instance: 2").await;
    let expected = numbers(&store_of(site.directory.path()).join("in"), 100, 1);
    let mut process = site.serve();
    let owner = caller(&process, &stand);
    assert_eq!(owner.submit("in", json!({"name": "long"})).await.status, 201);
    owner.done("long", 10).await;
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));
    model.answer_below(u64::MAX);
    let process = site.serve();
    let job = caller(&process, &stand).end("long").await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!(output(site.directory.path(), &job), expected);
    // What was given up did not count as a try.
    assert_eq!(job["properties"]["scoregate"]["counts"]["retries"], json!(0));
}
