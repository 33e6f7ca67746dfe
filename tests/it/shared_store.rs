//! Gateways that share a PostgreSQL server: one's change is the other's, the server may go and come back, and what
//! opens it is shown nowhere.

use std::time::Instant;

use scoregate::app::Gateway;
use scoregate::settings::Settings;
use serde_json::json;

use crate::support::pki::write_secret;
use crate::support::postgres::{PASSWORD, Server};
use crate::support::raw::ask;
use crate::support::rest::{Rest, deployment, deployment_body, endpoint, endpoint_body};
use crate::support::site::{MASTER_KEY, Site, run};
use crate::support::{Instance, Plan, Stand, until};

async fn score(gateway: &Gateway, key: &str) -> u16 {
    let message = format!(
        "POST /endpoints/shared/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    ask(gateway.data, message).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_on_one_server_see_each_others_changes_and_outlive_its_restart() {
    let server = Server::start();
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("master.key");
    write_secret(&key, MASTER_KEY);
    let plan = Plan::default()
        .owned()
        .set("store", &format!("\"{}\"", server.schema()))
        .set("master_key", &format!("{{ file: {} }}", key.display()))
        // Made if it is not there.
        .set("data_directory", "own/of-this-one");
    let stand = Stand::start(plan).await;
    let settings =
        Settings::load(&stand.directory.path().join("scoregate.yaml"), std::iter::empty()).unwrap();
    let other = Gateway::start(settings).await.unwrap();
    let roots = stand.directory.path().join("own/of-this-one/control-ca.pem");
    let token = stand.management_token("owner");
    let owner = Rest::new(stand.gateway.control, &roots).by(&token);
    let owner_of_other = Rest::new(other.control, &roots).by(&token);
    let blue = Instance::named("blue").await;

    // What one makes the other serves, with the very keys.
    assert_eq!(score(&other, "x").await, 404);
    owner.put(&endpoint("shared"), endpoint_body("Key", &json!({}))).await.is(201);
    let acknowledged = Instant::now();
    until("the other gateway has the endpoint", async || score(&other, "x").await == 401).await;
    println!("in force at the other gateway {:?} after it was acknowledged", acknowledged.elapsed());
    let keys = owner_of_other.post(&format!("{}/listKeys", endpoint("shared")), json!({})).await.is(200);
    let key = keys.at("/primaryKey").as_str().unwrap();
    owner_of_other.put(&deployment("shared", "blue"), deployment_body(&[&blue.url])).await.is(201);
    owner_of_other.put(&endpoint("shared"), endpoint_body("Key", &json!({"blue": 100}))).await.is(200);
    for gateway in [&stand.gateway, &other] {
        until("both score", async || score(gateway, key).await == 200).await;
    }

    // Without the server both go on scoring, and nothing is acknowledged.
    server.kill();
    for gateway in [&stand.gateway, &other] {
        assert_eq!((score(gateway, key).await, score(gateway, "x").await), (200, 401));
    }
    let unavailable = owner.put(&endpoint("lost"), endpoint_body("Key", &json!({}))).await.is(503);
    assert!(!unavailable.json.to_string().contains(PASSWORD));

    server.resume();
    owner_of_other.get(&endpoint("lost")).await.is(404);
    owner_of_other.put(&endpoint("shared"), endpoint_body("Key", &json!({}))).await.is(200);
    until("the change is in force at the first", async || score(&stand.gateway, key).await == 404).await;
    owner.delete(&endpoint("shared")).await.is(200);
    until("the removal is in force at the other", async || score(&other, key).await == 404).await;
    other.stop().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_the_server_is_shown_nowhere() {
    let store = Server::shared().schema();
    let secret = |text: &str| text.contains("sesame") || text.contains(PASSWORD);
    let site = Site::new(&[], &format!("store: \"{store}\"\n"));
    for arguments in [["serve", "--config", &site.config()], ["config", "check", &site.config()]] {
        let (code, out, errors) = run(&arguments);
        assert_ne!(code, 0);
        assert!(errors.contains("master_key.file: is missing"), "{errors}");
        assert!(!secret(&out) && !secret(&errors), "{out}{errors}");
    }
    write_secret(&site.path("shared.key"), MASTER_KEY);
    let right = format!(
        "store: \"{store}\"\nmaster_key: {{ file: shared.key }}\ndata_directory: .\nlogs: {{ level: trace }}\n"
    );
    site.configure(&right);
    let (code, out, errors) = run(&["config", "check", &site.config()]);
    assert!(code == 0 && !secret(&out) && !secret(&errors), "{out}{errors}");
    let mut process = site.serve();
    let (status, parts) = process.look("/readyz?verbose").await;
    assert!(status == 200 && parts.contains("store") && !secret(&parts), "{parts}");
    assert_eq!(process.logged(|record| secret(&record.to_string())), 0);
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));
    let (code, out, errors) = run(&["audit", "verify", "--config", &site.config()]);
    assert!(code == 0 && out.contains("none missing"), "{out}{errors}");

    // Another master key is another gateway's; another password opens nothing.
    std::fs::write(site.path("shared.key"), "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n").unwrap();
    let (code, line) = site.refuses();
    assert!(code == 1 && line.contains("the master key does not belong to") && !secret(&line), "{line}");
    site.configure(&right.replace("sesame", "semolina"));
    let (code, line) = site.refuses();
    assert!(code == 1 && line.contains("postgres://scoregate@127.0.0.1"), "{line}");
    assert!(line.contains("authentication") && !line.contains("semolina"), "{line}");
}
