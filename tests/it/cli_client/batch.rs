//! Batch endpoints, their deployments and data stores from the command line.

use serde_json::json;

use super::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_endpoint_is_made_filled_changed_and_deleted() {
    let world = World::start().await;
    let made = world.admin("batch-endpoint create -n cli-batch --set tags.team=vision").ok().json();
    assert_eq!(
        [&made["name"], &made["auth_mode"], &made["tags"]["team"]],
        ["cli-batch", "aad_token", "vision"]
    );
    let uri = format!("{}/endpoints/cli-batch/jobs", world.get("/data_url"));
    assert_eq!((&made["scoring_uri"], &made["defaults"]["deployment_name"]), (&json!(uri), &json!(null)));
    world.admin("batch-endpoint create -n cli-batch").fails(1, &["batch-endpoint update -n cli-batch"]);

    let text = format!(
        "name: blue\nendpoint_name: cli-batch\nsettings: {{ request_format: input_data, mini_batch_size: 2 }}\n{}",
        world.backend("blue")
    );
    let blue = world.file("blue.yml", &text);
    world.admin(&format!("batch-deployment create -f {blue} --set-default")).ok();
    let shown = world.admin("batch-deployment show -n blue -e cli-batch").ok().json();
    let settings = &shown["settings"];
    assert_eq!((&settings["mini_batch_size"], &settings["rows_per_request"]), (&json!(2), &json!(1000)));
    assert_eq!(
        (&settings["request_format"], &shown["endpoint_name"]),
        (&json!("input_data"), &json!("cli-batch"))
    );
    let update = "batch-deployment update -n blue -e cli-batch --set settings.error_threshold=5";
    assert_eq!(world.admin(&format!("{update} --query settings.error_threshold")).ok().out, "5\n");
    world
        .admin("batch-deployment update -n blue -e cli-batch --set settings.output_file_name=../x")
        .fails(2, &["output_file_name"]);
    let default = "batch-endpoint show -n cli-batch --query defaults.deployment_name -o tsv";
    assert_eq!(world.admin(default).ok().out, "blue\n");
    world.admin(&format!("batch-deployment create -f {blue} -n green")).ok();
    world.admin("batch-deployment delete -n blue -e cli-batch --yes").fails(1, &["default"]);
    world.admin("batch-endpoint update -n cli-batch --defaults green").ok();
    world.admin("batch-deployment delete -n blue -e cli-batch --yes").ok();
    world.admin("batch-endpoint update -n cli-batch --defaults blue").fails(1, &["blue"]);
    let table = world.admin("batch-endpoint list -o table").ok().out;
    let row: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row, ["cli-batch", "green", uri.as_str()], "{table}");

    world.admin("batch-endpoint delete -n cli-batch").fails(2, &["--yes"]);
    world.admin("batch-endpoint delete -n cli-batch --yes").ok();
    world
        .admin("batch-endpoint delete -n cli-batch --yes")
        .fails(3, &["there is no batch endpoint cli-batch"]);
    world.admin("batch-deployment show -n green -e cli-batch").fails(3, &["NotFound"]);
    world.admin("batch-endpoint invoke -n cli-batch --input https://h/a.csv").fails(3, &["NotFound"]);
    world.admin("job show -n nothing").fails(3, &["NotFound"]);
    world.admin("job stream -n nothing").fails(3, &["NotFound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_stores_are_made_and_their_secrets_are_shown_to_those_who_ask() {
    let world = World::start().await;
    let own = world.admin("datastore show -n workspaceblobstore").ok().json();
    assert_eq!((&own["type"], &own["is_default"]), (&json!("local_directory"), &json!(true)));
    let key = world.file("heart.key", "c2VjcmV0\n");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = "type: azure_blob\naccount_name: heart\ncontainer_name: data\ncredentials: { account_key_file: heart.key }\n";
    let store = world.file("store.yml", text);
    let made = world.admin(&format!("datastore create -f {store} -n heart --set tags.a=b")).ok();
    assert!(!made.out.contains("c2VjcmV0"), "{made:?}");
    let made = made.json();
    assert_eq!((&made["credentials"], &made["tags"]), (&json!({"type": "account_key"}), &json!({"a": "b"})));
    world
        .admin(&format!("datastore create -f {store} -n heart"))
        .fails(1, &["there is a data store heart already"]);
    let secrets = "datastore show -n heart --include-secrets --query credentials.account_key -o tsv";
    assert_eq!(world.admin(secrets).ok().out, "c2VjcmV0\n");
    let words: Vec<&str> = secrets.split(' ').collect();
    assert_ne!(world.run("outsider", &words).code, 0);
    let table = world.admin("datastore list -o table").ok().out;
    let names: Vec<&str> = table.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["heart", "workspaceblobstore"], "{table}");
    world.admin("datastore delete -n heart --yes").ok();
    world.admin("datastore delete -n heart --yes").fails(3, &["there is no data store heart"]);
}

const HEAD: &str = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal\n";
const ROW: &str = "46,male,non-anginal,150,231,0,normal,147,0,3.6,flat,0,normal\n";
const IN: &str = "--input azureml://datastores/workspaceblobstore/paths/in";

