use std::path::Path;

use super::*;
use crate::model::audit::Deed;
use crate::model::scope::WorkspaceRef;
use crate::model::workspace::Workspace;
use crate::resources::Directory;
use crate::store::chain::Chain;
use crate::store::{Batch, SqlStore, Store};

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn read(path: &Path) -> Result<Vec<(String, Document)>, Mistakes> {
    let place = WorkspaceRef { subscription: "s".into(), resource_group: "rg".into(), name: "ws".into() };
    let (friendly_name, description, tags) = Default::default();
    let workspace = Workspace { place, location: "local".into(), friendly_name, description, tags };
    Directory::new(path.to_owned(), vec![workspace]).read()
}

const ENDPOINT: &str = "name: my-endp1\nauth_mode: aad_token\ntraffic: {blue: 100}\n";
const BLUE: &str = "\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: my-endp1
model: azureml:heart:1
environment: {image: x, inference_config: {scoring_route: {path: /invocations, port: 5001}}}
instance_type: Standard_DS3_v2
instance_count: 1
request_settings: {request_timeout_ms: 9000, max_concurrent_requests_per_instance: 4}
backend: {urls: ['http://127.0.0.1:5001']}
";
const ROLES: &str = "\
role_name: Scorer
actions: [Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action]
---
role: scorer
principal_id: 00000000-0000-0000-0000-000000000001
scope: /subscriptions/s
---
role: Reader
principal_id: 00000000-0000-0000-0000-000000000001
scope: /
";

async fn memory() -> SqlStore {
    SqlStore::memory(Chain::new(&[7; 32])).await.unwrap()
}

async fn commit(store: &SqlStore, changes: Vec<Change>) {
    let deed = Deed::of_gateway("test", "Test/write", "r", String::new());
    store.commit(Batch { changes, deed }).await.unwrap();
}

async fn apply(store: &SqlStore, vault: &Vault, path: &Path) -> usize {
    let contents = store.contents().await.unwrap();
    let converged = converge(read(path).unwrap(), &contents, vault).unwrap();
    let count = converged.changes.len();
    if count > 0 {
        commit(store, converged.changes).await;
    }
    count
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_what_is_gone_is_removed() {
    let (store, vault) = (memory().await, Vault::ephemeral().unwrap());
    let files = directory(&[
        ("endpoint.yaml", ENDPOINT),
        ("blue.yml", BLUE),
        ("roles.yaml", ROLES),
        ("notes.txt", "x"),
        (".hidden.yaml", "x: ["),
    ]);
    assert_eq!(apply(&store, &vault, files.path()).await, 5);
    assert_eq!(apply(&store, &vault, files.path()).await, 0);
    let endpoint = |contents: Contents| {
        let found = contents.iter().find_map(|s| match &s.resource {
            Resource::Endpoint(e) => Some(e.clone()),
            _ => None,
        });
        found.unwrap()
    };
    let before = endpoint(store.contents().await.unwrap());
    std::fs::write(files.path().join("endpoint.yaml"), ENDPOINT.replace("100", "0")).unwrap();
    std::fs::remove_file(files.path().join("roles.yaml")).unwrap();
    assert_eq!(apply(&store, &vault, files.path()).await, 4, "one changed, three removed");
    let after = endpoint(store.contents().await.unwrap());
    assert_eq!(before.keys, after.keys, "a change of traffic keeps the keys");
    let contents = store.contents().await.unwrap();
    let kept = contents.iter().find_map(|s| match &s.resource {
        Resource::Deployment(d) => Some(d),
        _ => None,
    });
    let kept = kept.unwrap();
    assert_eq!(
        (kept.scoring_path.as_str(), kept.request_settings.request_timeout.as_secs()),
        ("/invocations", 9)
    );
    assert_eq!(kept.workload.model, Some("azureml:heart:1".into()));
}

#[tokio::test]
async fn what_callers_made_is_left_alone() {
    let (store, vault) = (memory().await, Vault::ephemeral().unwrap());
    let files = directory(&[("endpoint.yaml", "name: my-endp1\n")]);
    let made = converge(read(files.path()).unwrap(), &store.contents().await.unwrap(), &vault).unwrap();
    let Some(Change::Put(resource, ..)) = made.changes.into_iter().next() else { panic!() };
    commit(&store, vec![Change::Put(resource, Manager::Caller, Expect::Absent)]).await;
    let contents = store.contents().await.unwrap();
    let refused = converge(read(files.path()).unwrap(), &contents, &vault).unwrap_err().to_string();
    assert!(refused.contains("made through the API"), "{refused}");
    let empty = converge(Vec::new(), &contents, &vault).unwrap();
    assert!(empty.changes.is_empty() && empty.resources.len() == 1);
}

#[test]
fn every_mistake_of_every_file_is_told() {
    let files = directory(&[
        ("a.yaml", "name: x\nauth_mode: none\ntraffic: {blue: 99}\ncolour: red\n"),
        (
            "b.yaml",
            "name: blue\nendpoint_name: my-endp1\nbackend: {command: [x], urls: []}\nrequest_settings: {request_timeout: 1}\n",
        ),
        ("c.yaml", "name: green\nendpoint_name: my-endp1\n"),
        ("d.yaml", "role: Reader\nprincipal_id: me\nscope: nowhere\n"),
        ("e.yaml", "a: [\n"),
        ("f.yaml", "role_name: Owner\nactions: ['a b']\n"),
    ]);
    let text = read(files.path()).unwrap_err().to_string();
    for expected in [
        "a.yaml:1:7: name: `x` has 1 characters",
        "a.yaml:2:12: auth_mode: `none` is not one of key, aml_token, aad_token",
        "traffic: the percentages add up to 99",
        "a.yaml:4:1: colour: no field has this name",
        "backend: names instances in more than one way",
        "b.yaml:4:20: request_settings.request_timeout: no field has this name",
        "did you mean `request_timeout_ms`?",
        "backend: is missing",
        "d.yaml:2:15: principal_id: `me` is not a GUID",
        "d.yaml:3:8: scope: `nowhere` is not a scope",
        "e.yaml:",
        "actions: `a b` is not an action",
        "`Owner` is the name of a built-in role",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n{text}");
    }
}

#[test]
fn documents_that_contradict_each_other_are_refused_together() {
    let vault = Vault::ephemeral().unwrap();
    let contents = Contents::default();
    let files = directory(&[
        ("a.yaml", ENDPOINT),
        ("b.yaml", ENDPOINT),
        ("c.yaml", BLUE),
        ("d.yaml", &BLUE.replace("my-endp1", "other")),
        ("e.yaml", "role: Nonesuch\nprincipal_id: 00000000-0000-0000-0000-000000000001\nscope: /\n"),
    ]);
    let text = converge(read(files.path()).unwrap(), &contents, &vault).unwrap_err().to_string();
    for expected in [
        "is described a second time; the first is in",
        "there is no endpoint `other`",
        "there is no role `Nonesuch`",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n{text}");
    }
}
