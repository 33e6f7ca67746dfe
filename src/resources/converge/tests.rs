use std::path::Path;

use super::*;
use crate::model::audit::Deed;
use crate::model::datastore::Credential;
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

const BATCH: &str = "\
$schema: https://azuremlschemas.azureedge.net/latest/batchEndpoint.schema.json
name: heart-batch
auth_mode: aad_token
defaults: {deployment_name: Blue}
---
$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
name: blue
endpoint_name: heart-batch
type: model
model: azureml:heart:1
compute: azureml:cpu
environment: {image: x, inference_config: {scoring_route: {path: /invocations, port: 5001}}}
resources: {instance_count: 2}
backend: {urls: ['http://127.0.0.1:5001']}
settings:
  max_concurrency_per_instance: 2
  mini_batch_size: 5
  error_threshold: 3
  retry_settings: {max_retries: 1, timeout: 300}
  output_action: append_row
  output_file_name: out.parquet
  logging_level: debug
  environment_variables: {A: b}
  request_format: jsonl
  rows_per_request: 7
---
$schema: https://azuremlschemas.azureedge.net/latest/azureBlob.schema.json
name: inputs
type: azure_blob
account_name: heart
container_name: data
credentials: {account_key: c2VjcmV0}
---
name: outputs
type: s3
region: eu-central-1
bucket: heart
credentials: {access_key_id: id, secret_access_key_file: secret}
";

