//! Gateways that share jobs through one PostgreSQL: each does its part, and some may go on the way.

use serde_json::json;

use crate::support::batch::{self, Caller, Held, ended, failure, numbers, resources, status};
use crate::support::pki::write_secret;
use crate::support::postgres::Server;
use crate::support::site::{MASTER_KEY, Process, Site};
use crate::support::{Plan, Stand, until};

/// Rows of a mini-batch.
const ROWS: u64 = 4;

/// Mini-batches that a gateway has done.
async fn share(process: &Process) -> u64 {
    let (_, text) = process.look("/metrics").await;
    let line =
        text.lines().find(|line| line.starts_with("scoregate_batch_mini_batches_total{outcome=\"done\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_gateways_share_a_job_and_two_of_them_and_the_server_may_go() {
    let server = Server::start();
    let model = Held::below(0).await;
    let (issuer, common) = (Stand::start(Plan::default()).await, tempfile::tempdir().unwrap());
    let (data, key) = (common.path().join("data"), common.path().join("master.key"));
    write_secret(&key, MASTER_KEY);
    let expected = numbers(&data.join("in"), 300, 2);
    let mut files = resources(&[&model.instance.url], "mini_batch_size: 2, max_concurrency_per_instance: 8");
    files.push((
        "files.yaml".to_owned(),
        format!("name: files\ntype: local_directory\npath: {}\n", data.display()),
    ));
    let more = format!(
        "store: \"{}\"\nmaster_key: {{ file: {} }}\ndata_directory: own\n",
        server.schema(),
        key.display(),
    );
    let sites: Vec<Site> = (0..4).map(|_| batch::site(&files, &issuer, &more)).collect();
    let mut gateways: Vec<Process> = sites.iter().map(Site::serve).collect();
    let caller = |process: &Process| Caller { address: process.data, token: issuer.token("owner") };
    let input = "azureml://datastores/files/paths/in";
    let output =
        json!({"score": {"jobOutputType": "UriFolder", "uri": "azureml://datastores/files/paths/out"}});
    let answer = caller(&gateways[0]).submit(input, json!({"name": "shared", "outputData": output})).await;
    assert_eq!(answer.status, 201, "{}", answer.json());

    // Each does its part, whoever took the job in.
    for gateway in &gateways {
        until("every gateway has done something", async || {
            model.answer_more(ROWS);
            share(gateway).await > 0
        })
        .await;
    }
    let last = caller(&gateways[3]);
    for gone in [0, 1] {
        gateways[gone].child.kill().unwrap();
        gateways[gone].child.wait().unwrap();
        let done = last.show("shared").await["properties"]["scoregate"]["counts"]["done"].as_u64().unwrap();
        let further = (done + 20).min(140);
        // Two of each that are gone may be what the others wait for.
        model.answer_below((further + 8) * ROWS);
        last.done("shared", further).await;
    }
    server.kill();
    server.resume();
    model.answer_below(u64::MAX);
    let mut job = json!(null);
    until("the job ends", async || {
        // While the server is away nothing can be said of it.
        let answer = last.call("GET", "/shared", "", "").await;
        if answer.status == 200 {
            job = answer.json();
        }
        ended(&job)
    })
    .await;
    assert_eq!((status(&job), failure(&job)), ("Completed", ""));
    assert_eq!(std::fs::read_to_string(data.join("out/predictions.csv")).unwrap(), expected);
    let counts = &job["properties"]["scoregate"]["counts"];
    assert_eq!((&counts["rows"], &counts["failures"]), (&json!(600), &json!(0)));
}
