//! Batch endpoints, batch deployments and data stores over REST.

use http::Method;
use scoregate::rbac::builtin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::support::raw::ask;
use crate::support::rest::{
    Body, batch_deployment, batch_deployment_body, batch_endpoint, batch_endpoint_body, datastore, endpoint,
    endpoint_body, grant_body, grant_id, workspace,
};
use crate::support::stand::object_id;

const KEY: &str = "c2VjcmV0IG9mIHRoZSBhY2NvdW50";

fn blob(credentials: &Value) -> Value {
    json!({"properties": {"datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data",
        "credentials": credentials}})
}

fn account_key(key: &str) -> Value {
    blob(&json!({"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": key}}))
}

fn elsewhere(place: &Value, credentials: &Value) -> Value {
    json!({"properties": {"datastoreType": "AzureBlob", "credentials": credentials,
        "properties": {"scoregate.place": place.to_string()}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_endpoint_lives_as_an_online_one_does() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, batch_endpoint("jobs"));
    let made = owner.put(&path, batch_endpoint_body(None)).await.is(201);
    assert_eq!(made.json["type"], "Microsoft.MachineLearningServices/workspaces/batchEndpoints");
    assert_eq!(made.at("/properties/authMode"), "AADToken");
    assert_eq!(made.at("/properties/scoringUri"), "http://127.0.0.1:8080/endpoints/jobs/jobs");
    assert_eq!(made.at("/properties/defaults"), &json!({"deploymentName": null}));
    let operation = made.at("/properties/properties/AzureAsyncOperationUri").as_str().unwrap();
    let (_, at) = operation.split_once("/subscriptions/").unwrap();
    let status = owner.get(&format!("/subscriptions/{at}")).await.is(200);
    assert_eq!(status.json["status"], "Succeeded");

    let early = owner.put(&path, batch_endpoint_body(Some("blue"))).await;
    early.refuses(400, "BadArgument");
    let blue = batch_deployment("jobs", "blue");
    owner
        .put(&batch_deployment("nobody", "blue"), batch_deployment_body(&[&world.blue.url]))
        .await
        .refuses(404, "ParentResourceNotFound");
    let shown = owner.put(&blue, batch_deployment_body(&[&world.blue.url])).await.is(201);
    assert_eq!(shown.at("/properties/miniBatchSize"), 10);
    assert_eq!(shown.at("/properties/retrySettings"), &json!({"maxRetries": 3, "timeout": "PT30S"}));
    assert_eq!(shown.at("/properties/errorThreshold"), -1);
    let instances: Value =
        serde_json::from_str(shown.at("/properties/properties/scoregate.instances").as_str().unwrap())
            .unwrap();
    assert!(world.blue.url.ends_with(instances[0]["address"].as_str().unwrap()), "{instances}");

    let whole = owner.put(&path, batch_endpoint_body(Some("BLUE"))).await.is(200);
    assert_eq!(whole.at("/properties/defaults/deploymentName"), "BLUE");
    owner.delete(&blue).await.refuses(400, "DeploymentIsDefault");
    owner.get(&blue).await.is(200);
    owner.put(&path, batch_endpoint_body(None)).await.is(200);
    owner.delete(&blue).await.is(200);
    owner.delete(&blue).await.is(204);

    owner.put(&blue, batch_deployment_body(&[&world.blue.url])).await.is(201);
    owner.put(&path, batch_endpoint_body(Some("blue"))).await.is(200);
    let grant = grant_id(&blue, Uuid::new_v4());
    owner.put(&grant, grant_body(builtin::DATA_SCIENTIST, object_id("outsider"))).await.is(201);
    let listed = owner.get(&format!("{}/batchEndpoints?count=1", workspace("default"))).await.is(200);
    assert_eq!(listed.names(), ["jobs"]);
    assert_eq!(owner.get(&format!("{path}/deployments")).await.is(200).names(), ["blue"]);
    owner.post(&format!("{path}/listkeys"), "").await.refuses(400, "EndpointAuthModeMismatch");
    owner.post(&format!("{}/listkeys", batch_endpoint("nobody")), "").await.refuses(404, "ResourceNotFound");
    owner.delete(&path).await.is(200);
    for gone in [&path, &blue, &grant, &format!("{path}/deployments")] {
        owner.get(gone).await.is(404);
    }
    owner.delete(&path).await.is(204);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_of_one_endpoint_whatever_its_kind() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&endpoint("online"), endpoint_body("Key", &json!({}))).await.is(201);
    owner.put(&batch_endpoint("batch"), batch_endpoint_body(None)).await.is(201);
    owner.put(&batch_endpoint("Online"), batch_endpoint_body(None)).await.refuses(409, "NameNotAvailable");
    owner.put(&endpoint("BATCH"), endpoint_body("Key", &json!({}))).await.refuses(409, "NameNotAvailable");
    for name in ["ab", "1abc", "a--b", "a_b"] {
        owner.put(&batch_endpoint(name), batch_endpoint_body(None)).await.refuses(400, "BadArgument");
    }
    for mode in ["Key", "AMLToken", "none"] {
        let body = json!({"location": "local", "properties": {"authMode": mode}});
        owner.put(&batch_endpoint("other"), body).await.refuses(400, "BadArgument");
    }
    owner.delete(&endpoint("online")).await.is(200);
    owner.put(&batch_endpoint("online"), batch_endpoint_body(None)).await.is(201);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_meanwhile_is_not_overwritten_and_patch_changes_little() {
    let world = World::start().await;
    let owner = &world.owner;
    let (path, blue, store) = (batch_endpoint("jobs"), batch_deployment("jobs", "blue"), datastore("inputs"));
    let bodies = [
        (&path, batch_endpoint_body(None)),
        (&blue, batch_deployment_body(&[&world.blue.url])),
        (&store, account_key(KEY)),
    ];
    for (path, body) in &bodies {
        let made = owner.put(path, body.clone()).await.is(201);
        assert_eq!(owner.get(path).await.etag(), made.etag());
        let changed = owner.put(path, body.clone()).await.is(200);
        owner.put_if(&made.etag(), path, body.clone()).await.refuses(412, "PreconditionFailed");
        let absent = [("if-none-match", "*")];
        owner.call(Method::PUT, path, body.clone(), &absent).await.refuses(412, "PreconditionFailed");
        let stale = made.etag();
        let stale = [("if-match", stale.as_str())];
        owner.call(Method::DELETE, path, Body::None, &stale).await.refuses(412, "PreconditionFailed");
        owner.put_if(&changed.etag(), path, body.clone()).await.is(200);
    }
    for path in [&path, &blue] {
        owner.patch(path, json!({"tags": {"a": "1"}})).await.is(200);
        assert_eq!(owner.get(path).await.json["tags"], json!({"a": "1"}));
    }
    let before = owner.get(&blue).await;
    owner.patch(&blue, json!({"properties": {"description": "new"}})).await.is(200);
    let after = owner.get(&blue).await;
    assert_eq!(after.at("/properties/description"), "new");
    assert_eq!(
        after.at("/properties/properties/scoregate.backend"),
        before.at("/properties/properties/scoregate.backend")
    );
    owner.patch(&blue, json!({"properties": {"miniBatchSize": 5}})).await.refuses(400, "BadArgument");
    owner.patch(&path, json!({"properties": {"description": "x"}})).await.refuses(400, "BadArgument");
    owner.patch(&store, json!({})).await.is(405);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deployment_asks_for_is_judged() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&batch_endpoint("jobs"), batch_endpoint_body(None)).await.is(201);
    let blue = batch_deployment("jobs", "blue");
    let backend = |backend: &Value| {
        let mut body = batch_deployment_body(&[]);
        body["properties"]["properties"] = json!({"scoregate.backend": backend.to_string()});
        body
    };
    for refused in [
        backend(&json!({"command": ["/bin/sh", "-c", "id"]})),
        backend(&json!({"urls": ["http://169.254.169.254:80"]})),
        backend(&json!({"urls": ["https://127.0.0.1:1"], "ca_file": "/etc/passwd"})),
        backend(&json!({"urls": []})),
    ] {
        owner.put(&blue, refused).await.refuses(400, "BadArgument");
    }
    let with = |field: &str, value: Value| {
        let mut body = batch_deployment_body(&[&world.blue.url]);
        body["properties"][field] = value;
        body
    };
    for (field, value) in [
        ("retrySettings", json!({"timeout": "PT2H"})),
        ("miniBatchSize", json!(0)),
        ("errorThreshold", json!(-2)),
        ("outputFileName", json!("a/b.csv")),
        (
            "deploymentConfiguration",
            json!({"deploymentConfigurationType": "PipelineComponent", "componentId": {}}),
        ),
    ] {
        owner.put(&blue, with(field, value)).await.refuses(400, "BadArgument");
    }
    owner.put(&blue, with("resources", json!({"instanceCount": 51}))).await.refuses(400, "QuotaExceeded");
    owner.get(&blue).await.is(404);
    // As Microsoft's own scripts send it.
    let lenient = r#"{"location": "local", "properties": {"MiniBatchSize": "5", "errorThreshold": "10", "loggingLevel": "info",
        "outputAction": "summaryonly", "maxConcurrencyPerInstance": "4", "retrySettings": {"maxRetries": "1", "timeout": "PT5M",},
        "properties": {"scoregate.backend": "{\"urls\":[\"http://127.0.0.1:1\"]}", "scoregate.request_format": "jsonl"},}}"#;
    let made = owner.put(&blue, lenient).await.is(201);
    for (pointer, value) in [
        ("miniBatchSize", json!(5)),
        ("errorThreshold", json!(10)),
        ("loggingLevel", json!("Info")),
        ("outputAction", json!("SummaryOnly")),
        ("maxConcurrencyPerInstance", json!(4)),
        ("retrySettings", json!({"maxRetries": 1, "timeout": "PT300S"})),
    ] {
        assert_eq!(made.at(&format!("/properties/{pointer}")), &value, "{pointer}");
    }
    assert_eq!(made.at("/properties/properties/scoregate.request_format"), "jsonl");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_endpoint_is_not_scored_and_says_so_to_callers_alone() {
    let world = World::start().await;
    let owner = &world.owner;
    owner.put(&batch_endpoint("jobs"), batch_endpoint_body(None)).await.is(201);
    owner.put(&batch_deployment("jobs", "blue"), batch_deployment_body(&[&world.blue.url])).await.is(201);
    owner.put(&batch_endpoint("jobs"), batch_endpoint_body(Some("blue"))).await.is(200);
    let score = async |credential: &str, more: &str| {
        let message = format!(
            "POST /endpoints/jobs/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\n{more}Content-Length: 2\r\n\r\n{{}}"
        );
        ask(world.stand.gateway.data, message).await.unwrap()
    };
    for who in ["owner", "scientist", "outsider"] {
        for more in ["", "azureml-model-deployment: blue\r\n"] {
            let answer = score(&world.stand.token(who), more).await;
            assert_eq!(answer.status, 404, "{who}");
            assert_eq!(answer.field("ms-azureml-model-error-reason").unwrap(), "not_for_scoring");
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(told.contains("POST /endpoints/{name}/jobs"), "{told}");
        }
    }
    let stranger = score("nonsense", "").await;
    assert_eq!(stranger.status, 401, "who does not say who he is learns nothing");
    assert!(stranger.field("www-authenticate").unwrap().contains("authorization_uri"));
    assert_eq!(world.blue.seen().len(), 0);
    let asked = json!({"endpoint": "jobs", "token": world.stand.token("owner")});
    let why = owner.post("/providers/Scoregate.Gateway/explain", asked).await.is(200);
    assert!(why.json.to_string().contains("takes jobs"), "{}", why.json);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_a_store_is_shown_to_those_who_may_ask_and_in_no_other_answer() {
    let world = World::start().await;
    let (owner, path) = (&world.owner, datastore("inputs"));
    let (scientist, reader) = (world.stand.as_("scientist"), world.stand.as_("reader"));
    let made = owner.put(&path, account_key(KEY)).await.is(201);
    let listed = owner.get(&format!("{}/datastores", workspace("default"))).await.is(200);
    for shown in [&made, &owner.get(&path).await.is(200), &listed] {
        assert!(!shown.json.to_string().contains(KEY), "{}", shown.json);
    }
    assert_eq!(made.at("/properties/credentials"), &json!({"credentialsType": "AccountKey"}));
    let asking = format!("{path}/listSecrets");
    reader.get(&path).await.is(200);
    reader.post(&asking, "").await.refuses(403, "AuthorizationFailed");
    world.stand.as_("outsider").post(&asking, "").await.refuses(404, "ResourceNotFound");
    let told = scientist.post(&asking, json!({"expirableSecret": true})).await.is(200);
    assert_eq!(told.json, json!({"secretsType": "AccountKey", "key": KEY}));
    let records = world.stand.gateway.store().audit(0, 1000).await.unwrap();
    let texts: Vec<&str> = records.iter().map(|row| row.text.as_str()).collect();
    let asked: Vec<_> = texts.iter().filter(|text| text.contains("datastores/listSecrets/action")).collect();
    assert!(asked.iter().any(|text| text.contains(&object_id("scientist").to_string())), "{asked:?}");
    assert!(asked.iter().any(|text| text.contains("AuthorizationFailed")), "refusals, too: {asked:?}");
    assert!(!texts.concat().contains(KEY));
    let file = std::fs::read(world.stand.directory.path().join("store.db")).unwrap();
    assert!(!String::from_utf8_lossy(&file).contains(KEY), "it rests sealed");

    // What is not shown cannot be sent back: it stays, as long as the store stays where it is.
    let kept = blob(
        &json!({"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": null}}),
    );
    owner.put(&path, kept.clone()).await.is(200);
    assert_eq!(owner.post(&asking, "").await.is(200).json["key"], KEY);
    let mut led_away = kept.clone();
    led_away["properties"]["endpoint"] = json!("http://127.0.0.1:1/heart");
    owner.put(&path, led_away).await.refuses(400, "BadArgument");
    let mut sas = kept;
    sas["properties"]["credentials"] = json!({"credentialsType": "Sas"});
    owner.put(&path, sas).await.refuses(400, "BadArgument");
    owner.put(&path, blob(&json!({"credentialsType": "None"}))).await.is(200);
    owner.post(&asking, "").await.refuses(400, "DatastoreHasNoCredential");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_workspace_has_a_store_and_others_are_where_they_may_be() {
    let world =
        World::with(|plan| plan.settings.push(("batch", "{ directories: [ /srv/heart ] }".to_owned()))).await;
    let (owner, all) = (&world.owner, format!("{}/datastores", workspace("default")));
    let own = datastore("workspaceblobstore");
    let shown = owner.get(&own).await.is(200);
    assert_eq!(shown.at("/properties/isDefault"), true);
    assert!(shown.json.get("systemData").is_none() && shown.header("etag").is_none());
    assert!(!shown.json.to_string().contains(world.stand.directory.path().to_str().unwrap()));
    owner.delete(&own).await.refuses(400, "DatastoreIsDefault");
    owner.get(&format!("{}/datastores/workspaceblobstore", workspace("nowhere"))).await.is(404);
    owner.get(&datastore("nothing")).await.refuses(404, "ResourceNotFound");

    let s3 = json!({"kind": "s3", "region": "eu-central-1", "bucket": "heart"});
    let keys = json!({"credentialsType": "AccessKey", "secrets": {"accessKeyId": "id", "secretAccessKey": "hidden"}});
    let made = owner.put(&datastore("bucket"), elsewhere(&s3, &keys)).await.is(201);
    let place: Value =
        serde_json::from_str(made.at("/properties/properties/scoregate.place").as_str().unwrap()).unwrap();
    assert_eq!(place, s3);
    assert_eq!(
        made.at("/properties/datastoreType"),
        "AzureBlob",
        "clients fall over at what they do not know"
    );
    let told = owner.post(&format!("{}/listSecrets", datastore("bucket")), "").await.is(200);
    assert_eq!(
        told.json,
        json!({"secretsType": "AccessKey", "accessKeyId": "id", "secretAccessKey": "hidden"})
    );
    owner.put(&datastore("inputs"), blob(&Value::Null)).await.is(201);
    assert_eq!(owner.get(&all).await.is(200).names(), ["bucket", "inputs", "workspaceblobstore"]);
    for (filter, names) in [
        ("isDefault=true", vec!["workspaceblobstore"]),
        ("isDefault=false&count=30&orderByAsc=false", vec!["bucket", "inputs"]),
        ("names=inputs,x", vec!["inputs"]),
    ] {
        assert_eq!(owner.get(&format!("{all}?{filter}")).await.is(200).names(), names, "{filter}");
    }
    owner.get(&format!("{all}?isDefault=perhaps")).await.refuses(400, "BadArgument");
    assert_eq!(owner.all(&format!("{all}?count=1")).await.len(), 3);

    for refused in [
        elsewhere(&json!({"kind": "local_directory", "path": "/etc"}), &Value::Null),
        elsewhere(&json!({"kind": "local_directory", "path": "/srv/../etc"}), &Value::Null),
        elsewhere(&json!({"kind": "https", "base": "http://data.example"}), &Value::Null),
        elsewhere(&json!({"kind": "s3", "bucket": "heart"}), &Value::Null),
        elsewhere(&json!({"kind": "ftp"}), &Value::Null),
        json!({"properties": {"datastoreType": "AzureFile", "accountName": "heart", "fileShareName": "x"}}),
        json!({"properties": {"datastoreType": "AzureBlob", "accountName": "heart"}}),
    ] {
        owner.put(&datastore("other"), refused).await.refuses(400, "BadArgument");
    }
    owner
        .put(&format!("{}/datastores/abc", workspace("nowhere")), blob(&Value::Null))
        .await
        .refuses(404, "ParentResourceNotFound");
    owner.put(&datastore("a.b"), blob(&Value::Null)).await.refuses(400, "BadArgument");

    let below = elsewhere(&json!({"kind": "local_directory", "path": "/srv/heart/in"}), &Value::Null);
    owner.put(&datastore("listed"), below).await.is(201);
    owner.delete(&datastore("listed")).await.is(200);

    // One of its name takes its place, and gives it back.
    owner.put(&own, blob(&Value::Null)).await.is(201);
    assert_eq!(owner.get(&own).await.is(200).at("/properties/accountName"), "heart");
    assert_eq!(owner.get(&format!("{all}?isDefault=true")).await.names(), ["workspaceblobstore"]);
    owner.delete(&own).await.is(200);
    assert_eq!(owner.get(&own).await.is(200).at("/properties/accountName"), "scoregate.local_directory");
    let grant = grant_id(&own, Uuid::new_v4());
    owner.put(&grant, grant_body(builtin::DATA_SCIENTIST, object_id("outsider"))).await.is(201);
    world.stand.as_("outsider").get(&own).await.is(200);
    owner
        .put(
            &grant_id(&datastore("nothing"), Uuid::new_v4()),
            grant_body(builtin::DATA_SCIENTIST, object_id("outsider")),
        )
        .await
        .is(404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_files_keep_is_theirs() {
    let world = World::with(|plan| {
        plan.add("jobs.yaml", "name: jobs\ndefaults: { deployment_name: blue }\n".to_owned());
        plan.add(
            "blue.yaml",
            "name: blue\nendpoint_name: jobs\ntype: model\nbackend: { urls: [ \"http://127.0.0.1:9\" ] }\n".to_owned(),
        );
        plan.add(
            "store.yaml",
            format!("name: inputs\ntype: azure_blob\naccount_name: heart\ncontainer_name: data\ncredentials: {{ account_key: {KEY} }}\n"),
        );
    })
    .await;
    let owner = &world.owner;
    for (path, body) in [
        (batch_endpoint("jobs"), batch_endpoint_body(None)),
        (batch_deployment("jobs", "blue"), batch_deployment_body(&[&world.blue.url])),
        (batch_deployment("jobs", "red"), batch_deployment_body(&[&world.blue.url])),
        (datastore("inputs"), blob(&Value::Null)),
    ] {
        owner.put(&path, body).await.refuses(409, "ManagedByFiles");
        if !path.ends_with("red") {
            owner.get(&path).await.is(200);
            owner.delete(&path).await.refuses(409, "ManagedByFiles");
        }
    }
    let told = owner.post(&format!("{}/listSecrets", datastore("inputs")), "").await.is(200);
    assert_eq!(told.json["key"], KEY);
    world.stop().await;
}
