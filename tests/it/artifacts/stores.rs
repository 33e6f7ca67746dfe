//! One suite of what an output and an input promise, on every kind of data store. Azurite and SeaweedFS are started by
//! `tests/real/stores.py`, once for all.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use futures_util::{StreamExt, TryStreamExt};
use scoregate::artifacts::{ArtifactError, Output, Packing, PartWriter, Prediction, Written, predictions};
use scoregate::model::batch::RequestFormat;
use scoregate::model::datastore::{Credential, DEFAULT_STORE, Datastore, Place};
use scoregate::model::job::DataKind;
use scoregate::store::jobs::FileRef;
use serde_json::{Value, json};

use super::Desk;

/// The servers; they end when this does.
struct Stores {
    child: Child,
    say: Option<ChildStdin>,
    facts: Value,
}

impl Stores {
    fn start() -> Stores {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut child = Command::new("python3")
            .arg(format!("{root}/tests/real/stores.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let (say, mut hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        hear.read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("stores.py did not start its servers; see its messages: {line:?}"));
        Stores { child, say, facts }
    }

    fn fact(&self, pointer: &str) -> String {
        let fact = self.facts.pointer(pointer).and_then(Value::as_str);
        fact.unwrap_or_else(|| panic!("no {pointer}")).to_owned()
    }

    fn blob(&self) -> Place {
        let (service, account) = (self.fact("/blob/service"), self.fact("/blob/account"));
        Place::Blob { service, account, container: self.fact("/blob/container") }
    }

    fn s3(&self) -> Place {
        let (endpoint, bucket) = (Some(self.fact("/s3/endpoint")), self.fact("/s3/bucket"));
        Place::S3 { endpoint, region: "us-east-1".to_owned(), bucket }
    }

    /// A desk that may reach them.
    fn desk(&self, limits: &str) -> Desk {
        let port = |address: &str| address.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let ports = [port(&self.fact("/blob/service")), port(&self.fact("/s3/endpoint"))].join(", ");
        Desk::new(&format!("{LOOPBACK}, ports: [{ports}, 1]"), limits, None)
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // The end of its input tells it to stop what it started; waiting leaves no process behind.
        drop(self.say.take());
        let _ = self.child.wait();
    }
}

const LOOPBACK: &str = "http_hosts: [127.0.0.1], address_ranges: [127.0.0.0/8]";

/// A data store, and a folder in it that nobody else uses.
struct Under<'a> {
    desk: &'a Desk,
    store: Option<Datastore>,
    folder: String,
}

impl Under<'_> {
    fn uri(&self, path: &str) -> String {
        let name = self.store.as_ref().map_or(DEFAULT_STORE.to_owned(), |store| store.name.to_string());
        format!("azureml://datastores/{name}/paths/{}/{path}", self.folder)
    }

    fn output(&self, path: &str, file: &str, job: &str) -> Output {
        self.desk.output(&self.uri(path), self.store.as_ref(), file, job).unwrap()
    }

    /// Writes a file to be read.
    async fn put(&self, folder: &str, file: &str, bytes: &str) {
        self.output(folder, "p.csv", "setup").put(file, bytes.to_owned().into()).await.unwrap();
    }

    async fn list(&self, path: &str, kind: DataKind) -> Result<Vec<FileRef>, ArtifactError> {
        self.desk.input(&self.uri(path), self.store.as_ref())?.list(kind).await
    }

