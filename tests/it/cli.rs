//! The real binary: what it says, its exit codes, its signals, and its start after a sudden end.

use std::os::unix::fs::PermissionsExt;

use scoregate::identity::vault::Vault;

use crate::support::instance::Holding;
use crate::support::raw::ask;
use crate::support::site::{Process, Site, run};
use crate::support::stand::{SUBSCRIPTION, deployment, object_id};
use crate::support::{Instance, Plan, Raw, Stand, until};

const ENDPOINT: &str = "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n";

fn score(credential: &str) -> String {
    format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
}

#[test]
fn help_teaches_and_what_is_not_understood_is_exit_code_2() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for taught in [
        "Entra token",
        "scoregate dev --demo",
        "scoregate config check scoregate.yaml",
        "scoregate serve --config scoregate.yaml",
    ] {
        assert!(help.contains(taught), "{taught} is not in\n{help}");
    }
    for command in [&["serve"][..], &["dev"], &["config"], &["config", "check"], &["config", "schema"]] {
        let (code, help, _) = run(&[command, &["--help"]].concat());
        assert!(code == 0 && help.contains("Usage: scoregate"), "{command:?}\n{help}");
    }
    assert_eq!(run(&["--version"]).0, 0);
    for wrong in [&[][..], &["sreve"], &["serve"], &["serve", "--conifg", "x"], &["config", "check"]] {
        let (code, out, errors) = run(wrong);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}");
        assert!(errors.contains("Usage: scoregate"), "{wrong:?}\n{errors}");
    }
}

