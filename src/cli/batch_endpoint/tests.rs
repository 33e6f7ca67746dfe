//! The commands of batch against a control plane that keeps what is put.

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::fake::{Fake, WORKSPACE, control_plane};
use crate::cli::job::shown::example;
use crate::cli::{Cli, Command};

const BLUE: &str = "name: blue\nendpoint_name: heart\ntype: model\nmodel: azureml:heart:1\n\
    settings: { request_format: dataframe_split, rows_per_request: 500, mini_batch_size: 5 }\n\
    backend: { urls: [\"http://127.0.0.1:5001\"] }\n";

async fn run(fake: &Fake, line: &str) -> Result<ExitCode, Failure> {
    let words = std::iter::once("scoregate").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
    let context = fake.context();
    match cli.command {
        Command::BatchEndpoint(remote) => remote.what.run(&context).await,
        Command::BatchDeployment(remote) => remote.what.run(&context).await,
        Command::Datastore(remote) => remote.what.run(&context).await,
        Command::Job(remote) => remote.what.run(&context).await,
        other => panic!("{other:?} is no command of batch"),
    }
}

async fn ok(fake: &Fake, line: &str) {
    if let Err(error) = run(fake, line).await {
        panic!("{line}: {error}");
    }
}

async fn fails(fake: &Fake, line: &str, told: &str) {
    let error = run(fake, line).await.unwrap_err().to_string();
    assert!(error.contains(told), "`{told}` is not in {error}");
}

