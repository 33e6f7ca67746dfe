//! A job's life: accepted, scored, put together, shown, stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::batch::{
    Caller, Held, adder, body, fails, failure, numbers, output, resources, status, store_of,
};
use crate::support::instance::{Instance, Seen, ok};
use crate::support::stand::{SUBSCRIPTION, object_id};
use crate::support::{Plan, Stand, rest, sha256, until};

pub async fn stand(instances: &[&Instance], settings: &str) -> Stand {
    let urls: Vec<&str> = instances.iter().map(|instance| instance.url.as_str()).collect();
    let mut plan = Plan { resources: resources(&urls, settings), ..Plan::default() };
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default");
    plan.grant("scientist", "AzureML Data Scientist", &group);
    Stand::start(plan.owned()).await
}

pub fn caller(stand: &Stand, name: &str) -> Caller {
    Caller { address: stand.gateway.data, token: stand.token(name) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_as_its_caller_and_leaves_predictions_in_the_order_of_the_input() {
    let model = adder().await;
    let stand =
        stand(&[&model], "mini_batch_size: 3, max_concurrency_per_instance: 4, rows_per_request: 4").await;
    let expected = numbers(&store_of(stand.directory.path()).join("in"), 20, 10);
    let scientist = caller(&stand, "scientist");
    let job =
        scientist.run("in", json!({"tags": {"a": "b"}, "properties": {"experimentName": "nightly"}})).await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!(output(stand.directory.path(), &job), expected);

    // Rows are packed as the deployment says, and each request says whose it is, and nothing of his token.
    let seen = model.seen();
    assert_eq!(seen.len(), 20 * 3, "ten rows make three requests");
    let who = object_id("scientist").to_string();
    for request in &seen {
        assert_eq!(request.field("x-ms-client-principal-id"), Some(who.as_str()));
        assert_eq!(request.field("azureml-model-deployment"), Some("blue"));
        assert_eq!(request.field("authorization"), None);
        assert_eq!(request.field("x-ms-client-request-id"), job["name"].as_str());
    }

    // What it came to, by which rights, and the signed manifest of the output.
    let ours = &job["properties"]["scoregate"];
    assert_eq!(ours["owner"]["objectId"], json!(who));
    assert!(ours["grounds"].as_array().unwrap().len() >= 12, "{ours}");
    let summary = &ours["summary"];
    assert_eq!(
        (&summary["files"], &summary["rows"], &summary["failures"]),
        (&json!(20), &json!(200), &json!(0))
    );
    let name = job["name"].as_str().unwrap();
    let folder = store_of(stand.directory.path()).join(format!("azureml/{name}/score"));
    let manifest = std::fs::read_to_string(folder.join("predictions.csv.manifest.jws")).unwrap();
    let claims = verified(&stand, &manifest).await;
    assert_eq!(claims["outputs"][0]["sha256"], json!(sha256(expected.as_bytes())));
    assert_eq!((&claims["owner"], &claims["status"]), (&json!(who), &json!("Completed")));
    until("no part is left over", async || std::fs::read_dir(&folder).unwrap().count() == 2).await;

    // ARM shows the same job, alone and in the list, and so does the path of Azure's client.
    let reader = stand.as_("scientist");
    let shown = reader.get(&format!("{}/jobs/{name}", rest::workspace("default"))).await.is(200);
    assert_eq!(shown.at("/properties/jobType"), &json!("Pipeline"));
    assert_eq!(shown.at("/properties/experimentName"), &json!("nightly"));
    let listed = reader.get(&format!("{}/jobs", rest::workspace("default"))).await.is(200);
    assert_eq!(listed.names(), [name]);
    let details = format!("/history/v1.0{}/runs/{name}/details", rest::workspace("default"));
    assert_eq!(reader.get(&details).await.is(200).at("/status"), &json!("Completed"));
    let client = format!("/mferp/managementfrontend{}/batchEndpoints/heart/jobs", rest::workspace("default"));
    let by_scoring_token = stand.rest().by(&stand.token("scientist"));
    assert_eq!(by_scoring_token.get(&client).await.is(200).names(), [name]);
    reader.get(&client).await.is(401);
    stand.stop().await;
}

/// The claims of a manifest, if one of the published keys signed it.
async fn verified(stand: &Stand, manifest: &str) -> Value {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (message, signature) = manifest.rsplit_once('.').unwrap();
    let (head, claims) = message.split_once('.').unwrap();
    let head: Value = serde_json::from_slice(&decode(head)).unwrap();
    let set = stand.rest().nobody().get("/.well-known/jwks.json").await.is(200).json;
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).unwrap().clone();
    let key = UnparsedPublicKey::new(&ED25519, decode(key["x"].as_str().unwrap()));
    key.verify(message.as_bytes(), &decode(signature)).unwrap();
    serde_json::from_slice(&decode(claims)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_again_makes_no_second_job() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    numbers(&store_of(stand.directory.path()).join("in"), 1, 1);
    let (scientist, body) = (caller(&stand, "scientist"), body("in", json!({})).to_string());
    let headers = "repeatability-request-id: 7b3f\r\n";
    let again = (0..16).map(|_| scientist.call("POST", "", headers, &body));
    let answers = futures_util::future::join_all(again).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.status == 200));
    let names: std::collections::HashSet<String> =
        answers.iter().map(|answer| answer.json()["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 1);
    // The same id of somebody else is another request, and a name can be had once.
    let owner = caller(&stand, "owner");
    assert_eq!(owner.call("POST", "", headers, &body).await.status, 201);
    assert_eq!(scientist.submit("in", json!({"name": "mine"})).await.status, 201);
    let taken = scientist.submit("in", json!({"name": "mine"})).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "JobExists"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_stopped_keeps_what_was_committed() {
    let held = Held::below(5).await;
    let model = &held.instance;
    let stand = stand(&[model], "mini_batch_size: 1").await;
    let store = store_of(stand.directory.path());
    let expected = numbers(&store.join("in"), 400, 1);
    numbers(&store.join("few"), 2, 1);
    let scientist = caller(&stand, "scientist");
    let answer = scientist.submit("in", json!({"name": "long"})).await;
    assert_eq!(answer.status, 201);
    scientist.done("long", 3).await;
    assert_eq!(caller(&stand, "outsider").call("POST", "/long/cancel", "", "").await.status, 404);
    assert_eq!(scientist.call("POST", "/long/cancel", "", "").await.status, 200);
    let job = scientist.end("long").await;
    assert_eq!((status(&job), failure(&job)), ("Canceled", "JobCanceled"));
    let kept = output(stand.directory.path(), &job);
    assert!(kept.lines().count() >= 3 && expected.starts_with(&kept), "{kept}");
    // What has ended is not begun again.
    let count = model.count();
    assert_eq!(status(&scientist.run("few", json!({"name": "after"})).await), "Completed");
    assert_eq!(model.count(), count + 2);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_and_the_deployments_header_hold_for_one_job() {
    let (blue, green) = (adder().await, adder().await);
    let mut plan = Plan { resources: resources(&[&blue.url], "mini_batch_size: 2"), ..Plan::default() };
    let (_, text) = plan.resources[1].clone();
    plan.add("heart-green.yaml", text.replace("name: blue", "name: green").replace(&blue.url, &green.url));
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default");
    plan.grant("scientist", "AzureML Data Scientist", &group);
    let stand = Stand::start(plan).await;
    numbers(&store_of(stand.directory.path()).join("in"), 4, 2);
    let scientist = caller(&stand, "scientist");
    let more = json!({"outputFileName": "out.jsonl", "outputData": {"s": {"jobOutputType": "UriFolder",
        "uri": "azureml://datastores/workspaceblobstore/paths/mine/run-7/"}}, "MiniBatchSize": "1"});
    let pinned = "azureml-model-deployment: GREEN\r\n";
    let answer = scientist.call("POST", "", pinned, &body("in", more).to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let job = scientist.end(answer.json()["name"].as_str().unwrap()).await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!((blue.count(), green.count()), (0, 4));
    assert_eq!(job["properties"]["scoregate"]["counts"]["miniBatches"], json!(4));
    let file = store_of(stand.directory.path()).join("mine/run-7/out.jsonl");
    let lines: Vec<Value> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[0], json!({"file": "part-00000.csv", "prediction": 0.0}));
    let unknown = scientist
        .call("POST", "", "azureml-model-deployment: red\r\n", &body("in", json!({})).to_string())
        .await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "DeploymentNotFound"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_all_that_is_kept_if_no_more_is_wanted() {
    let model = adder().await;
    let stand = stand(&[&model], "output_action: summary_only").await;
    numbers(&store_of(stand.directory.path()).join("in"), 3, 2);
    let job = caller(&stand, "scientist").run("in", json!({})).await;
    assert_eq!(job["properties"]["scoregate"]["summary"]["rows"], json!(6));
    assert_eq!(job["properties"]["output"], Value::Null);
    assert!(!store_of(stand.directory.path()).join("azureml").exists());
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_endpoint_takes_jobs_and_nothing_else() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    let scientist = caller(&stand, "scientist");
    let score = format!(
        "POST /endpoints/heart/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\r\n{{}}",
        scientist.token
    );
    let answer = crate::support::raw::ask(stand.gateway.data, score).await.unwrap();
    assert_eq!((answer.status, answer.reason()), (404, Some("not_for_scoring")));
    let nobody = Caller { address: stand.gateway.data, token: "x.y.z".to_owned() };
    assert_eq!(nobody.submit("in", json!({})).await.status, 401);
    let manager = Caller { address: stand.gateway.data, token: stand.management_token("scientist") };
    assert_eq!(manager.submit("in", json!({})).await.status, 401, "a token for managing submits nothing");
    assert_eq!(model.count(), 0);
    until("refusals are counted", async || {
        stand.metric("scoregate_refusals_total{reason=\"not_for_scoring\"}").await > 0.0
    })
    .await;
    stand.stop().await;
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_signs_an_inputs_address_is_kept_sealed_and_only_while_the_job_runs() {
    const SIGNATURE: &str = "sig=SECRET-of-the-address";
    let model = Held::below(0).await;
    let data = Instance::scripted(Arc::new(|seen: &Seen| {
        let signed = seen.line().contains(SIGNATURE);
        (if signed { ok("a,b,c\n1,2,x\n") } else { fails(403) }, false)
    }))
    .await;
    let port = data.url.rsplit(':').next().unwrap();
    let mut plan = Plan { resources: resources(&[&model.instance.url], ""), ..Plan::default() };
    plan.grant("scientist", "AzureML Data Scientist", &format!("/subscriptions/{SUBSCRIPTION}"));
    let rules = format!("{{ http_hosts: [localhost], address_ranges: [127.0.0.0/8], ports: [{port}] }}");
    let stand = Stand::start(plan.set("batch", &rules).owned()).await;
    let scientist = caller(&stand, "scientist");
    let database = format!("sqlite://{}?mode=ro", stand.directory.path().join("store.db").display());
    let database = sqlx::SqlitePool::connect(&database).await.unwrap();
    let sealed = async || {
        let all = sqlx::query_scalar::<_, Option<String>>("SELECT sealed FROM jobs");
        all.fetch_all(&database).await.unwrap()
    };
    let holds = |what: &str| {
        let mut found = Vec::new();
        files(stand.directory.path(), &mut found);
        found.retain(|path| {
            // What is gone by now was a part of the output.
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(what.len()).any(|window| window == what.as_bytes())
        });
        found
    };

    let address = format!("http://localhost:{port}/in.csv");
    let more = json!({"name": "signed"});
    let answer = scientist.submit(&format!("{address}?{SIGNATURE}"), more).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    until("the model has a row", async || model.instance.count() == 1).await;
    assert!(!holds("in.csv").is_empty(), "the job is kept");
    assert_eq!(holds(SIGNATURE), Vec::<PathBuf>::new());
    assert!(matches!(sealed().await.as_slice(), [Some(_)]));

    model.answer_below(2);
    let job = scientist.end("signed").await;
    assert_eq!(
        (status(&job), output(stand.directory.path(), &job).as_str()),
        ("Completed", "in.csv,3.0\r\n")
    );
    assert_eq!(job["properties"]["inputData"]["data"]["uri"], json!(address));
    assert_eq!(holds(SIGNATURE), Vec::<PathBuf>::new());
    assert_eq!(sealed().await, [None]);
    stand.stop().await;
}
