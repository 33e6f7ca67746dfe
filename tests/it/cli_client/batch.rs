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