fn secret_file(files: &tempfile::TempDir, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let file = files.path().join("secret");
    std::fs::write(&file, "from a file\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn batch_and_its_stores_converge_and_what_is_written_reads_the_same() {
    let (store, vault) = (memory().await, Vault::ephemeral().unwrap());
    let files = directory(&[("batch.yaml", BATCH)]);
    secret_file(&files, 0o600);
    assert_eq!(apply(&store, &vault, files.path()).await, 4);
    assert_eq!(apply(&store, &vault, files.path()).await, 0, "credentials stay sealed as they are");
    let contents = store.contents().await.unwrap();
    let blue = contents.iter().find_map(|stored| stored.resource.batch_deployment()).unwrap();
    assert_eq!((blue.settings.mini_batch_size, blue.settings.instance_count), (5, 2));
    assert_eq!(blue.settings.timeout.as_secs(), 300);
    assert_eq!(blue.serving.request_settings.request_timeout.as_secs(), 300);
    assert_eq!(
        (blue.serving.scoring_path.as_str(), blue.compute.as_deref()),
        ("/invocations", Some("azureml:cpu"))
    );
    let sealed = contents.iter().filter_map(|stored| stored.resource.datastore());
    let opened: Vec<_> = sealed
        .map(|found| {
            let id = found.scope().unwrap();
            store_credential::open(&vault, &id, found.credential.as_ref().unwrap()).unwrap()
        })
        .collect();
    let access = Credential::AccessKey { id: "id".into(), secret: "from a file".into() };
    assert_eq!(opened, [Credential::AccountKey("c2VjcmV0".into()), access]);

    let written: Vec<String> = contents
        .iter()
        .map(|stored| {
            let document = match &stored.resource {
                Resource::BatchEndpoint(endpoint) => crate::resources::written::batch_endpoint(endpoint),
                Resource::BatchDeployment(found) => crate::resources::written::batch_deployment(found),
                Resource::Datastore(found) => crate::resources::written::datastore(found),
                other => panic!("{other:?}"),
            };
            document.to_string()
        })
        .collect();
    assert!(!written.concat().contains("credential"), "{written:?}");
    let again = directory(&[("again.yaml", &written.join("\n---\n"))]);
    let read_again = converge(read(again.path()).unwrap(), &contents, &vault).unwrap();
    let differ: Vec<_> = read_again
        .changes
        .iter()
        .filter(|change| !matches!(change, Change::Put(resource, ..) if resource.datastore().is_some()))
        .collect();
    assert!(differ.is_empty(), "{differ:?}");

    std::fs::write(files.path().join("batch.yaml"), BATCH.replace("c2VjcmV0", "b3RoZXI=")).unwrap();
    assert_eq!(apply(&store, &vault, files.path()).await, 1, "another credential is a change");
}

#[test]
fn az_mls_older_form_has_its_rules_at_the_root() {
    let old = "name: blue\nendpoint_name: heart-batch\nmini_batch_size: 7\nretry_settings: {timeout: 40}\n\
               max_concurrency_per_instance: 3\nbackend: {urls: ['http://a:1', 'http://b:1']}\n";
    let files = directory(&[("a.yaml", old)]);
    let documents = read(files.path()).unwrap();
    let [(_, Document::BatchDeployment(found))] = documents.as_slice() else { panic!("{documents:?}") };
    let settings = &found.settings;
    assert_eq!((settings.mini_batch_size, settings.timeout.as_secs(), settings.max_retries), (7, 40, 3));
    assert_eq!(settings.instance_count, 2, "as many as the backend names");
    assert_eq!(found.serving.request_settings.max_concurrent_requests_per_instance, 3);
}

#[test]
fn what_of_batch_is_wrong_is_told() {
    let at = "endpoint_name: heart-batch\nbackend: {urls: ['http://127.0.0.1:5001']}\n";
    let files = directory(&[
        ("a.yaml", &format!("name: aaa\n{at}mini_batch_size: 1\nrequest_settings: {{}}\n")),
        ("b.yaml", &format!("name: bbb\n{at}type: pipeline\ncomponent: azureml:x:1\n")),
        ("c.yaml", &format!("name: ccc\n{at}mini_batch_size: 1\nsettings: {{mini_batch_size: 2}}\n")),
        (
            "d.yaml",
            &format!(
                "name: ddd\n{at}settings: {{error_threshold: -2, output_file_name: a/b, mini_batch: 1}}\n"
            ),
        ),
        ("e.yaml", "name: eee\ndefaults: {deployment_name: blue}\ntraffic: {blue: 100}\n"),
        ("f.yaml", "name: fff\ndefaults: {}\nauth_mode: key\n"),
        ("g.yaml", "name: ggg\ntype: s3\nregion: r\nbucket: heart\ncredentials: {account_key: s3cr3t}\n"),
        ("h.yaml", "name: hhh\ntype: azure_file\n"),
        (
            "i.yaml",
            "name: iii\ntype: s3\nregion: r\nbucket: heart\ncredentials: {access_key_id: i, secret_access_key_file: secret}\n",
        ),
        (
            "j.yaml",
            "name: jjj\naccount_name: heart\ncontainer_name: abc\ntype: azure_blob\ncredentials: {account_key: s3cr3t!}\n",
        ),
    ]);
    secret_file(&files, 0o644);
    let text = read(files.path()).unwrap_err().to_string();
    for expected in [
        "a.yaml:4:18: mini_batch_size: batch deployments have it, but only online ones have `request_settings`",
        "write `type: model` for a batch deployment, `type: managed` for an online one",
        "pipeline components are not served",
        "settings.mini_batch_size: stands under `settings` and at the root",
        "settings.error_threshold: is not between -1 and 2147483647",
        "settings.output_file_name: `a/b` is no plain file name",
        "did you mean `mini_batch_size`?",
        "traffic: online endpoints have it, but only batch ones have `defaults`",
        "f.yaml:3:12: auth_mode: `key` is not one of aad_token",
        "a store of kind s3 is not opened by AccountKey",
        "h.yaml:2:7: type: `azure_file` is not one of azure_blob, s3, local_directory, https",
        "run chmod 600 on it",
        "credentials.account_key: is no account key: one is base64",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n{text}");
    }
    assert!(!text.contains("s3cr3t"), "{text}");
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
        ("f.yaml", "name: heart-batch\ndefaults: {deployment_name: blue}\n"),
        (
            "g.yaml",
            &BLUE
                .replace("instance_type: Standard_DS3_v2\ninstance_count: 1", "type: model")
                .replace(
                    "request_settings: {request_timeout_ms: 9000, max_concurrent_requests_per_instance: 4}\n",
                    "",
                )
                .replace("my-endp1", "nobody"),
        ),
        ("e.yaml", "role: Nonesuch\nprincipal_id: 00000000-0000-0000-0000-000000000001\nscope: /\n"),
    ]);
    let text = converge(read(files.path()).unwrap(), &contents, &vault).unwrap_err().to_string();
    for expected in [
        "is described a second time; the first is in",
        "there is no endpoint `other`",
        "there is no deployment `blue` of endpoint `heart-batch`",
        "there is no endpoint `nobody`",
        "there is no role `Nonesuch`",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n{text}");
    }
}
