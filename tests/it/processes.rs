//! Instances that the gateway runs itself.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::raw::{Answer, ask};
use crate::support::rest;
use crate::support::site::{Site, run};
use crate::support::{Plan, Stand, until};

/// A model server of few words: tells who it is, ends when it is told to, ends after a while if its environment says so.
const SERVER: &str = r#"
import http.server, json, os, sys, threading, time

class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/die":
            os._exit(3)
        if self.path == "/slow":
            time.sleep(1)
        text = json.dumps({"pid": os.getpid(), "version": os.environ.get("VERSION"), "cwd": os.getcwd(), "env": sorted(os.environ)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = answer
    def log_message(self, *words):
        pass

if os.environ.get("BROKEN"):
    print("the model file is missing", file=sys.stderr, flush=True)
    sys.exit(7)
print("loading version", os.environ.get("VERSION"), flush=True)
time.sleep(float(os.environ.get("LOADING", "0")))
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model)
server.daemon_threads = True
server.serve_forever()
"#;

/// A deployment that runs the server.
fn blue(directory: &Path, count: usize, environment: &str) -> String {
    std::fs::write(directory.join("server.py"), SERVER).unwrap();
    format!(
        "name: blue\nendpoint_name: my-ep\ninstance_count: {count}\nenvironment_variables: {{ {environment} }}\n\
         backend: {{ command: [ python3, server.py, \"{{port}}\" ], working_directory: \"{}\" }}\n\
         request_settings: {{ max_concurrent_requests_per_instance: 64, request_timeout_ms: 20000 }}\n",
        directory.display()
    )
}

fn plan(deployment: &str) -> Plan {
    Plan::endpoint("aad_token", &[])
        .owned()
        .set("limits", "{ restart_pause: 50ms, restart_pause_max: 200ms, process_stop: 2s }")
        .blue(deployment.to_owned())
}

async fn score(stand: &Stand, path: &str) -> Option<Answer> {
    let token = stand.token("scientist");
    let message = format!(
        "POST /endpoints/my-ep{path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    ask(stand.gateway.data, message).await
}

async fn answered(stand: &Stand) -> Option<Value> {
    score(stand, "/score").await.filter(|answer| answer.status == 200).map(|answer| answer.json())
}

/// The processes that answer, once so many of them live.
async fn serving(stand: &Stand, count: usize) -> HashSet<i64> {
    let mut pids = HashSet::new();
    until(&format!("{count} serve"), async || {
        pids.extend(answered(stand).await.and_then(|answer| answer["pid"].as_i64()));
        pids.retain(|pid| lives(*pid));
        pids.len() == count
    })
    .await;
    pids
}

fn lives(pid: i64) -> bool {
    // A process that ended and was not yet waited for has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_run_started_again_and_stopped() {
    let home = tempfile::tempdir().unwrap();
    let stand = Stand::start(plan(&blue(home.path(), 2, "VERSION: one"))).await;
    let first = serving(&stand, 2).await;
    let answer = answered(&stand).await.unwrap();
    assert_eq!(
        (&answer["version"], answer["cwd"].as_str()),
        (&json!("one"), home.path().canonicalize().unwrap().to_str())
    );
    let environment = answer["env"].to_string();
    assert!(environment.contains("PATH") && !environment.contains("CARGO"), "{environment}");
    // One ends; another takes its place.
    let answer = score(&stand, "/die").await.unwrap();
    assert_eq!((answer.status, answer.reason()), (502, Some("connection_broken")));
    until("one is gone", async || first.iter().any(|pid| !lives(*pid))).await;
    let second = serving(&stand, 2).await;
    assert_eq!(second.intersection(&first).count(), 1, "{first:?} {second:?}");
    // What they wrote can be read, by whoever may.
    let owner = stand.as_("owner");
    let logs = owner
        .post(&format!("{}/getLogs", rest::deployment("my-ep", "blue")), json!({"tail": 1}))
        .await
        .is(200);
    let content = logs.at("/content").as_str().unwrap().to_owned();
    assert_eq!(content.matches("loading version one").count(), 2, "{content}");
    stand.stop().await;
    assert!(second.iter().all(|pid| !lives(*pid)), "they end with the gateway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_described_anew_is_replaced_without_a_gap() {
    let home = tempfile::tempdir().unwrap();
    let stand = Stand::start(plan(&blue(home.path(), 2, "VERSION: one"))).await;
    let first = serving(&stand, 2).await;
    stand.put("blue.yaml", &blue(home.path(), 2, "VERSION: two, LOADING: \"0.3\""));
    let (mut asked, mut versions) = (0, HashSet::new());
    until("only the new one answers", async || {
        let slow = score(&stand, "/slow");
        let (slow, quick) = tokio::join!(slow, answered(&stand));
        assert_eq!(slow.expect("an answer").status, 200, "what is worked on is finished");
        let quick = quick.expect("an answer while instances are replaced");
        asked += 2;
        versions.insert(quick["version"].to_string());
        quick["version"] == "two" && first.iter().all(|pid| !lives(*pid))
    })
    .await;
    println!("{asked} requests while two instances were replaced, none failed; versions seen: {versions:?}");
    // One that can never start leaves the old ones at work.
    let second = serving(&stand, 2).await;
    stand.put("blue.yaml", &blue(home.path(), 2, "BROKEN: \"1\""));
    let owner = stand.as_("owner");
    until("it is said to loop", async || {
        let shown = owner.get(&rest::deployment("my-ep", "blue")).await.is(200);
        shown.at("/properties/properties/scoregate.instances").as_str().unwrap().contains("crash_looping")
    })
    .await;
    assert_eq!(serving(&stand, 2).await, second);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_keeps_ending_is_said_to_and_its_last_words_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let stand = Stand::start(plan(&blue(home.path(), 1, "BROKEN: \"1\""))).await;
    let owner = stand.as_("owner");
    let id = rest::deployment("my-ep", "blue");
    until("it is said to loop", async || {
        owner.get(&id).await.is(200).at("/properties/provisioningState") == "Failed"
    })
    .await;
    let shown = owner.get(&id).await.is(200);
    let instances = shown.at("/properties/properties/scoregate.instances").as_str().unwrap().to_owned();
    let instances: Value = serde_json::from_str(&instances).unwrap();
    assert_eq!(instances[0]["state"], "crash_looping");
    assert!(instances[0]["restarts"].as_u64().unwrap() >= 3, "{instances}");
    assert_eq!(instances[0]["last_end"], "exit status: 7");
    let logs = owner.post(&format!("{id}/getLogs"), json!({})).await.is(200);
    assert!(logs.at("/content").as_str().unwrap().contains("the model file is missing"));
    let answer = score(&stand, "/score").await.unwrap();
    assert_eq!((answer.status, answer.reason()), (503, Some("no_instance")));
    // What was shown can be sent back, as clients do.
    assert_eq!(shown.at("/name"), "blue");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_may_run_only_what_the_operator_lists() {
    let command = json!({"scoregate.backend": json!({"command": ["python3", "-c", "pass"]}).to_string()});
    let body =
        json!({"location": "local", "properties": {"endpointComputeType": "Managed", "properties": command}});
    for (programs, status) in
        [("", 400), ("programs: [ node ]", 400), ("programs: [ python3 ]", 201), ("programs: [ \"*\" ]", 201)]
    {
        let stand =
            Stand::start(Plan::default().owned().set("instances", &format!("{{ {programs} }}"))).await;
        let owner = stand.as_("owner");
        owner.put(&rest::endpoint("my-ep"), rest::endpoint_body("Key", &json!({}))).await.is(201);
        let reply = owner.put(&rest::deployment("my-ep", "blue"), body.clone()).await;
        assert_eq!(reply.status, status, "{programs}: {reply:?}");
        if status == 201 {
            // A client that sends back what it was shown changes nothing.
            let shown = owner.get(&rest::deployment("my-ep", "blue")).await.is(200);
            owner.put(&rest::deployment("my-ep", "blue"), shown.json.clone()).await.is(200);
        }
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_live_is_started_again() {
    let home = tempfile::tempdir().unwrap();
    // Alive is whoever can read this file.
    let alive = home.path().join("alive");
    std::fs::write(&alive, "").unwrap();
    let script = SERVER.replace(
        "body = self.rfile",
        "if self.path == \"/alive\" and not os.path.exists(\"alive\"):\n            time.sleep(30)\n        body = self.rfile",
    );
    let deployment = blue(home.path(), 1, "VERSION: one")
        + "liveness_probe: { initial_delay: 3, period: 0, timeout: 1, failure_threshold: 1 }\nliveness_route: /alive\n";
    std::fs::write(home.path().join("server.py"), script).unwrap();
    let stand = Stand::start(plan(&deployment)).await;
    let first = serving(&stand, 1).await;
    std::fs::remove_file(&alive).unwrap();
    until("it is gone", async || first.iter().all(|pid| !lives(*pid))).await;
    std::fs::write(&alive, "").unwrap();
    assert_ne!(serving(&stand, 1).await, first);
    stand.stop().await;
}

/// An instance that says who it is, and ends only if it is ended.
const SLEEPER: &str = "echo $$ >> pids; exec sleep 600";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_end_with_a_gateway_that_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let deployment = format!(
        "name: blue\nendpoint_name: my-ep\ninstance_count: 3\n\
         backend: {{ command: [ sh, -c, {SLEEPER:?}, \"{{port}}\" ], working_directory: \"{}\" }}\n",
        home.path().display()
    );
    let endpoint = "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned();
    let site = Site::new(&[("ep.yaml", endpoint), ("blue.yaml", deployment)], "");
    let running = || -> Vec<i64> {
        let text = std::fs::read_to_string(home.path().join("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    for (signal, code) in [("-KILL", None), ("-TERM", Some(0))] {
        let _ = std::fs::remove_file(home.path().join("pids"));
        let mut gateway = site.serve();
        until("three run", async || running().len() == 3).await;
        let pids = running();
        assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
        gateway.signal(signal);
        assert_eq!(gateway.ended().await, code);
        until("none of them runs", async || pids.iter().all(|pid| !lives(*pid))).await;
        assert_eq!(running(), pids, "none was started meanwhile");
    }
}

#[test]
fn the_helper_runs_for_its_own_parent_only_and_says_what_it_cannot_run() {
    let own = std::process::id().to_string();
    let helper = |parent: &str, program: &[&str]| {
        run(&[&["exec-instance", "--parent", parent, "--"], program].concat())
    };
    assert_eq!(helper(&own, &["sh", "-c", "echo $0 $1", "a", "{b"]), (0, "a {b\n".to_owned(), String::new()));
    let (code, output, errors) = helper(&own, &["no-such-program"]);
    assert_eq!((code, output.as_str()), (127, ""));
    assert!(errors.starts_with("scoregate: `no-such-program` cannot be run: No such file"), "{errors}");
    let (code, output, errors) = helper("1", &["echo", "a"]);
    assert_eq!((code, output.as_str()), (126, ""));
    assert!(errors.contains("the gateway that started this is gone"), "{errors}");
    let (_, help, _) = run(&["--help"]);
    assert!(!help.contains("exec-instance"), "{help}");
}