fn file(fake: &Fake, name: &str, text: &str) -> String {
    let file = fake.path(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// The last body that was put at this path below the workspace.
fn put(fake: &Fake, path: &str) -> Value {
    let at = format!("{WORKSPACE}/{path}?");
    let puts = fake.got().into_iter().filter(|got| got.method == "PUT" && got.path.starts_with(&at));
    puts.last().unwrap_or_else(|| panic!("nothing was put at {path}")).json()
}

#[tokio::test]
async fn an_endpoint_and_its_deployments_are_made_changed_and_deleted() {
    let fake = control_plane(&[]);
    ok(&fake, "batch-endpoint create -n heart --set tags.team=vision").await;
    let made = put(&fake, "batchEndpoints/heart");
    assert_eq!(
        (&made["tags"], &made["properties"]["authMode"]),
        (&json!({"team": "vision"}), &json!("AADToken"))
    );
    fails(&fake, "batch-endpoint create -n heart", "batch-endpoint update -n heart").await;
    fails(&fake, "batch-endpoint update -n heart", "nothing to change").await;
    fails(&fake, "batch-endpoint update -n other --defaults blue", "there is no batch endpoint other").await;

    let blue = file(&fake, "blue.yml", BLUE);
    ok(&fake, &format!("batch-deployment create -f {blue} --set-default")).await;
    let made = put(&fake, "batchEndpoints/heart/deployments/blue");
    assert_eq!(made["properties"]["miniBatchSize"], 5);
    assert_eq!(made["properties"]["properties"]["scoregate.request_format"], "dataframe_split");
    assert_eq!(
        put(&fake, "batchEndpoints/heart")["properties"]["defaults"],
        json!({"deploymentName": "blue"})
    );
    assert_eq!(
        put(&fake, "batchEndpoints/heart")["tags"],
        json!({"team": "vision"}),
        "what is not spoken of stays"
    );
    ok(&fake, &format!("batch-deployment create -f {blue} -n green --set settings.mini_batch_size=7")).await;
    assert_eq!(put(&fake, "batchEndpoints/heart/deployments/green")["properties"]["miniBatchSize"], 7);
    fails(&fake, &format!("batch-deployment create -f {blue}"), "has a deployment blue already").await;

    // In the older form of `az ml` rules stand at the root; they join those that there are.
    let older = "name: blue\nendpoint_name: heart\nmini_batch_size: 9\nretry_settings: { max_retries: 1 }\n";
    let older = file(&fake, "older.yml", older);
    ok(&fake, &format!("batch-deployment update -f {older} --set settings.error_threshold=3")).await;
    let changed = put(&fake, "batchEndpoints/heart/deployments/blue");
    let properties = &changed["properties"];
    assert_eq!((&properties["miniBatchSize"], &properties["errorThreshold"]), (&json!(9), &json!(3)));
    assert_eq!(properties["retrySettings"]["maxRetries"], 1);
    assert_eq!(properties["properties"]["scoregate.rows_per_request"], "500", "what is not spoken of stays");
    fails(
        &fake,
        "batch-deployment update -n blue -e heart --set settings.mini_batch_size=0",
        "mini_batch_size",
    )
    .await;

    for defaults in ["green", "deployment_name=blue"] {
        ok(&fake, &format!("batch-endpoint update -n heart --defaults {defaults}")).await;
        let default = &put(&fake, "batchEndpoints/heart")["properties"]["defaults"]["deploymentName"];
        assert!(defaults.ends_with(default.as_str().unwrap()), "{default}");
    }
    for line in [
        "batch-endpoint list -o table",
        "batch-endpoint show -n heart",
        "batch-deployment list -e heart",
        "batch-deployment show -n blue -e heart",
        "batch-deployment delete -n green -e heart --yes",
        "batch-endpoint delete -n heart --yes",
    ] {
        ok(&fake, line).await;
    }
    fails(&fake, "batch-endpoint delete -n heart --yes", "there is no batch endpoint heart").await;
    fails(&fake, "batch-deployment delete -n blue -e heart --yes", "heart has no deployment blue").await;
    fails(&fake, "batch-endpoint delete -n heart", "needs --yes").await;
}

#[tokio::test]
async fn stores_are_made_with_their_secrets_and_shown_without() {
    let fake = control_plane(&[]);
    let text = "name: heart\ntype: azure_blob\naccount_name: heart\ncontainer_name: data\ncredentials: { account_key: c2VjcmV0 }\n";
    let store = file(&fake, "store.yml", text);
    ok(&fake, &format!("datastore create -f {store} --set description=d")).await;
    let made = put(&fake, "datastores/heart");
    assert_eq!(made["properties"]["credentials"]["secrets"]["key"], "c2VjcmV0");
    assert_eq!(made["properties"]["description"], "d");
    fails(&fake, &format!("datastore create -f {store}"), "there is a data store heart already").await;
    ok(&fake, &format!("datastore create -f {store} -n other")).await;
    ok(&fake, "datastore list -o table").await;
    ok(&fake, "datastore show -n heart").await;
    assert!(fake.got().iter().all(|got| !got.path.contains("listSecrets")));
    ok(&fake, "datastore show -n heart --include-secrets").await;
    assert!(
        fake.got().last().unwrap().path.starts_with(&format!("{WORKSPACE}/datastores/heart/listSecrets?"))
    );
    ok(&fake, "datastore delete -n heart --yes").await;
    fails(&fake, "datastore show -n heart", "ResourceNotFound").await;
}

#[tokio::test]
async fn jobs_are_listed_by_pages_up_to_as_many_as_are_wanted() {
    let fake = Fake::new(|got| {
        let host = got.headers["host"].to_str().unwrap();
        let jobs: Vec<Value> = (0..30).map(|_| example("Running", 1)).collect();
        let next = format!("https://{host}{}", got.path);
        crate::cli::fake::said(200, json!({"value": jobs, "nextLink": next}))
    });
    for (line, path, pages) in [
        ("job list -o table", "jobs", 2),
        ("job list -r 30", "jobs", 1),
        ("batch-endpoint list-jobs -n heart -r 61 -o table", "batchEndpoints/heart/jobs", 3),
        ("batch-deployment list-jobs -n blue -e heart -r 5", "batchEndpoints/heart/deployments/blue/jobs", 1),
    ] {
        let before = fake.got().len();
        ok(&fake, line).await;
        let got = fake.got().split_off(before);
        assert_eq!(got.len(), pages, "{line}");
        let of_endpoints = if path == "jobs" { "" } else { "/mferp/managementfrontend" };
        let path = format!("{of_endpoints}{WORKSPACE}/{path}?");
        assert!(got[0].path.starts_with(&path), "{line}: {}", got[0].path);
    }
    fails(&fake, "job list -r 5 --all-results", "cannot be used with").await;
}

#[tokio::test]
async fn a_job_is_shown_and_stopped() {
    let fake = Fake::new(|got| match got.method.as_str() {
        "POST" => crate::cli::fake::said(200, Value::Null),
        _ => crate::cli::fake::said(200, example("Running", 1)),
    });
    ok(&fake, "job show -n j1").await;
    ok(&fake, "job show -n a/b -o table").await;
    ok(&fake, "job cancel -n j1").await;
    let asked: Vec<String> = fake.got().iter().map(|got| format!("{} {}", got.method, got.path)).collect();
    let version = "api-version=2024-10-01";
    let expected = [
        format!("GET {WORKSPACE}/jobs/j1?{version}"),
        format!("GET {WORKSPACE}/jobs/a%2Fb?{version}"),
        format!("POST {WORKSPACE}/jobs/j1/cancel?{version}"),
    ];
    assert_eq!(asked, expected);
}
