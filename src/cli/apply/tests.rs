//! `apply` against a control plane that keeps what is put.

use super::*;
use crate::cli::fake::{Fake, WORKSPACE, control_plane};
use crate::cli::shape;

const ENDPOINT: &str =
    "name: my-ep\nauth_mode: aad_token\ntraffic: { blue: 90, Green: 10 }\ntags: { a: b }\n";
const BLUE: &str = "name: blue\nendpoint_name: my-ep\nmodel: azureml:heart:1\nbackend: { urls: [\"http://127.0.0.1:5001\"] }\n\
    environment: { image: img, inference_config: { scoring_route: { path: /invocations, port: 5001 } } }\n\
    request_settings: { request_timeout_ms: 9000 }\nproperties: { mine: one }\n";
const GREEN: &str = "name: green\nendpoint_name: my-ep\nbackend: { urls: [\"http://127.0.0.1:5002\", \"http://127.0.0.1:5003\"] }\n";
const ROLE: &str = "role_name: Scorer\nassignable_scopes: [/subscriptions/s]\n\
    actions: [Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action]\n";
const GRANT: &str = "role: Scorer\nprincipal_id: 00000000-0000-0000-0000-000000000001\nscope: /subscriptions/s/resourceGroups/g\n";

fn all() -> String {
    [ENDPOINT, GRANT, BLUE, ROLE, GREEN].join("---\n")
}

async fn apply(fake: &Fake, text: &str, prune: bool, dry_run: bool) -> Result<(), String> {
    let file = fake.path("resources.yaml");
    std::fs::write(&file, text).unwrap();
    let command = Apply { filename: file.into(), prune, dry_run };
    command.run(&fake.context()).await.map(drop).map_err(|error| error.to_string())
}

async fn plan(fake: &Fake, text: &str) -> Plan {
    let context = fake.context();
    let file = PathBuf::from(fake.path("resources.yaml"));
    std::fs::write(&file, text).unwrap();
    let workspaces = workspaces(&context).await.unwrap();
    let documents = file::all(&file, &workspaces).unwrap();
    let current = Current::read(&context, &documents, &workspaces, true).await.unwrap();
    Plan::make(documents, &current, &workspaces, true).unwrap()
}

async fn words(fake: &Fake, text: &str) -> String {
    plan(fake, text).await.in_words()
}

#[tokio::test]
async fn everything_is_made_in_a_possible_order_and_a_second_run_changes_nothing() {
    let fake = control_plane(&[]);
    apply(&fake, &all(), false, true).await.unwrap();
    assert!(fake.writes().is_empty(), "a dry run changes nothing");
    apply(&fake, &all(), false, false).await.unwrap();
    let role = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"role:Scorer");
    let writes = fake.writes();
    let expected = [
        format!("PUT /subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{role}"),
        "PUT /onlineEndpoints/my-ep".to_owned(),
        "PUT /onlineEndpoints/my-ep/deployments/blue".to_owned(),
        "PUT /onlineEndpoints/my-ep/deployments/green".to_owned(),
        "PUT /onlineEndpoints/my-ep".to_owned(),
    ];
    assert_eq!(writes[..5], expected);
    let grant = "PUT /subscriptions/s/resourceGroups/g/providers/Microsoft.Authorization/roleAssignments/";
    assert!(writes.len() == 6 && writes[5].starts_with(grant), "{writes:?}");
    apply(&fake, &all(), true, false).await.unwrap();
    assert_eq!(fake.writes(), Vec::<String>::new());
    assert_eq!(words(&fake, &all()).await, "0 to create, 0 to update, 0 to delete, 5 unchanged");
}

