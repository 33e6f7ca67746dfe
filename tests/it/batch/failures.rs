//! What goes wrong: bad invocations, bad files, bad models. The rest goes on, and what failed says what to do.

use serde_json::{Value, json};

use super::jobs::{caller, stand};
use crate::support::batch::{adder, adder_with, fails, failure, numbers, output, status, store_of};
use crate::support::instance::ok;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_job_is_refused_with_the_field() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    let scientist = caller(&stand, "scientist");
    let input = |kind: &str, uri: &str| json!({"properties": {"inputData": {"d": {"jobInputType": kind, "uri": uri}}}});
    let two = json!({"properties": {"inputData": {
        "a": {"jobInputType": "UriFile", "uri": "https://h/a"}, "b": {"jobInputType": "UriFile", "uri": "https://h/b"}}}});
    let literal = json!({"properties": {"inputData": {"n": {"jobInputType": "Literal", "value": 3}}}});
    for (body, code, named) in [
        (json!({}), "BadArgument", "inputData"),
        (two, "BadArgument", "more than one entry (a, b)"),
        (literal, "BadArgument", "`n` is a Literal"),
        (input("Stream", "https://h/a"), "BadArgument", "jobInputType"),
        (input("UriFile", "file:///etc/passwd"), "BadArgument", "inputData"),
        (input("UriFile", "azureml://datastores/workspaceblobstore/paths/../x"), "BadArgument", "inputData"),
        (input("UriFolder", "azureml://datastores/nowhere/paths/x"), "UnknownStore", "nowhere"),
        (input("UriFile", "https://169.254.169.254/latest/meta-data"), "EgressDenied", "169.254.169.254"),
        (input("UriFile", "https://data.example.com/f.csv"), "EgressDenied", "data.example.com"),
    ] {
        let answer = scientist.call("POST", "", "", &body.to_string()).await;
        let told = answer.json()["error"].to_string();
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}: {told}");
        assert!(told.contains(named), "{body}: {told}");
    }
    let listed =
        stand.as_("owner").get(&format!("{}/jobs", crate::support::rest::workspace("default"))).await;
    assert_eq!(listed.is(200).names(), [""; 0], "nothing was made");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_fails_the_job() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1").await;
    std::fs::create_dir_all(store_of(stand.directory.path()).join("in")).unwrap();
    let job = caller(&stand, "scientist").run("in", json!({})).await;
    assert_eq!((status(&job), failure(&job)), ("Failed", "EmptyInput"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_is_told_and_the_others_are_scored() {
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 2").await;
    let folder = store_of(stand.directory.path()).join("in");
    let expected = numbers(&folder, 3, 2);
    std::fs::write(folder.join("part-00001x.csv"), b"a,b,c\n1,2\n").unwrap();
    std::fs::write(folder.join("part-00003.parquet"), b"no parquet").unwrap();
    let scientist = caller(&stand, "scientist");
    let job = scientist.run("in", json!({})).await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!(output(stand.directory.path(), &job), expected);
    let ours = &job["properties"]["scoregate"];
    assert_eq!(ours["counts"]["failures"], json!(2));
    let told = ours["failures"].to_string();
    assert!(told.contains("part-00001x.csv") && told.contains("part-00003.parquet"), "{told}");
    // As many as may fail, and one more.
    let borne = scientist.run("in", json!({"errorThreshold": 2})).await;
    assert_eq!(status(&borne), "Completed");
    let too_many = scientist.run("in", json!({"errorThreshold": 1})).await;
    assert_eq!((status(&too_many), failure(&too_many)), ("Failed", "ErrorThresholdExceeded"));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_fails_is_tried_again_and_then_told() {
    // The file 00001 fails for ever, the first request of every other once.
    let failed = parking_lot::Mutex::new(std::collections::HashSet::new());
    let model = adder_with(move |_, seen, answer| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let first = body["dataframe_split"]["data"][0][1].to_string();
        if first == "1" || failed.lock().insert(first) { fails(500) } else { answer }
    })
    .await;
    let stand = stand(&[&model], "mini_batch_size: 1, retry_settings: { max_retries: 2, timeout: 30 }").await;
    let expected = numbers(&store_of(stand.directory.path()).join("in"), 3, 2);
    let job = caller(&stand, "scientist").run("in", json!({})).await;
    assert_eq!(status(&job), "Completed", "{job}");
    let kept: String =
        expected.split_inclusive("\r\n").filter(|line| !line.starts_with("part-00001")).collect();
    assert_eq!(output(stand.directory.path(), &job), kept);
    let ours = &job["properties"]["scoregate"];
    assert_eq!((&ours["counts"]["retries"], &ours["counts"]["failures"]), (&json!(4), &json!(2)));
    assert!(ours["failures"].to_string().contains("part-00001.csv"), "{ours}");
    assert_eq!(model.count(), 2 + 2 + 3);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_predictions_are_none() {
    let model = adder_with(|_, _, _| ok(&json!({"predictions": [1]}).to_string())).await;
    let stand = stand(&[&model], "retry_settings: { max_retries: 0, timeout: 30 }").await;
    numbers(&store_of(stand.directory.path()).join("in"), 1, 3);
    let job = caller(&stand, "scientist").run("in", json!({})).await;
    let ours = &job["properties"]["scoregate"];
    assert_eq!(ours["counts"]["failures"], json!(3), "{job}");
    let told = ours["failures"][0]["message"].as_str().unwrap();
    assert!(told.contains('1') && told.contains('3') && told.contains("part-00000.csv"), "{told}");
    assert_eq!(output(stand.directory.path(), &job), "");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_comes_late_costs_no_try() {
    // Nobody listens there until somebody has tried.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let model = adder().await;
    let stand = stand(&[&model], "mini_batch_size: 1, retry_settings: { max_retries: 0, timeout: 30 }").await;
    let expected = numbers(&store_of(stand.directory.path()).join("in"), 3, 1);
    let settings = "mini_batch_size: 1, retry_settings: { max_retries: 0, timeout: 30 }";
    let (_, text) = crate::support::batch::resources(&[&format!("http://{address}")], settings)[1].clone();
    stand.write("heart-blue.yaml", &text).await;
    let scientist = caller(&stand, "scientist");
    let answer = scientist.submit("in", json!({"name": "late"})).await;
    assert_eq!(answer.status, 201);
    until("a try has met nobody", async || stand.counted("scoregate_refusals_total{").await > 0).await;
    let listener = reserved.listen(64).unwrap();
    let forward = model.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let forward = forward.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(forward).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let job = scientist.end("late").await;
    assert_eq!(status(&job), "Completed", "{job}");
    assert_eq!(output(stand.directory.path(), &job), expected);
    assert_eq!(job["properties"]["scoregate"]["counts"]["failures"], json!(0));
    stand.stop().await;
}