    async fn read(&self, path: &str) -> Vec<u8> {
        let input = self.desk.input(&self.uri(path), self.store.as_ref()).unwrap();
        let file = input.list(DataKind::UriFile).await.unwrap().remove(0);
        let how = Packing { format: RequestFormat::Raw, rows_per_request: 1, most: 1 << 30 };
        let mut found: Vec<_> = input.requests(&file, how).try_collect().await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0).body.to_vec()
    }

    async fn everything(&self) {
        self.parts_become_the_file().await;
        self.forms().await;
        self.lost_tries_leave_nothing().await;
        self.jobs_share_a_folder().await;
        self.files_are_listed().await;
        self.rows_are_read().await;
        self.what_is_not_there().await;
    }

    async fn parts_become_the_file(&self) {
        let output = self.output("run", "predictions.csv", "job-1");
        let big = "x".repeat(200_000);
        let mut parts = Vec::new();
        // Ended in another order than they are put together in; the middle one is larger than any buffer.
        for (index, attempt, rows) in [(2, 1, 1), (0, 3, 2), (1, 1, 60)] {
            let mut part = output.part(index, attempt).unwrap();
            for row in 0..rows {
                let text = if index == 1 { json!([row, big]) } else { json!(format!("{index}.{row}")) };
                part.add(&format!("f{index}"), &one(&text)).await.unwrap();
            }
            let part = ended(index, part).await;
            assert!(part.object.ends_with(&format!("run/.parts/job-1/{index}.{attempt}")), "{part:?}");
            assert!(part.bytes > 0);
            parts.push(part);
        }
        parts.sort_by_key(|part| part.index);
        let expected = {
            let mut text = "f0,0.0\r\nf0,0.1\r\n".to_owned();
            (0..60).for_each(|row| text.push_str(&format!("f1,{row},{big}\r\n")));
            text + "f2,2.0\r\n"
        };
        let first = output.assemble(&parts).await.unwrap();
        assert_eq!((first.rows, first.bytes), (63, expected.len() as u64));
        assert_eq!(first.uri, self.uri("run/predictions.csv"));
        assert!(self.read("run/predictions.csv").await == expected.as_bytes());
        // Again, after a crash: the same.
        assert_eq!(output.assemble(&parts).await.unwrap(), first);
        // Out of order, of another job, or not there: no file that looks whole.
        let turned = output.assemble(&[parts[1].clone(), parts[0].clone()]).await.unwrap_err();
        assert_eq!(turned.code(), "BrokenPart");
        let named = |object: String| [Written { object, ..parts[0].clone() }];
        let alien = named(parts[0].object.replace("job-1", "job-2"));
        assert_eq!(output.assemble(&alien).await.unwrap_err().code(), "BrokenPart");
        let missing = output.assemble(&named(format!("{}9", parts[0].object))).await.unwrap_err();
        assert_eq!(missing.code(), "NotFound", "{missing}");
        // Small and large, a part of another size is not the one that was written.
        for part in [&parts[0], &parts[1]] {
            let cut = Written { bytes: part.bytes + 1, ..part.clone() };
            assert_eq!(output.assemble(&[cut]).await.unwrap_err().code(), "BrokenPart");
        }
        assert!(self.read("run/predictions.csv").await == expected.as_bytes(), "the file stays as it was");
        let none = self.output("none", "p.csv", "j").assemble(&[]).await.unwrap();
        assert_eq!((none.bytes, none.rows), (0, 0));
        assert_eq!(none.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    async fn forms(&self) {
        for (file, is) in [("p.jsonl", "lines"), ("p.parquet", "columns")] {
            let output = self.output(&format!("forms/{file}"), "ignored.csv", "j");
            assert_eq!(output.file_uri(), self.uri(&format!("forms/{file}")), "a location may be a file");
            let mut parts = Vec::new();
            for index in 0..3_u64 {
                let mut part = output.part(index, 1).unwrap();
                for row in 0..1500 {
                    part.add(&format!("f{index}"), &one(&json!({"row": row, "p": [0.1, null]})))
                        .await
                        .unwrap();
                }
                parts.push(ended(index, part).await);
            }
            let first = output.assemble(&parts).await.unwrap();
            assert_eq!(first.rows, 4500);
            assert_eq!(output.assemble(&parts).await.unwrap().sha256, first.sha256);
            let input = self.desk.input(&first.uri, self.store.as_ref()).unwrap();
            let listed = input.list(DataKind::UriFile).await.unwrap();
            assert_eq!(listed[0].size, first.bytes);
            let how = Packing { format: RequestFormat::Jsonl, rows_per_request: 1000, most: 1 << 20 };
            let requests: Vec<_> = input.requests(&listed[0], how).try_collect().await.unwrap();
            assert_eq!(
                requests.iter().map(|request| request.rows.unwrap()).collect::<Vec<_>>(),
                [1000, 1000, 1000, 1000, 500]
            );
            let row: Value =
                serde_json::from_slice(requests[1].body.split(|byte| *byte == b'\n').nth(600).unwrap())
                    .unwrap();
            let prediction = match is {
                "lines" => row["prediction"].clone(),
                _ => serde_json::from_str(row["prediction"].as_str().unwrap()).unwrap(),
            };
            assert_eq!(
                (row["file"].as_str().unwrap(), prediction),
                ("f1", json!({"row": 100, "p": [0.1, null]}))
            );
        }
    }

    async fn lost_tries_leave_nothing(&self) {
        let output = self.output("lost", "p.csv", "j");
        let mut won = output.part(0, 2).unwrap();
        won.add("f", &one(&json!("won"))).await.unwrap();
        let won = ended(0, won).await;
        let mut late = output.part(0, 1).unwrap();
        late.add("f", &one(&json!("late"))).await.unwrap();
        let late = ended(0, late).await;
        let mut dropped = output.part(0, 3).unwrap();
        dropped.add("f", &one(&json!("x".repeat(20 << 20)))).await.unwrap();
        drop(dropped);
        let gone = format!("{}3", won.object.strip_suffix('2').unwrap());
        let gone = Written { object: gone, ..won.clone() };
        assert_eq!(output.assemble(&[gone]).await.unwrap_err().code(), "NotFound");
        output.assemble(std::slice::from_ref(&won)).await.unwrap();
        assert_eq!(self.read("lost/p.csv").await, b"f,won\r\n");
        output.clear().await.unwrap();
        for part in [won, late] {
            assert_eq!(output.assemble(&[part]).await.unwrap_err().code(), "NotFound");
        }
        output.clear().await.unwrap();
        assert_eq!(self.read("lost/p.csv").await, b"f,won\r\n", "only the parts are gone");
        let manifest = output.put("p.csv.manifest.json", "{}".into()).await.unwrap();
        assert_eq!(manifest, self.uri("lost/p.csv.manifest.json"));
    }

    async fn jobs_share_a_folder(&self) {
        let (one_job, other) = (self.output("shared", "a.csv", "j1"), self.output("shared", "b.csv", "j2"));
        let mut parts = Vec::new();
        for output in [&one_job, &other] {
            let mut part = output.part(0, 1).unwrap();
            part.add("f", &one(&json!(output.file_uri()))).await.unwrap();
            parts.push(ended(0, part).await);
        }
        one_job.clear().await.unwrap();
        other.assemble(&parts[1..]).await.unwrap();
        assert!(String::from_utf8(self.read("shared/b.csv").await).unwrap().contains("b.csv"));
    }

    async fn files_are_listed(&self) {
        for (folder, file) in [
            ("data", "b.csv"),
            ("data", "a.csv"),
            ("data", "B.csv"),
            ("data/a", "z.csv"),
            ("data/a-b", "c.csv"),
            ("data", "ä b+c%20&=.csv"),
            ("data", "x#y.csv"),
            ("data", ".hidden"),
            ("data", "_SUCCESS"),
            ("data/.parts/j", "0.1"),
            ("data/_tmp", "x.csv"),
            ("data/a", "_x.csv"),
            ("database", "no.csv"),
        ] {
            self.put(folder, file, file).await;
        }
        let files = self.list("data", DataKind::UriFolder).await.unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let expected = ["B.csv", "a-b/c.csv", "a.csv", "a/z.csv", "b.csv", "x#y.csv", "ä b+c%20&=.csv"];
        assert_eq!(names, expected, "by bytes, below the folder, without what is hidden");
        for file in &files {
            assert_eq!(file.path, format!("{}/data/{}", self.folder, file.name));
            assert_eq!(usize::try_from(file.size).unwrap(), file.name.rsplit('/').next().unwrap().len());
            let input = self.desk.input(&self.uri("data"), self.store.as_ref()).unwrap();
            let how = Packing { format: RequestFormat::Raw, rows_per_request: 1, most: 1000 };
            let request = input.requests(file, how).next().await.unwrap().unwrap();
            assert_eq!(request.body, file.name.rsplit('/').next().unwrap().as_bytes());
        }
        let spelt = self.list("data/x%23y.csv", DataKind::UriFile).await.unwrap();
        assert_eq!(spelt[0].name, "x#y.csv");
        let plain = self.list("data/a-b/c.csv", DataKind::UriFile).await.unwrap();
        assert_eq!((plain[0].name.as_str(), plain[0].size), ("c.csv", 5));
    }

    async fn rows_are_read(&self) {
        let rows: String = (0..20_000).map(|row| format!("{row},\"a, {row}\"\n")).collect();
        self.put("rows", "t.csv", &format!("n,t\n{rows}")).await;
        let input = self.desk.input(&self.uri("rows/t.csv"), self.store.as_ref()).unwrap();
        let file = input.list(DataKind::UriFile).await.unwrap().remove(0);
        let how = Packing { format: RequestFormat::InputData, rows_per_request: 999, most: 1 << 20 };
        let requests: Vec<_> = input.requests(&file, how).try_collect().await.unwrap();
        assert_eq!(requests.iter().map(|request| request.read).sum::<u64>(), file.size);
        let mut next = 0;
        for request in requests {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            for row in body["input_data"]["data"].as_array().unwrap() {
                assert_eq!(*row, json!([next, format!("a, {next}")]));
                next += 1;
            }
        }
        assert_eq!(next, 20_000);
    }

    async fn what_is_not_there(&self) {
        self.put("here/sub", "f.csv", "a\n1\n").await;
        for (path, kind, code, word) in [
            ("nowhere/f.csv", DataKind::UriFile, "NotFound", "see whether"),
            ("here/sub", DataKind::UriFile, "NotFound", "uri_folder"),
            ("nowhere", DataKind::UriFolder, "EmptyInput", "see whether"),
            ("here/su", DataKind::UriFolder, "EmptyInput", "see whether"),
            ("here/sub/f.csv", DataKind::UriFolder, "EmptyInput", "uri_file"),
            ("here/sub/f.csv/g", DataKind::UriFile, "NotFound", "see whether"),
        ] {
            let error = self.list(path, kind).await.unwrap_err();
            assert!(error.code() == code && error.to_string().contains(word), "{path}: {error}");
            assert!(!error.is_transient() && error.to_string().contains(path), "{path}: {error}");
        }
    }
}

/// Predictions of one row.
fn one(value: &Value) -> Vec<Prediction> {
    let body = json!([value]).to_string();
    predictions(RequestFormat::Raw, Some(1), Some("application/json"), body.as_bytes()).unwrap()
}

/// Ends the part of a mini-batch.
async fn ended(index: u64, part: PartWriter) -> Written {
    let (object, bytes) = part.finish().await.unwrap();
    Written { index, object, bytes }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_every_promise() {
    let root = tempfile::tempdir().unwrap();
    let desk = Desk::new("", "", Some(root.path()));
    let default = Under { desk: &desk, store: None, folder: "azureml".to_owned() };
    default.everything().await;
    let made = root.path().join("00000000-0000-0000-0000-000000000000/default/default/azureml");
    assert!(made.is_dir(), "by workspace, in lower case");
    let path = root.path().join("own");
    std::fs::create_dir(&path).unwrap();
    let store = desk.store("own", Place::Directory { path }, None);
    Under { desk: &desk, store: Some(store), folder: "a/b".to_owned() }.everything().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_object_stores_keep_every_promise() {
    let stores = tokio::task::spawn_blocking(Stores::start).await.unwrap();
    let desk = stores.desk("");
    let key = || Some(Credential::AccountKey(stores.fact("/blob/key")));
    let access = |secret: String| Some(Credential::AccessKey { id: stores.fact("/s3/accessKey"), secret });
    let under =
        |store: Datastore, folder: &str| Under { desk: &desk, store: Some(store), folder: folder.to_owned() };

    under(desk.store("blob", stores.blob(), key()), "k").everything().await;
    let sas = Some(Credential::Sas(stores.fact("/blob/sas")));
    under(desk.store("signed", stores.blob(), sas), "s/a/s").everything().await;
    under(desk.store("s3", stores.s3(), access(stores.fact("/s3/secretKey"))), "k").everything().await;

    // Who may not is told so, and nothing of his credential.
    let read_only = desk.store("signed", stores.blob(), Some(Credential::Sas(stores.fact("/blob/read_sas"))));
    under(read_only.clone(), "k").list("data", DataKind::UriFolder).await.unwrap();
    let wrong_key =
        desk.store("blob", stores.blob(), Some(Credential::AccountKey("d3JvbmcgIGtleQ==".to_owned())));
    let wrong_secret = desk.store("s3", stores.s3(), access("wrong-secret".to_owned()));
    let anonymous = desk.store("s3", stores.s3(), None);
    for store in [&read_only, &wrong_key, &wrong_secret, &anonymous] {
        let output = under(store.clone(), "k").output("denied", "p.csv", "j");
        let error = output.put("x.json", "{}".into()).await.unwrap_err();
        let told = format!("{error} {error:?} {output:?}");
        assert_eq!(error.code(), "Unauthorized", "{told}");
        let secrets =
            ["sig=", "wrong-secret", "d3Jvbmcg", &stores.fact("/blob/key"), &stores.fact("/s3/accessKey")];
        assert!(!secrets.iter().any(|secret| told.contains(secret)), "{told}");
        let mut part = output.part(0, 1).unwrap();
        let added = part.add("f", &one(&json!(1))).await;
        assert_eq!(added.err().or(part.finish().await.err()).unwrap().code(), "Unauthorized");
    }

    // A container that is not there, and a store that nobody answers for.
    let mut place = stores.blob();
    if let Place::Blob { container, .. } = &mut place {
        *container = "nowhere".to_owned();
    }
    let error =
        under(desk.store("blob", place, key()), "k").list("data", DataKind::UriFolder).await.unwrap_err();
    assert_eq!(error.code(), "NotFound", "{error}");
    let dead = Place::S3 {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        region: "r".to_owned(),
        bucket: "b".to_owned(),
    };
    let error =
        under(desk.store("dead", dead, None), "k").list("data", DataKind::UriFolder).await.unwrap_err();
    assert!(error.code() == "StoreUnreachable" && error.is_transient(), "{error}");

    // A job's limits.
    for (limit, code) in [("batch_files: 3", "TooManyFiles"), ("batch_bytes: 20", "TooManyBytes")] {
        let desk = stores.desk(limit);
        let store = desk.store("s3", stores.s3(), access(stores.fact("/s3/secretKey")));
        let small = Under { desk: &desk, store: Some(store), folder: "k".to_owned() };
        let error = small.list("data", DataKind::UriFolder).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains("limits.batch_"), "{limit}: {error}");
    }
}