/// An endpoint with a deployment whose instance is at this address, and files for it in the workspace's own store.
fn filled(world: &World, instance: &str) {
    let store =
        format!("dev/datastores/workspaceblobstore/{}/default/default", world.get("/subscription_id"));
    world.file(&format!("{store}/in/a.csv"), &format!("{HEAD}{ROW}{ROW}"));
    world.file(&format!("{store}/in/b.csv"), &format!("{HEAD}{ROW}"));
    world.admin("batch-endpoint create -n cli-jobs").ok();
    let text = format!(
        "name: blue\nendpoint_name: cli-jobs\nbackend: {{ urls: [\"{instance}\"] }}\nsettings: {{ request_format: input_data, mini_batch_size: 1 }}\n"
    );
    let blue = world.file("blue.yml", &text);
    world.admin(&format!("batch-deployment create -f {blue} --set-default")).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_made_followed_to_its_end_shown_and_listed() {
    let world = World::start().await;
    filled(&world, world.get("/models/blue"));
    let done = world.admin(&format!("batch-endpoint invoke -n cli-jobs {IN} --job-name first --stream")).ok();
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("job first Completed in "), "{done:?}");
    assert_eq!(lines[1], "  2 of 2 mini-batches, 2 files, 3 rows, 0 failures, 0 retries");
    assert!(
        done.errors.contains("Completed: 2 of 2 mini-batches, 3 rows"),
        "progress is no part of the answer: {done:?}"
    );
    let shown = world.admin("job show -n first").ok().json();
    assert_eq!((&shown["status"], &shown["counts"]["rows"]), (&json!("Completed"), &json!(3)));
    assert_eq!(shown["owner"]["object_id"], world.object_id("admin"));
    assert_eq!([&shown["endpoint"], &shown["deployment"]], ["cli-jobs", "blue"]);
    let output = "azureml://datastores/workspaceblobstore/paths/azureml/first/score/predictions.csv";
    assert_eq!(shown["outputs"]["score"]["path"], output);

    let text = "inputs: { x: { type: uri_file, path: azureml://datastores/workspaceblobstore/paths/in/a.csv } }\n\
        outputs: { y: { type: uri_file, path: azureml://datastores/workspaceblobstore/paths/out/p.jsonl } }\n\
        tags: { a: b }\nexperiment_name: nightly\n";
    let file = world.file("job.yml", text);
    let invoke = format!("batch-endpoint invoke -n cli-jobs -f {file} -d blue -m 1 --query name -o tsv");
    let name = world.admin(&invoke).ok().out.trim().to_owned();
    world.admin(&format!("job stream -n {name}")).ok();
    let shown = world.admin(&format!("job show -n {name}")).ok().json();
    assert_eq!((&shown["counts"]["rows"], &shown["tags"]), (&json!(2), &json!({"a": "b"})));
    assert_eq!(shown["experiment_name"], "nightly");

    let empty = "--input azureml://datastores/workspaceblobstore/paths/nothing --job-name empty --stream";
    let failed = world.admin(&format!("batch-endpoint invoke -n cli-jobs {empty}"));
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.out.contains("job empty Failed") && failed.out.contains("why: (EmptyInput)"),
        "{failed:?}"
    );

    for list in [
        "job list -o table",
        "batch-endpoint list-jobs -n cli-jobs -o table",
        "batch-deployment list-jobs -n blue -e cli-jobs -o table",
    ] {
        let table = world.admin(list).ok().out;
        let names: Vec<&str> = table.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["empty", name.as_str(), "first"], "{list}: {table}");
        assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    }
    assert_eq!(world.admin("job list -r 1 --query [].name -o tsv").ok().out, "empty\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_is_stopped_and_whoever_may_not_make_one_is_told_what_is_missing() {
    let world = World::start().await;
    // Connections are made, and nothing is ever said.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    filled(&world, &format!("http://{}", silent.local_addr().unwrap()));
    world.admin(&format!("batch-endpoint invoke -n cli-jobs {IN} --job-name stuck")).ok();
    let done = world.admin("job cancel -n stuck").ok();
    assert!(done.errors.contains("job stream -n stuck"), "{done:?}");
    let done = world.admin("job stream -n stuck");
    assert!(done.code == 1 && done.out.starts_with("job stuck Canceled"), "{done:?}");

    let endpoint = world.scope("x").replace("onlineEndpoints/x", "batchEndpoints/cli-jobs");
    let outsider = world.object_id("outsider");
    let grant = [
        "--assignee-object-id",
        outsider,
        "--assignee-principal-type",
        "ServicePrincipal",
        "--role",
        "Reader",
    ];
    let grant = [&["role", "assignment", "create"][..], &grant, &["--scope", &endpoint]].concat();
    world.run("admin", &grant).ok();
    let place = ["--subscription", world.get("/subscription_id"), "-g", "default", "-w", "default"];
    let words: Vec<&str> = IN.split(' ').collect();
    let invoke = [&["batch-endpoint", "invoke", "-n", "cli-jobs"][..], &words, &place].concat();
    let missing = ["batchEndpoints/jobs/write", "experiments/runs/write", "datastores/read", "status: 403"];
    world.run("outsider", &invoke).fails(1, &missing);
}
