//! Two real Azure ML inference servers behind the gateway, and tokens from an issuer that we did not write.
//!
//! `tests/real/up.py` installs and starts them; see its README.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::raw::{Answer, ask};
use crate::support::stand::{SUBSCRIPTION, deployment};
use crate::support::{Plan, Stand};

/// The servers of `up.py`; they end when this does.
struct Servers {
    child: Child,
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
    facts: Value,
}

impl Servers {
    fn start() -> Servers {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut child = Command::new("python3")
            .arg(format!("{root}/tests/real/up.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let (say, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut servers = Servers { child, say, hear, facts: Value::Null };
        servers.facts = servers.listen();
        servers
    }

    fn listen(&mut self) -> Value {
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("up.py did not start its servers; see its messages: {line:?}"))
    }

    fn command(&mut self, command: &str) -> Value {
        writeln!(self.say.as_mut().unwrap(), "{command}").unwrap();
        self.listen()
    }

    fn fact(&self, pointer: &str) -> &str {
        self.facts.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
    }

    /// An access token by client credentials, as a client of Entra asks for one.
    async fn token(&self, who: &str) -> String {
        let form = [
            ("client_id", self.fact(&format!("/clients/{who}/client_id"))),
            ("client_secret", self.fact(&format!("/clients/{who}/client_secret"))),
            ("grant_type", "client_credentials"),
            ("scope", "https://ml.azure.com/.default"),
        ];
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.post(self.fact("/token_endpoint")).form(&form).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The end of its input tells it to stop what it started; waiting leaves no process behind.
        drop(self.say.take());
        let _ = self.child.wait();
    }
}

async fn score(stand: &Stand, token: &str, more: &str) -> Answer {
    let body = json!({"input_data": [[6.0, 2.7, 5.1, 1.6]]}).to_string();
    let request = format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    ask(stand.gateway.data, request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_are_scored_with_a_token_of_an_independent_issuer() {
    let mut servers = tokio::task::spawn_blocking(Servers::start).await.unwrap();
    let (authority, tenant) = (servers.fact("/authority").to_owned(), servers.fact("/tenant").to_owned());
    let mut plan = Plan::default().set(
        "identity",
        &format!("{{ entra: [ {{ authority: \"{authority}\", tenants: [ {tenant} ], v1_issuer: none, allow_http: true }} ] }}"),
    );
    plan = plan.set("limits", "{ jwks_cool_down: 10ms }");
    plan.add("ep.yaml", "name: my-ep\nauth_mode: aad_token\ntraffic: { blue: 90, green: 10 }\n".to_owned());
    plan.add("blue.yaml", deployment("my-ep", "blue", &[servers.fact("/blue")], ""));
    plan.add("green.yaml", deployment("my-ep", "green", &[servers.fact("/green")], ""));
    let scientist = servers.fact("/clients/scientist/object_id");
    plan.add(
        "grant.yaml",
        format!(
            "role: AzureML Data Scientist\nprincipal_id: {scientist}\nscope: /subscriptions/{SUBSCRIPTION}\n"
        ),
    );
    let stand = Stand::start(plan).await;

    // The split over a hundred requests to servers that close the connection with every answer.
    let token = servers.token("scientist").await;
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..100 {
        let answer = score(&stand, &token, "").await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.json());
        let model = answer.json()["model"].as_str().unwrap().to_owned();
        assert_eq!(answer.field("azureml-model-deployment"), Some(model.as_str()));
        assert!(
            answer.field("x-ms-server-version").is_some_and(|v| v.starts_with("azmlinfsrv/")),
            "{}",
            answer.head
        );
        *counts.entry(model).or_default() += 1;
    }
    assert!(counts["blue"].abs_diff(90) <= 2 && counts["blue"] + counts["green"] == 100, "{counts:?}");

    // The two models differ, and a request can be pinned to either.
    let pinned = |name: &str| format!("azureml-model-deployment: {name}\r\n");
    let blue = score(&stand, &token, &pinned("blue")).await.json();
    let green = score(&stand, &token, &pinned("green")).await.json();
    assert_ne!(blue["predictions"], green["predictions"]);

    // The same issuer's other client has no role; nobody has no token.
    let refused = score(&stand, &servers.token("outsider").await, "").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "AuthorizationFailed"));
    assert_eq!(score(&stand, "none", "").await.status, 401);

    // A server that is gone is told as such, and only of its own deployment.
    servers.command("stop green");
    assert_eq!(score(&stand, &token, &pinned("green")).await.status, 502);
    assert_eq!(score(&stand, &token, &pinned("blue")).await.status, 200);
    servers.command("start green");
    assert_eq!(score(&stand, &token, &pinned("green")).await.status, 200);

    // New signing keys are taken up when the first token under one comes.
    servers.command("restart-issuer");
    let fresh = servers.token("scientist").await;
    assert_eq!(score(&stand, &fresh, &pinned("blue")).await.status, 200);
    assert_eq!(
        score(&stand, &token, &pinned("blue")).await.status,
        401,
        "keys that are gone sign nothing any more"
    );
    stand.stop().await;
}
