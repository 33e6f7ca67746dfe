//! Another configuration for a gateway that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use scoregate::settings::Settings;

use crate::support::raw::ask;
use crate::support::site::{Process, Site};
use crate::support::stand::{SUBSCRIPTION, TENANT, deployment};
use crate::support::{Instance, Plan, Raw, Stand, until};

const ENDPOINT: &str = "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n";

fn score(credential: &str, body: &str) -> String {
    format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn site(blue: &Instance, more: &str) -> Site {
    let files =
        [("ep.yaml", ENDPOINT.to_owned()), ("blue.yaml", deployment("my-ep", "blue", &[&blue.url], ""))];
    let site = Site::new(&files, "");
    site.configure(more);
    site
}

async fn metric(process: &Process, start: &str) -> u64 {
    let (_, text) = process.look("/metrics").await;
    let line = text.lines().find(|line| line.starts_with(start));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Waits until the gateway says this of its configuration.
async fn told(process: &Process, line: &str) {
    let mut last = String::new();
    let told = async {
        while !last.lines().any(|said| said.starts_with('[') && said.contains(line)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            last = process.look("/readyz?verbose").await.1;
        }
    };
    let told = tokio::time::timeout(crate::support::PATIENCE, told).await;
    assert!(told.is_ok(), "never told: {line}, but\n{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_in_force_whole_or_not_at_all() {
    let blue = Instance::named("blue").await;
    let site = site(&blue, "resources: resources\n");
    let process = site.serve();
    let key = site.key().await;
    let mut kept = Raw::connect(process.data).await;
    let mut status = async |body: &str| {
        kept.say(score(&key, body)).await;
        kept.hear().await.unwrap().status
    };
    assert_eq!(status("{\"a\": 1}").await, 200);
    let with = |limits: &str| format!("resources: resources\nlimits: {{ drain_notice: 0s, {limits} }}\n");

    // Good: for the next request, and connections that are open stay so.
    site.configure(&with("request_body: 5"));
    told(&process, "[+]configuration ok").await;
    assert_eq!(status("{}").await, 200);
    // Bad: every mistake is told, and nothing of it is in force.
    site.configure(&with("request_body: 1, drian: 5s"));
    told(&process, "[!]configuration degraded").await;
    told(&process, "limits.drian: no field has this name").await;
    assert_eq!(process.look("/readyz").await.0, 200, "it serves on");
    assert_eq!(metric(&process, "scoregate_configuration_ok").await, 0);
    let failures = "scoregate_reload_failures_total{what=\"configuration\"}";
    assert_eq!(metric(&process, failures).await, 1);
    assert_eq!(status("{}").await, 200);
    // What needs a restart: told by name, and nothing else of it is in force either.
    site.configure(
        &(with("request_body: 1, dns_refresh: 9s") + "store: memory\nadmin: { listen: \"127.0.0.1:0\" }\n"),
    );
    told(&process, "degraded: store, limits.dns_refresh need a restart").await;
    assert_eq!(status("{}").await, 200);
    site.configure(&with("request_body: 1, snapshot_max_age: 9s"));
    told(&process, "degraded: limits.snapshot_max_age needs a restart").await;
    assert_eq!(metric(&process, failures).await, 3);
    // Good again.
    site.configure(&with("request_body: 7"));
    told(&process, "[+]configuration ok").await;
    assert_eq!(metric(&process, "scoregate_configuration_ok").await, 1);
    assert_eq!(status("{ \"a\": 1 }").await, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_takes_the_file_up_at_once_and_the_log_level_with_it() {
    let blue = Instance::named("blue").await;
    let site = site(&blue, "resources: resources\n");
    let process = site.serve();
    let in_force = |record: &serde_json::Value| record["message"] == "the configuration is in force";
    for round in 1..=3 {
        process.signal("-HUP");
        until("it is taken up", async || process.logged(in_force) == round).await;
    }
    site.configure("resources: resources\nlogs: { level: error }\n");
    process.signal("-HUP");
    told(&process, "[+]configuration ok").await;
    site.configure("resources: resources\nlogs: { level: \"a=b=c\" }\n");
    told(&process, "degraded: logs.level `a=b=c`").await;
    site.configure("resources: resources\nlogs: { level: info }\n");
    until("it is taken up", async || process.logged(in_force) >= 4).await;
    assert_eq!(process.logged(in_force), 4, "at level error nothing is said of it");
}

/// What a hundred configurations differ in.
fn variant(number: usize) -> String {
    let pick = |words: &[&str]| words[number % words.len()].to_owned();
    format!(
        "data_plane: {{ listen: \"127.0.0.1:0\", workers: 2, unauthorized_status: {}, model_errors: {}, \
         trusted_proxies: [ 10.0.{number}.0/24 ], base_domain: models{number}.test }}\n\
         limits: {{ drain_notice: 0s, request_body: {}, header_time: {}s, http2_streams: {}, \
         connections: {}, token_cache_bytes: {} }}\n\
         owners: [ 00000000-0000-0000-0000-0000000000{:02} ]\n\
         workspaces: [ {{ subscription: {SUBSCRIPTION} }}, {{ subscription: {SUBSCRIPTION}, name: other{number} }} ]\n\
         logs: {{ level: \"{}\" }}\n\
         resources: resources\n",
        pick(&["403", "401"]),
        pick(&["passthrough", "failed_dependency"]),
        1000 + number,
        10 + number % 50,
        50 + number,
        5000 + number,
        1_000_000 + number,
        number % 100,
        pick(&["info", "debug,h2=info,hyper=info,sqlx=info", "info,scoregate::net=warn"]),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_configurations_under_load_fail_no_request() {
    let blue = Instance::named("blue").await;
    let site = site(&blue, &variant(0));
    let process = site.serve();
    let message = score(&site.key().await, "{}");
    let (done, sent, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let client = {
        let (done, sent, failed, data) = (done.clone(), sent.clone(), failed.clone(), process.data);
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(4));
            let mut kept = Raw::connect(data).await;
            while !done.load(Ordering::SeqCst) {
                beat.tick().await;
                let number = sent.fetch_add(1, Ordering::SeqCst);
                // Every tenth on a connection of its own.
                let answer = if number % 10 == 0 {
                    ask(data, &message).await
                } else {
                    kept.say(&message).await;
                    kept.hear().await
                };
                if answer.is_none_or(|answer| answer.status != 200) {
                    failed.fetch_add(1, Ordering::SeqCst);
                    kept = Raw::connect(data).await;
                }
            }
        })
    };
    let in_force = |record: &serde_json::Value| record["message"] == "the configuration is in force";
    for number in 1..=100 {
        site.configure(&variant(number));
        process.signal("-HUP");
        until("it is in force", async || process.logged(in_force) >= number).await;
    }
    done.store(true, Ordering::SeqCst);
    client.await.unwrap();
    let (sent, failed) = (sent.load(Ordering::SeqCst), failed.load(Ordering::SeqCst));
    println!("100 configurations under {sent} requests at 250/s: {failed} failed");
    assert_eq!(failed, 0, "of {sent}");
    assert!(sent > 100, "{sent}");
    assert_eq!(metric(&process, "scoregate_configuration_ok").await, 1);
}

/// The stand's settings with this change to its configuration file.
fn settings(stand: &Stand, change: impl Fn(String) -> String) -> Settings {
    let file = stand.directory.path().join("scoregate.yaml");
    let text = change(std::fs::read_to_string(&file).unwrap());
    Settings::parse("scoregate.yaml", &text, stand.directory.path(), std::iter::empty())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_planes_go_by_changes_with_it() {
    let blue = Instance::named("blue").await;
    let mut plan = Plan::endpoint("aad_token", &[&blue.url]).owned();
    plan = plan.data_plane("unauthorized_status: 403");
    let stand = Stand::start(plan).await;
    let (scientist, outsider) = (stand.token("scientist"), stand.token("outsider"));
    let mut kept = Raw::connect(stand.gateway.data).await;
    let mut status = async |token: &str| {
        kept.say(score(token, "{}")).await;
        kept.hear().await.unwrap().status
    };
    assert_eq!([status(&scientist).await, status(&outsider).await], [200, 403]);

    let change = async |from: &str, to: &str| {
        let settings = settings(&stand, |text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
        stand.gateway.reconfigure(settings).await
    };
    let original = async || change("resources", "resources").await.unwrap();

    change("unauthorized_status: 403", "unauthorized_status: 401").await.unwrap();
    assert_eq!([status(&scientist).await, status(&outsider).await], [200, 401]);

    // The audience is another: a token that was remembered is refused all the same.
    change("identity: {", "identity: { data_audiences: [ other ], ").await.unwrap();
    assert_eq!(status(&scientist).await, 401);
    original().await;
    assert_eq!([status(&scientist).await, status(&outsider).await], [200, 403]);

    // So it is when its tenant is trusted no more.
    change(&format!("tenants: [ {TENANT} ]"), &format!("tenants: [ {SUBSCRIPTION} ]")).await.unwrap();
    assert_eq!(status(&scientist).await, 401);
    original().await;
    assert_eq!(status(&scientist).await, 200);
    // Keys that cannot be fetched do not replace those that are there.
    std::fs::remove_dir_all(stand.directory.path().join("issuers")).unwrap();
    let nowhere = change(&stand.authority, "https://127.0.0.1:1").await.unwrap_err().to_string();
    assert!(nowhere.contains("cannot be fetched just now"), "{nowhere}");
    assert_eq!(status(&scientist).await, 200);
    let unread = change("ca_file: ca.pem", "ca_file: none.pem").await.unwrap_err().to_string();
    assert!(unread.contains("none.pem"), "{unread}");
    assert_eq!(status(&scientist).await, 200);

    // Owners, on the control plane and in the snapshot.
    let workspace = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/default/providers/Microsoft.MachineLearningServices/workspaces/default?api-version=2024-04-01"
    );
    let (owner, reader) = (stand.as_("owner"), stand.as_("reader"));
    let may = async || (owner.get(&workspace).await.status, reader.get(&workspace).await.status);
    assert_eq!(may().await, (200, 404));
    let ids = ["owner", "reader"].map(|name| crate::support::stand::object_id(name).to_string());
    change(&ids[0], &ids[1]).await.unwrap();
    assert_eq!(may().await, (404, 200));
    original().await;
    assert_eq!(may().await, (200, 404));

    // Another workspace.
    let other = workspace.replace("/workspaces/default?", "/workspaces/other?");
    assert_eq!(owner.get(&other).await.status, 404);
    let line = "workspaces: [ ";
    change(line, &format!("{line}{{ subscription: {SUBSCRIPTION}, name: other }}, ")).await.unwrap();
    assert_eq!(owner.get(&other).await.status, 200);
    original().await;
    assert_eq!(owner.get(&other).await.status, 404);

    // A place that is taken away is taken away from those who come, not from those who are here.
    let limits = "logs: {";
    change(limits, "limits: { connections: 1 }\nlogs: {").await.unwrap();
    assert!(ask(stand.gateway.data, score(&scientist, "{}")).await.is_none());
    assert_eq!(status(&scientist).await, 200);
    original().await;
    assert_eq!(ask(stand.gateway.data, score(&scientist, "{}")).await.unwrap().status, 200);

    let refused = change("store.db", "other.db").await.unwrap_err().to_string();
    assert_eq!(refused, "store needs a restart");
    stand.stop().await;
}