#[tokio::test]
async fn what_differs_is_told_field_by_field() {
    let fake = control_plane(&[]);
    apply(&fake, &all(), false, false).await.unwrap();
    fake.writes();
    let changed = all()
        .replace("9000", "8000")
        .replace("blue: 90, Green: 10", "blue: 50, green: 50")
        .replace("tags: { a: b }\n", "")
        .replace("mine: one", "other: two");
    let file = fake.path("resources.yaml");
    let expected = format!(
        "~ endpoint my-ep  ({file}:1)\n    tags.a: b -> (none)\n    traffic.blue: 90 -> 50\n    traffic.green: 10 -> 50\n\
         ~ deployment my-ep/blue  ({file}:9)\n    properties.other: two\n    request_settings.request_timeout_ms: 9000 -> 8000\n\
         0 to create, 2 to update, 0 to delete, 3 unchanged"
    );
    let plan = plan(&fake, &changed).await;
    assert_eq!(plan.in_words(), expected);
    let row = json!({"action": "update", "resource": "endpoint my-ep", "source": format!("{file}:1"),
        "fields": ["tags.a", "traffic.blue", "traffic.green"]});
    assert_eq!(plan.changes[0].row(), row);
    apply(&fake, &changed, false, false).await.unwrap();
    let puts = fake.got().into_iter().filter(|got| got.method == "PUT");
    assert!(
        puts.into_iter().all(|got| got.headers["if-match"] == "\"1\""),
        "what others wrote is not overwritten"
    );
    assert_eq!(fake.writes(), ["PUT /onlineEndpoints/my-ep/deployments/blue", "PUT /onlineEndpoints/my-ep"]);
    apply(&fake, &changed, false, false).await.unwrap();
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn prune_deletes_what_no_file_has_and_no_roles() {
    let fake = control_plane(&[]);
    let other = "---\nname: other\n---\nname: red\nendpoint_name: other\nbackend: { urls: [\"http://127.0.0.1:1\"] }\n";
    apply(&fake, &format!("{}{other}", all()), false, false).await.unwrap();
    fake.writes();
    let less = [&ENDPOINT.replace("blue: 90, Green: 10", "blue: 100"), BLUE].join("---\n");
    apply(&fake, &less, false, false).await.unwrap();
    assert_eq!(fake.writes(), ["PUT /onlineEndpoints/my-ep"], "without --prune nothing goes");
    apply(&fake, &less, true, false).await.unwrap();
    assert_eq!(
        fake.writes(),
        ["DELETE /onlineEndpoints/my-ep/deployments/green", "DELETE /onlineEndpoints/other"]
    );

    let error = apply(&fake, &BLUE.replace("blue", "white"), true, false).await.unwrap_err();
    assert!(error.contains("deployment my-ep/blue still has traffic"), "{error}");
    let error = apply(&fake, ROLE, true, false).await.unwrap_err();
    assert!(error.contains("--prune would delete every endpoint"), "{error}");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn every_contradiction_is_told_and_nothing_is_done() {
    let fake = control_plane(&[]);
    let text = [
        ENDPOINT,
        BLUE,
        BLUE,
        &GREEN.replace("my-ep", "nobody"),
        &GRANT.replace("Scorer", "Nothing"),
        "deny_assignment_name: freeze\nscope: /\nprincipals: [00000000-0000-0000-0000-000000000001]\nactions: [\"*\"]\n",
    ]
    .join("---\n");
    let error = apply(&fake, &text, false, false).await.unwrap_err();
    for told in [
        "describes what",
        "traffic: there is no deployment `Green`",
        "endpoint_name: there is no such endpoint",
        "there is no role `Nothing`",
        "deny assignment `freeze` cannot be made through the API",
    ] {
        assert!(error.contains(told), "{told} is not in {error}");
    }
    assert_eq!(error.lines().count(), 6, "{error}");
    let error = apply(&fake, "name: my-ep\nauth_mod: key\n---\nname: b\n", false, false).await.unwrap_err();
    assert!(error.contains("resources.yaml:2") && error.contains("resources.yaml:4"), "{error}");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn what_is_not_allowed_is_told_at_once_before_anything_is_done() {
    let deployments = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write";
    let fake =
        control_plane(&["Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write"]);
    let error = apply(&fake, &all(), false, false).await.unwrap_err();
    for name in ["blue", "green"] {
        let told = format!(
            "deployment my-ep/{name} needs {deployments} at {WORKSPACE}/onlineEndpoints/my-ep/deployments/{name}"
        );
        assert!(error.contains(&told), "{error}");
    }
    assert!(error.contains("grant it") && error.starts_with("nothing was changed"), "{error}");
    assert!(fake.writes().is_empty());
}

#[tokio::test]
async fn what_is_exported_is_what_was_applied() {
    let fake = control_plane(&[]);
    apply(&fake, &all(), false, false).await.unwrap();
    let scope = WORKSPACE.parse().unwrap();
    let documents = crate::cli::export::resources(&fake.context(), &scope).await.unwrap();
    let written = |found| crate::cli::output::document(&shape::object(found), shape::ORDER);
    let texts: Vec<String> = documents.into_iter().map(written).collect();
    assert_eq!(
        words(&fake, &texts.join("---\n")).await,
        "0 to create, 0 to update, 0 to delete, 3 unchanged"
    );
}

const BATCH: &str = "$schema: batchEndpoint.schema.json\nname: jobs\ndefaults: { deployment_name: blue }\n";
const WORKER: &str = "name: blue\nendpoint_name: jobs\ntype: model\nmodel: azureml:heart:1\n\
    backend: { urls: [\"http://127.0.0.1:5001\"] }\nsettings: { mini_batch_size: 5, request_format: jsonl }\n";
const STORE: &str = "name: inputs\ntype: azure_blob\naccount_name: heart\ncontainer_name: data\n\
    credentials: { account_key: c2VjcmV0 }\n";
const BUCKET: &str = "name: outputs\ntype: s3\nregion: eu-central-1\nbucket: heart\n";

#[tokio::test]
async fn batch_is_made_in_a_possible_order_exported_and_pruned() {
    let fake = control_plane(&[]);
    let all = [BATCH, WORKER, STORE, BUCKET].join("---\n");
    apply(&fake, &all, false, false).await.unwrap();
    let expected = [
        "PUT /datastores/inputs",
        "PUT /datastores/outputs",
        "PUT /batchEndpoints/jobs",
        "PUT /batchEndpoints/jobs/deployments/blue",
        "PUT /batchEndpoints/jobs",
    ];
    assert_eq!(fake.writes(), expected);
    assert_eq!(words(&fake, &all).await, "0 to create, 0 to update, 0 to delete, 4 unchanged");

    let scope = WORKSPACE.parse().unwrap();
    let documents = crate::cli::export::resources(&fake.context(), &scope).await.unwrap();
    let written = |found| crate::cli::output::document(&shape::object(found), shape::ORDER);
    let exported = documents.into_iter().map(written).collect::<Vec<String>>().join("---\n");
    assert!(!exported.contains("c2VjcmV0") && !exported.contains("credentials"), "{exported}");
    assert_eq!(words(&fake, &exported).await, "0 to create, 0 to update, 0 to delete, 4 unchanged");
    fake.writes();

    let changed = all
        .replace("mini_batch_size: 5", "mini_batch_size: 6")
        .replace("container_name: data", "container_name: more");
    apply(&fake, &changed, false, false).await.unwrap();
    let store = fake.got().into_iter().find(|got| got.method == "PUT" && got.path.contains("/datastores/"));
    let sent = store.unwrap().json();
    assert_eq!(sent["properties"]["credentials"]["secrets"]["key"], "c2VjcmV0", "a changed store needs it");
    assert_eq!(fake.writes(), ["PUT /datastores/inputs", "PUT /batchEndpoints/jobs/deployments/blue"]);

    let error = apply(&fake, &WORKER.replace("blue", "white"), true, false).await.unwrap_err();
    assert!(error.contains("deployment jobs/blue is still the default"), "{error}");
    let other = BATCH.replace("jobs", "more").replace("blue", "red");
    let error = apply(&fake, &other, false, false).await.unwrap_err();
    assert!(error.contains("defaults: there is no deployment `red`"), "{error}");
    apply(&fake, BATCH.split("defaults").next().unwrap(), true, false).await.unwrap();
    let gone = [
        "PUT /batchEndpoints/jobs",
        "DELETE /batchEndpoints/jobs/deployments/blue",
        "DELETE /datastores/inputs",
        "DELETE /datastores/outputs",
    ];
    assert_eq!(fake.writes(), gone);
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_left() {
    let fake = control_plane(&[]);
    apply(&fake, &all(), false, false).await.unwrap();
    let context = fake.context();
    let file = PathBuf::from(fake.path("resources.yaml"));
    std::fs::write(&file, all().replace("9000", "8000")).unwrap();
    let workspaces = workspaces(&context).await.unwrap();
    let documents = file::all(&file, &workspaces).unwrap();
    let current = Current::read(&context, &documents, &workspaces, false).await.unwrap();
    let plan = Plan::make(documents, &current, &workspaces, false).unwrap();
    apply(&fake, &all().replace("9000", "7000"), false, false).await.unwrap();
    fake.writes();
    let error = carry_out(&context, &plan).await.unwrap_err().to_string();
    assert!(error.contains("deployment my-ep/blue") && error.contains("0 of 1 changes"), "{error}");
    assert!(error.contains("changed by somebody else") && fake.writes().is_empty(), "{error}");
}
