//! What tests of batch jobs share: a model that adds up the numbers of each row, and a client that submits jobs and
//! waits for their end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::instance::{Instance, Seen, ok};
use super::raw::{Answer, ask};
use super::site::Site;
use super::stand::{SUBSCRIPTION, Stand};
use super::until;

/// The sums of the rows of a `dataframe_split`; what is no number counts nothing.
pub fn sums(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let rows = body["dataframe_split"]["data"].as_array().cloned().unwrap_or_default();
    let sum = |row: &Value| row.as_array().into_iter().flatten().filter_map(Value::as_f64).sum::<f64>();
    rows.iter().map(|row| json!(sum(row))).collect()
}

/// A model that answers the sum of each row.
pub async fn adder() -> Instance {
    Instance::scripted(Arc::new(|seen: &Seen| {
        (ok(&json!({"predictions": sums(&seen.body)}).to_string()), false)
    }))
    .await
}

/// The same, whose answers go through `change` first; it is told how many requests there were before.
pub async fn adder_with(
    change: impl Fn(usize, &Seen, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> Instance {
    let count = AtomicUsize::new(0);
    Instance::scripted(Arc::new(move |seen: &Seen| {
        let answer = ok(&json!({"predictions": sums(&seen.body)}).to_string());
        (change(count.fetch_add(1, Ordering::SeqCst), seen, answer), false)
    }))
    .await
}

/// An adder that holds each request whose first row begins with a number that it may not yet answer.
pub struct Held {
    pub instance: Instance,
    below: watch::Sender<u64>,
}

impl Held {
    /// One that answers rows whose number is below this one.
    pub async fn below(number: u64) -> Held {
        let below = watch::Sender::new(number);
        let told = below.clone();
        let gate = move |seen: &Seen| -> BoxFuture<'static, ()> {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let (mut below, row) =
                (told.subscribe(), body["dataframe_split"]["data"][0][0].as_u64().unwrap_or(0));
            Box::pin(async move {
                // An error is the end of the test.
                let _ = below.wait_for(|below| row < *below).await;
            })
        };
        let script = |seen: &Seen| (ok(&json!({"predictions": sums(&seen.body)}).to_string()), false);
        Held { instance: Instance::gated(Arc::new(script), Arc::new(gate)).await, below }
    }

    /// Answers rows up to this one, too.
    pub fn answer_below(&self, number: u64) {
        self.below.send_replace(number);
    }

    /// Answers so many rows more.
    pub fn answer_more(&self, rows: u64) {
        self.below.send_modify(|below| *below += rows);
    }
}

/// An answer with this status.
pub fn fails(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// Resource files of batch endpoint `heart` with deployment `blue` at these instances, `settings` of which end so.
pub fn resources(urls: &[&str], settings: &str) -> Vec<(String, String)> {
    let urls = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    vec![
        (
            "heart.yaml".to_owned(),
            "name: heart\nauth_mode: aad_token\ndefaults: { deployment_name: blue }\n".to_owned(),
        ),
        (
            "heart-blue.yaml".to_owned(),
            format!(
                "name: blue\nendpoint_name: heart\ntype: model\nbackend: {{ urls: [ {urls} ] }}\n\
                 settings: {{ request_format: dataframe_split, {settings} }}\n"
            ),
        ),
    ]
}

/// A site with these resource files, owned by the `owner` of the stand's issuer, whose gateways give up what they hold
/// soon after they are gone; `more` is put into its configuration.
pub fn site(resources: &[(String, String)], stand: &Stand, more: &str) -> Site {
    let named: Vec<(&str, String)> =
        resources.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    Site::new(&named, &format!("{more}limits: {{ batch_lease: 1s, drain_notice: 0s }}\n{}", stand.trusted()))
}

/// The default store of the default workspace of a gateway whose store is in this directory.
pub fn store_of(directory: &Path) -> PathBuf {
    directory.join("datastores/workspaceblobstore").join(SUBSCRIPTION).join("default/default")
}

/// Writes `count` files of `rows` rows `number,…` into a folder, and gives what the adder makes of them in a CSV.
pub fn numbers(folder: &Path, count: usize, rows: usize) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let mut expected = String::new();
    for file in 0..count {
        let name = format!("part-{file:05}.csv");
        let mut text = String::from("a,b,c\n");
        for row in 0..rows {
            let (a, b) = (file * rows + row, file);
            text.push_str(&format!("{a},{b},x\n"));
            expected.push_str(&format!("{name},{}.0\r\n", a + b));
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
    expected
}

/// Somebody who calls batch endpoints.
#[derive(Clone)]
pub struct Caller {
    pub address: SocketAddr,
    pub token: String,
}

impl Caller {
    /// One call below `/endpoints/heart/jobs`.
    pub async fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let message = format!(
            "{method} /endpoints/heart/jobs{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.token,
            body.len()
        );
        ask(self.address, message).await.unwrap()
    }

    /// Submits a job over a folder or file of the default store; `more` is merged into its properties.
    pub async fn submit(&self, input: &str, more: Value) -> Answer {
        self.call("POST", "", "", &body(input, more).to_string()).await
    }

    /// The job, which there is.
    pub async fn show(&self, name: &str) -> Value {
        let answer = self.call("GET", &format!("/{name}"), "", "").await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Submits a job, waits for its end and gives it.
    pub async fn run(&self, input: &str, more: Value) -> Value {
        let answer = self.submit(input, more).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        self.end(answer.json()["name"].as_str().unwrap()).await
    }

    /// Waits for a job's end and gives it.
    pub async fn end(&self, name: &str) -> Value {
        let mut job = Value::Null;
        until("the job ends", async || {
            job = self.show(name).await;
            ended(&job)
        })
        .await;
        job
    }

    /// Waits until so many mini-batches of a job are done.
    pub async fn done(&self, name: &str, count: u64) {
        until("mini-batches are done", async || {
            self.show(name).await["properties"]["scoregate"]["counts"]["done"].as_u64().unwrap_or(0) >= count
        })
        .await;
    }
}

/// The body of an invocation.
pub fn body(input: &str, more: Value) -> Value {
    let kind = if Path::new(input).extension().is_some() { "UriFile" } else { "UriFolder" };
    let uri = if input.contains("://") {
        input.to_owned()
    } else {
        format!("azureml://datastores/workspaceblobstore/paths/{input}")
    };
    let mut properties = json!({"inputData": {"data": {"jobInputType": kind, "uri": uri}}});
    if let (Some(fields), Value::Object(more)) = (properties.as_object_mut(), more) {
        fields.extend(more);
    }
    json!({"properties": properties})
}

/// A job's status.
pub fn status(job: &Value) -> &str {
    job["properties"]["status"].as_str().unwrap_or_default()
}

/// Whether a job has come to its end.
pub fn ended(job: &Value) -> bool {
    ["Completed", "Failed", "Canceled"].contains(&status(job))
}

/// The code of what a job failed with.
pub fn failure(job: &Value) -> &str {
    job["properties"]["scoregate"]["failure"]["code"].as_str().unwrap_or_default()
}

/// The output of a job in the default store, as text.
pub fn output(directory: &Path, job: &Value) -> String {
    written(directory, job).unwrap_or_else(|| panic!("no output of {job}"))
}

/// The same, if there is one.
pub fn written(directory: &Path, job: &Value) -> Option<String> {
    let name = job["name"].as_str().unwrap();
    std::fs::read_to_string(store_of(directory).join(format!("azureml/{name}/score/predictions.csv"))).ok()
}