#[test]
fn the_schema_of_the_configuration_is_printed() {
    let (code, printed, errors) = run(&["config", "schema"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    for section in ["data_plane", "admin", "store", "identity", "workspaces", "owners", "resources", "limits"]
    {
        assert!(schema["properties"][section]["description"].is_string(), "{section}");
    }
}

#[test]
fn a_configuration_is_checked_with_its_resources() {
    let blue = ("blue.yaml", deployment("my-ep", "blue", &["http://127.0.0.1:5001"], ""));
    let site = Site::new(&[("ep.yaml", ENDPOINT.to_owned()), blue], "");
    let (code, out, errors) = run(&["config", "check", &site.config()]);
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    assert!(out.contains("2 resources are well-formed") && out.contains("scoregate.yaml: ok"), "{out}");

    std::fs::write(site.path("resources/ep.yaml"), "name: my-ep\nauth_mod: key\n").unwrap();
    let (code, _, errors) = run(&["config", "check", &site.config()]);
    assert_eq!(code, 2);
    assert!(errors.contains("ep.yaml:2") && errors.contains("auth_mod"), "{errors}");

    let (code, _, errors) = run(&["config", "check", "/nonexistent/scoregate.yaml"]);
    assert_eq!((code, errors.lines().count()), (2, 1), "{errors}");
    assert!(errors.contains("/nonexistent/scoregate.yaml"), "{errors}");
}

#[test]
fn every_mistake_of_a_configuration_is_told_and_nothing_is_started() {
    let site = Site::new(&[], "");
    let wrong = "data_plane: { listen: nowhere, workers: 0, layuot: per_core }\n\
                 admin: { listen: \"127.0.0.1:0\" }\n\
                 store: mysql://x\n\
                 owners: [ somebody ]\n\
                 identity: { clock_skew: 400s }\n\
                 limits: { request_body: none }\n\
                 unknown: 1\n";
    std::fs::write(site.path("scoregate.yaml"), wrong).unwrap();
    for command in [&["config", "check"][..], &["serve", "--config"]] {
        let config = site.config();
        let (code, out, errors) = run(&[command, &[config.as_str()]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}");
        for (line, field) in [
            (1, "listen"),
            (1, "workers"),
            (1, "layuot"),
            (3, "store"),
            (4, "owners"),
            (5, "clock_skew"),
            (6, "request_body"),
            (7, "unknown"),
        ] {
            let told = errors
                .lines()
                .any(|text| text.contains(&format!("scoregate.yaml:{line}:")) && text.contains(field));
            assert!(told, "{command:?}: line {line}, {field} is not in\n{errors}");
        }
    }
    assert!(!site.path("store.db").exists());
}

#[test]
fn what_keeps_it_from_starting_is_told_in_one_line_with_the_remedy() {
    let check = |site: &Site, told: &[&str]| {
        let (code, line) = site.refuses();
        assert_eq!(code, 1, "{line}");
        for part in told {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    };
    check(
        &Site::new(&[], "store: sqlite:///nonexistent/dir/s.db\n"),
        &["/nonexistent/dir/s.db", "mkdir -p /nonexistent/dir"],
    );

    let site = Site::new(&[], "master_key: { file: my.key }\n");
    let file = site.path("my.key");
    let named = file.display().to_string();
    check(&site, &[&named, "cannot be read", "openssl rand -base64 32"]);
    std::fs::write(&file, "c2hvcnQ=\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    check(&site, &[&named, "chmod 600"]);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    check(&site, &[&named, "32 bytes", "openssl rand -base64 32"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
    check(&site, &[&named, "is no file", "the gateway's user may read"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for section in ["data_plane", "admin"] {
        let site = Site::new(&[], &format!("{section}: {{ listen: \"{address}\" }}\n"));
        check(&site, &[&address, "free the port or choose another"]);
    }
    check(
        &Site::new(
            &[],
            "identity: { entra: [ { tenants: [ 00000000-0000-0000-0000-000000000001 ], ca_file: no.pem } ] }\n",
        ),
        &["no.pem"],
    );
    check(
        &Site::new(
            &[],
            "data_plane: { listen: \"127.0.0.1:0\", tls: { certificate: no.pem, private_key: no.key } }\n",
        ),
        &["no.pem"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_not_opened_with_another_master_key() {
    let site = Site::new(&[("ep.yaml", "name: my-ep\nauth_mode: key\n".to_owned())], "");
    let mut process = site.serve();
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));
    let (file, kept) = (site.path("master.key"), site.path("kept.key"));
    std::fs::rename(&file, &kept).unwrap();
    Vault::open(&file, true).unwrap();
    let (code, line) = site.refuses();
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("master key") && line.contains("restore"), "{line}");
    std::fs::rename(&kept, &file).unwrap();
    let mut process = site.serve();
    process.signal("-INT");
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_what_is_in_flight_finish() {
    for layout in ["per_core", "work_stealing"] {
        let blue = Holding::named("blue").await;
        let deployed = deployment("my-ep", "blue", &[&blue.url], "")
            .replace("512 }", "512, request_timeout_ms: 60000 }");
        let site = Site::new(
            &[("ep.yaml", ENDPOINT.to_owned()), ("blue.yaml", deployed)],
            &format!("data_plane: {{ listen: \"127.0.0.1:0\", workers: 2, layout: {layout} }}\n"),
        );
        let mut process = site.serve();
        let key = site.key().await;
        let (mut busy, mut idle) = (Raw::connect(process.data).await, Raw::connect(process.data).await);
        idle.say("GET /endpoints/nobody/score HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(idle.hear().await.unwrap().status, 404);
        busy.say(score(&key).replace("Content-Length: 2\r\n\r\n{}", "\r\n")).await;
        until("the request is at the instance", async || blue.sent() == 1).await;
        process.signal("-TERM");
        assert!(idle.closes().await, "a connection without a request is closed");
        process.refuses_connections().await;
        let ready = ask(process.admin, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!((ready.status, ready.body.as_slice()), (503, &b"not ready\n"[..]));
        assert!(process.child.try_wait().unwrap().is_none(), "it waits for the request");
        blue.go.send_replace(true);
        let answer = busy.hear().await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"blue"[..]));
        assert!(busy.closes().await);
        assert_eq!(process.ended().await, Some(0), "{layout}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_means_now() {
    let blue = Holding::named("blue").await;
    let deployed =
        deployment("my-ep", "blue", &[&blue.url], "").replace("512 }", "512, request_timeout_ms: 60000 }");
    let site = Site::new(&[("ep.yaml", ENDPOINT.to_owned()), ("blue.yaml", deployed)], "");
    let mut process = site.serve();
    let mut busy = Raw::connect(process.data).await;
    busy.say(score(&site.key().await).replace("Content-Length: 2\r\n\r\n{}", "\r\n")).await;
    until("the request is at the instance", async || blue.sent() == 1).await;
    process.signal("-TERM");
    process.refuses_connections().await;
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(143), "128 and the signal's number");
    assert!(busy.hear().await.is_none(), "cut, not answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_it_starts_from_the_store_with_the_same_decisions_even_without_its_issuer() {
    let blue = Instance::named("blue").await;
    let stand = Stand::start(Plan::endpoint("aad_token", &[&blue.url])).await;
    let tokens = ["scientist", "outsider", "owner"].map(|who| stand.token(who));
    let scope = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default");
    let grant =
        format!("role: AzureML Data Scientist\nprincipal_id: {}\nscope: {scope}\n", object_id("scientist"));
    let open = "name: open-ep\nauth_mode: aad_token\ntraffic: { blue: 100 }\n";
    let trusted = stand.trusted();
    let site = Site::new(
        &[
            ("ep.yaml", ENDPOINT.to_owned()),
            ("blue.yaml", deployment("my-ep", "blue", &[&blue.url], "")),
            ("open.yaml", open.to_owned()),
            ("open-blue.yaml", deployment("open-ep", "blue", &[&blue.url], "")),
            ("grant.yaml", grant),
        ],
        &trusted,
    );
    let mut process = site.serve();
    let key = site.key().await;
    let decisions = async |process: &Process| {
        let mut statuses = Vec::new();
        for token in &tokens {
            let message = score(token).replace("/my-ep/", "/open-ep/");
            statuses.push(ask(process.data, message).await.unwrap().status);
        }
        for key in [key.as_str(), "sgk_wrong"] {
            statuses.push(ask(process.data, score(key)).await.unwrap().status);
        }
        statuses
    };
    let expected = [200, 403, 200, 200, 401];
    assert_eq!(decisions(&process).await, expected);
    process.signal("-KILL");
    assert_eq!(process.ended().await, None);
    // The issuer is gone, and so are the files that the resources were written in.
    let ca = stand.directory.path().join("ca.pem").display().to_string();
    stand.stop().await;
    site.configure(&trusted.replace(&ca, "ca.pem"));
    std::fs::write(site.path("ca.pem"), rcgen_root()).unwrap();
    std::fs::remove_dir_all(site.path("resources")).unwrap();
    let mut process = site.serve();
    assert_eq!(decisions(&process).await, expected);
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(blue.count(), 6);
}

/// Some root; nobody is there whom it could vouch for.
fn rcgen_root() -> String {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()
}
