//! `scoregate batch-endpoint invoke`: a job from flags, from a file in the form of `az ml`, or from both.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body;
use crate::cli::client::{Refusal, RestError};
use crate::cli::context::Context;
use crate::cli::credential::Purpose;
use crate::cli::edit::{self, Edits};
use crate::cli::failure::Failure;
use crate::cli::http::{Answer, HttpError, TIME};
use crate::cli::invoke::{by_flag, looked_up};
use crate::cli::{file, job};
use crate::forms::Node;

/// Pauses before the request is sent again because the connection broke.
const AGAIN: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// What looking up an endpoint takes.
const READ: &str = "Microsoft.MachineLearningServices/workspaces/batchEndpoints/read";

/// Examples for the help.
pub const EXAMPLES: &str = "Examples:
  scoregate batch-endpoint invoke -n heart --input azureml://datastores/workspaceblobstore/paths/in --stream
  scoregate batch-endpoint invoke -n heart --input https://data.example.com/heart.csv --job-name nightly-7 -m 20

  # the job's name for scripts
  JOB=$(scoregate batch-endpoint invoke -n heart -f job.yml --query name -o tsv)
  scoregate job stream -n $JOB

job.yml:
  inputs:
    heart: { type: uri_folder, path: azureml://datastores/workspaceblobstore/paths/in }
  outputs:
    score: { type: uri_file, path: azureml://datastores/workspaceblobstore/paths/out/predictions.jsonl }
  mini_batch_size: 20
  max_concurrency_per_instance: 2
  error_threshold: 10
  output_file_name: predictions.jsonl
  retry_settings: { max_retries: 3, timeout: 60 }
  compute: { instance_count: 2 }

Flags and --set go before the file. The job belongs to you: its data is read and its requests are made by your rights,
which are looked at again at each mini-batch. A refusal lists every right that is missing.";

/// An invocation.
#[derive(Debug, Args)]
pub struct Invoke {
    /// The endpoint's name
    #[arg(short, long)]
    pub name: String,
    /// The deployment that scores; else the endpoint's default
    #[arg(short, long, value_name = "NAME")]
    deployment_name: Option<String>,
    /// A job in the form of `az ml`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What is scored: https://… or azureml://datastores/NAME/paths/PATH
    #[arg(long, value_name = "URI", visible_alias = "input-path", required_unless_present_any = ["file", "input_data", "input_local_path"])]
    input: Option<String>,
    /// Whether that is a folder or a file; a name with an extension is taken for a file
    #[arg(long, value_enum, value_name = "TYPE", requires = "input")]
    input_type: Option<InputType>,
    /// Where the output goes: a folder of a data store, or a file; else azureml/JOB/score/ of workspaceblobstore
    #[arg(long, value_name = "URI")]
    output_path: Option<String>,
    /// Files in a mini-batch
    #[arg(short, long, value_name = "N")]
    mini_batch_size: Option<u64>,
    /// Instances that work for the job
    #[arg(short = 'c', long, value_name = "N")]
    instance_count: Option<u32>,
    /// The job's name; else one is made
    #[arg(long, value_name = "NAME")]
    job_name: Option<String>,
    /// A label for jobs that belong together
    #[arg(long, value_name = "NAME")]
    experiment_name: Option<String>,
    #[command(flatten)]
    edits: Edits,
    /// Follow the job to its end, as `scoregate job stream` does
    #[arg(long)]
    stream: bool,
    #[arg(long, hide = true, conflicts_with = "input")]
    input_data: Option<String>,
    #[arg(long, hide = true)]
    input_local_path: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum InputType {
    UriFolder,
    UriFile,
}

impl InputType {
    fn word(self) -> &'static str {
        match self {
            InputType::UriFolder => "uri_folder",
            InputType::UriFile => "uri_file",
        }
    }

    /// What an address is, by its last name: one with an extension is a file.
    fn of(uri: &str) -> InputType {
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        // A host is no file.
        let path = path
            .split_once("://")
            .map_or(path, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_file = name.rsplit_once('.').is_some_and(|(stem, end)| {
            !stem.is_empty() && !end.is_empty() && end.chars().all(|c| c.is_ascii_alphanumeric())
        });
        if is_file { InputType::UriFile } else { InputType::UriFolder }
    }
}

impl Invoke {
    /// The job as a document: the file's, with what the flags say in its place.
    fn document(&self) -> Result<Node, Failure> {
        if self.input_local_path.is_some() {
            let told = "--input-local-path: nothing is uploaded; put the files where a data store finds them, and name them \
                        with --input azureml://datastores/NAME/paths/PATH";
            return Err(Failure::usage(told));
        }
        let mut node = match &self.file {
            Some(file) => file::one(file)?,
            None => edit::empty(),
        };
        let one = |uri: &str, kind: InputType| json!({"type": kind.word(), "path": uri});
        if let Some(uri) = self.input.as_ref().or(self.input_data.as_ref()) {
            let kind = self.input_type.unwrap_or_else(|| InputType::of(uri));
            edit::put(&mut node, "inputs", &json!({"input": one(uri, kind)}))?;
        }
        if let Some(uri) = &self.output_path {
            edit::put(&mut node, "outputs", &json!({"score": one(uri, InputType::of(uri))}))?;
        }
        let fields = [
            ("mini_batch_size", self.mini_batch_size.map(|size| json!(size))),
            ("compute", self.instance_count.map(|count| json!({"instance_count": count}))),
            ("name", self.job_name.as_ref().map(|name| json!(name))),
            ("experiment_name", self.experiment_name.as_ref().map(|name| json!(name))),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                edit::put(&mut node, key, &value)?;
            }
        }
        self.edits.apply(&mut node)?;
        Ok(node)
    }

    /// Makes the job and prints it, or follows it.
    pub async fn run(&self, context: &Context, workspace: &str, endpoint: &str) -> Result<ExitCode, Failure> {
        let body = body::read(self.file.as_deref(), &self.document()?)?;
        let (_, url) = looked_up(context, endpoint, READ).await?;
        let made = submit(context, &url, &body, self.deployment_name.as_deref(), &AGAIN).await?;
        let name = made.get("name").and_then(Value::as_str).unwrap_or_default();
        if !self.stream {
            job::print(context, &made)?;
            return Ok(ExitCode::SUCCESS);
        }
        context.note(&format!("job {name}"));
        let path = job::at(workspace, name);
        job::stream::follow(context, &path, job::stream::PAUSES, job::stream::interrupted()).await
    }
}

/// Posts an invocation. When the connection breaks it is sent again under the same id, by which the server knows it.
async fn submit(
    context: &Context,
    url: &str,
    body: &Value,
    deployment: Option<&str>,
    again: &[Duration],
) -> Result<Value, Failure> {
    let credentials = context.client.credentials();
    let token = credentials.token(Purpose::Scoring).await;
    let token = token.map_err(|error| Failure::failed(error.to_string()))?;
    let id = Uuid::new_v4().to_string();
    let mut pauses = again.iter();
    let answer = loop {
        let mut request = credentials
            .http
            .request(Method::POST, url)
            .bearer_auth(token.secret.as_str())
            .header("repeatability-request-id", &id)
            .json(body);
        if let Some(name) = deployment {
            request = request.header("azureml-model-deployment", name);
        }
        match (credentials.http.send(request, TIME).await, pauses.next()) {
            (Err(HttpError::Unreachable { why, .. }), Some(pause)) => {
                context.note(&format!("{url}: {why}; trying again"));
                tokio::time::sleep(*pause).await;
            }
            (answer, _) => break answer?,
        }
    };
    read(url, &answer)
}

fn read(url: &str, answer: &Answer) -> Result<Value, Failure> {
    if !(200..300).contains(&answer.status) {
        let mut refusal = Refusal::of(answer);
        refusal.message = by_flag(&refusal.message);
        return Err(RestError::Refused(Box::new(refusal)).into());
    }
    let made: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if made.get("name").is_some_and(Value::is_string) {
        return Ok(made);
    }
    Err(HttpError::Answer { url: url.to_owned(), what: "something that is no job".to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cli::fake::{Fake, Got, WORKSPACE, said};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        invoke: Invoke,
    }

    fn invoke(line: &[&str]) -> Result<Invoke, String> {
        let line = ["invoke", "-n", "heart"].iter().chain(line);
        Line::try_parse_from(line).map(|line| line.invoke).map_err(|error| error.to_string())
    }

    fn made_of(line: &[&str]) -> Result<Value, String> {
        let invoke = invoke(line)?;
        let document = invoke.document().map_err(|error| error.to_string())?;
        body::read(invoke.file.as_deref(), &document).map_err(|error| error.to_string())
    }

    #[test]
    fn an_extension_makes_a_file() {
        for (uri, is_file) in [
            ("https://h.example/a/heart.csv", true),
            ("https://h.example/a/heart.csv?sig=a.b", true),
            ("azureml://datastores/d/paths/in/x.parquet", true),
            ("/subscriptions/s/…/datastores/d/paths/a.b/c", false),
            ("https://h.example", false),
            ("https://h.example/", false),
            ("azureml://datastores/d/paths/in", false),
            ("azureml://datastores/d/paths/.hidden", false),
            ("azureml://datastores/d/paths/a.", false),
            ("azureml://datastores/d/paths/v1.2/", false),
        ] {
            assert_eq!(matches!(InputType::of(uri), InputType::UriFile), is_file, "{uri}");
        }
    }

    #[test]
    fn flags_make_a_body() {
        let folder = "azureml://datastores/d/paths/in";
        assert_eq!(
            made_of(&["--input", folder]).unwrap(),
            json!({"properties": {"inputData": {"input": {"jobInputType": "UriFolder", "uri": folder}}}})
        );
        let line = [
            "--input-path",
            "https://h/a.csv",
            "--input-type",
            "uri_folder",
            "--output-path",
            "azureml://datastores/d/paths/o.csv",
            "-m",
            "20",
            "-c",
            "4",
            "--job-name",
            "j1",
            "--experiment-name",
            "e",
            "--set",
            "output_file_name=p.jsonl",
            "retry_settings.timeout=300",
            "error_threshold=-1",
        ];
        let expected = json!({"properties": {
            "inputData": {"input": {"jobInputType": "UriFolder", "uri": "https://h/a.csv"}},
            "outputData": {"score": {"jobOutputType": "UriFile", "uri": "azureml://datastores/d/paths/o.csv"}},
            "name": "j1", "properties": {"experimentName": "e"}, "miniBatchSize": 20, "compute": {"instanceCount": 4},
            "outputFileName": "p.jsonl", "errorThreshold": -1, "retrySettings": {"timeout": "PT300S"}}});
        assert_eq!(made_of(&line).unwrap(), expected);
        for (line, told) in [
            (&[][..], "--input <URI>"),
            (&["--input-type", "uri_file", "-f", "x"], "--input <URI>"),
            (&["--input-local-path", "x"], "nothing is uploaded"),
            (&["--input", "./data"], "nothing is uploaded"),
        ] {
            let error = made_of(line).unwrap_err();
            assert!(error.contains(told), "{told} is not in {error}");
        }
    }

    #[test]
    fn flags_go_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("job.yml").display().to_string();
        let text = "inputs:\n  a: { type: uri_file, path: \"https://h/a.csv\" }\nmini_batch_size: 5\ntags: { k: v }\n";
        std::fs::write(&file, text).unwrap();
        let made = made_of(&["-f", &file, "-m", "7"]).unwrap();
        assert_eq!(made["properties"]["inputData"]["a"]["jobInputType"], "UriFile");
        assert_eq!(
            (&made["properties"]["miniBatchSize"], &made["properties"]["tags"]["k"]),
            (&json!(7), &json!("v"))
        );
        let made = made_of(&["-f", &file, "--input", "https://h/b/"]).unwrap();
        assert_eq!(made["properties"]["inputData"].as_object().unwrap().len(), 1);
    }

    fn world(status: u16, answer: &Value) -> Fake {
        let answer = answer.clone();
        Fake::new(move |got: &Got| match got.method.as_str() {
            "GET" => {
                let host = got.headers["host"].to_str().unwrap();
                said(
                    200,
                    json!({"properties": {"scoringUri": format!("https://{host}/endpoints/heart/jobs?x=1")}}),
                )
            }
            _ => said(status, answer.clone()),
        })
    }

    fn accepted() -> Value {
        json!({"id": format!("{WORKSPACE}/batchEndpoints/heart/jobs/j1"), "name": "j1", "properties": {"status": "NotStarted"}})
    }

    async fn run(fake: &Fake, line: &[&str]) -> Result<ExitCode, Failure> {
        let invoke = invoke(&[&["--input", "https://h/a.csv"], line].concat()).unwrap();
        invoke.run(&fake.context(), WORKSPACE, &format!("{WORKSPACE}/batchEndpoints/heart")).await
    }

    #[tokio::test]
    async fn the_scoring_uri_is_posted_to_as_it_is() {
        let fake = world(201, &accepted());
        run(&fake, &["-d", "blue"]).await.unwrap();
        let posted = fake.got().pop().unwrap();
        assert_eq!(posted.path, "/endpoints/heart/jobs?x=1");
        let header = |name: &str| posted.headers[name].to_str().unwrap();
        assert_eq!((header("azureml-model-deployment"), header("authorization")), ("blue", "Bearer token"));
        assert!(header("repeatability-request-id").parse::<Uuid>().is_ok());
        assert_eq!(posted.json()["properties"]["inputData"]["input"]["uri"], "https://h/a.csv");
        run(&fake, &[]).await.unwrap();
        let again = fake.got().pop().unwrap();
        assert!(again.headers.get("azureml-model-deployment").is_none());
        assert_ne!(again.headers["repeatability-request-id"], posted.headers["repeatability-request-id"]);
    }

    #[tokio::test]
    async fn refusals_are_told_whole() {
        let details = json!([{"code": "AuthorizationFailed", "message": "x/read at /a"}, {"code": "AuthorizationFailed", "message": "y/read at /b"}]);
        let refusal = json!({"error": {"code": "AuthorizationFailed", "message": "rights are missing", "details": details}});
        let error = run(&world(403, &refusal), &[]).await.unwrap_err().to_string();
        for words in ["rights are missing", "x/read at /a", "y/read at /b", "status: 403"] {
            assert!(error.contains(words), "{words} is not in {error}");
        }
        let missing = json!({"error": {"code": "DeploymentNotFound", "message": "no"}});
        assert!(matches!(run(&world(404, &missing), &[]).await, Err(Failure::NotFound(_))));
        let error = run(&world(200, &json!("x")), &[]).await.unwrap_err().to_string();
        assert!(error.contains("something that is no job"), "{error}");
    }

    #[tokio::test]
    async fn a_broken_connection_is_tried_again_under_the_same_id() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/endpoints/heart/jobs", listener.local_addr().unwrap());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let count = socket.read(&mut bytes).await.unwrap();
                let count_so_far = {
                    let mut heads = seen.lock();
                    heads.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
                    heads.len()
                };
                if count_so_far == 3 {
                    let body = accepted().to_string();
                    let head =
                        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n";
                    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let fake = world(500, &Value::Null);
        let again = [Duration::ZERO; 3];
        let made = submit(&fake.context(), &url, &json!({}), None, &again).await.unwrap();
        assert_eq!(made["name"], "j1");
        let ids: Vec<String> = heads
            .lock()
            .iter()
            .map(|head| {
                let line = head.lines().find(|line| line.starts_with("repeatability-request-id:"));
                line.unwrap().to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        heads.lock().clear();
        let error =
            submit(&fake.context(), &url, &json!({}), None, &again[..1]).await.unwrap_err().to_string();
        assert!(error.contains("cannot reach") && heads.lock().len() == 2, "{error}");
    }
}
