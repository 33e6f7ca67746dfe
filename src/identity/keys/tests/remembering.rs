//! The last good set, kept on disk for a start while the provider is away.

use serde_json::{Value, json};

use super::provider::{OTHER, key, metadata, metadata_address, other};
use super::*;
use crate::clock::ManualClock;

const MAX_STALE_S: i64 = TIMES.max_stale.as_secs().cast_signed();

/// A run that fetched a set and remembered it.
async fn fetched(directory: &Path, answer: Value) {
    let provider = Provider::of_entra([Some(answer)]);
    let refresher = refresher(&entra(), &provider, Some(directory));
    refresher.refresh().await.unwrap();
}

/// The next run of an issuer, at this time, while nobody answers.
async fn started(issuer: &Arc<Issuer>, directory: &Path, now: i64) -> Running {
    let refresher = Refresher {
        clock: Arc::new(ManualClock::at(now)),
        ..refresher(issuer, &Provider::of_entra([None]), Some(directory))
    };
    Running::start(refresher).await
}

/// The one file that is there.
fn file_in(directory: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(directory).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "nothing is left behind");
    file
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_without_the_provider_goes_on_with_the_last_set() {
    let directory = tempfile::tempdir().unwrap();
    let memory = directory.path().join("made/on/the/way");
    fetched(&memory, set(&["a"])).await;
    file_in(&memory);
    let later = NOW + 3600;
    let running = started(&entra(), &memory, later).await;
    let keys = &running.issuer.keys;
    assert!(matches!(keys.look_up("a", later), Lookup::Found(_)));
    assert!(matches!(keys.look_up("b", later), Lookup::Unknown));
    assert_eq!(keys.age(later), Some(3600), "it is as old as it is");
}

#[tokio::test(start_paused = true)]
async fn the_last_set_grows_old_while_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    fetched(directory.path(), set(&["a"])).await;
    let end = NOW + MAX_STALE_S;
    let running = started(&entra(), directory.path(), end).await;
    assert!(matches!(running.issuer.keys.look_up("a", end), Lookup::Found(_)));
    let running = started(&entra(), directory.path(), end + 1).await;
    assert!(is_unavailable(&running.issuer.keys, "a", end + 1));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_has_the_last_word() {
    let directory = tempfile::tempdir().unwrap();
    fetched(directory.path(), set(&["a"])).await;
    let issuer = entra();
    let provider = Provider::of_entra([Some(set(&["b"]))]);
    let refresher = refresher(&issuer, &provider, Some(directory.path()));
    let _running = Running::start(refresher).await;
    assert!(is_found(&issuer.keys, "b") && !is_found(&issuer.keys, "a"));
    // And the next start knows that one.
    let next = started(&entra(), directory.path(), NOW).await;
    assert!(is_found(&next.issuer.keys, "b") && !is_found(&next.issuer.keys, "a"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_not_remembered() {
    let directory = tempfile::tempdir().unwrap();
    fetched(directory.path(), set(&["a"])).await;
    let provider = Provider::of_entra([Some(set(&[]))]);
    let refresher = refresher(&entra(), &provider, Some(directory.path()));
    refresher.refresh().await.unwrap_err();
    let running = started(&entra(), directory.path(), NOW).await;
    assert!(is_found(&running.issuer.keys, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_set_is_read_as_strictly_as_a_fetched_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut foreign = key("foreign");
    foreign["cloud_instance_name"] = json!("microsoftonline.us");
    fetched(directory.path(), json!({"keys": [key("a"), foreign]})).await;
    let running = started(&entra(), directory.path(), NOW).await;
    assert!(is_found(&running.issuer.keys, "a") && !is_found(&running.issuer.keys, "foreign"));
}

#[tokio::test(start_paused = true)]
async fn another_issuers_set_is_not_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    fetched(directory.path(), set(&["a"])).await;
    let started_other = started(&other(), directory.path(), NOW).await;
    assert!(is_unavailable(&started_other.issuer.keys, "a", NOW));
    // Not even where its own would lie.
    let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, OTHER.as_bytes());
    let own = directory.path().join(format!("{name}.jwks.json"));
    std::fs::rename(file_in(directory.path()), &own).unwrap();
    let started_other = started(&other(), directory.path(), NOW).await;
    assert!(is_unavailable(&started_other.issuer.keys, "a", NOW));
    // The name in the file is what made the difference.
    let mut set: Value = serde_json::from_slice(&std::fs::read(&own).unwrap()).unwrap();
    set["issuer"] = json!(OTHER);
    std::fs::write(&own, set.to_string()).unwrap();
    let started_other = started(&other(), directory.path(), NOW).await;
    assert!(is_found(&started_other.issuer.keys, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_is_not_ones_own_word_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fetched(directory.path(), set(&["a"])).await;
    let file = file_in(directory.path());
    let good: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let with = |name: &str, value: Value| {
        let mut set = good.clone();
        set[name] = value;
        set.to_string()
    };
    for (name, text, taken) in [
        ("as it was", good.to_string(), true),
        ("from the future", with("fetched", json!(NOW + 1)), false),
        ("from long ago", with("fetched", json!(NOW - MAX_STALE_S - 1)), false),
        ("without a time", with("fetched", Value::Null), false),
        ("without a usable key", with("jwks", json!(set(&[]).to_string())), false),
        ("not a set", with("jwks", json!("{}")), false),
        ("empty", String::new(), false),
        ("rubbish", "\0".repeat(100), false),
        ("too large", good.to_string() + &" ".repeat(4 * jwks::MAX_BYTES), false),
    ] {
        std::fs::write(&file, text).unwrap();
        let running = started(&entra(), directory.path(), NOW).await;
        assert_eq!(is_found(&running.issuer.keys, "a"), taken, "{name}");
        assert_ne!(is_unavailable(&running.issuer.keys, "a", NOW), taken, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_cannot_be_written_does_not_stop_a_refresh() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a file, not a directory");
    std::fs::write(&file, "").unwrap();
    let issuer = entra();
    let provider = Provider::of_entra([Some(set(&["a"]))]);
    let refresher = refresher(&issuer, &provider, Some(&file));
    refresher.refresh().await.unwrap();
    assert!(is_found(&issuer.keys, "a"));
}

#[tokio::test(start_paused = true)]
async fn the_cloud_of_the_metadata_is_remembered_with_the_set() {
    let directory = tempfile::tempdir().unwrap();
    let provider = Provider::of_entra([Some(json!({"keys": [key("a")]}))]);
    let mut document = metadata();
    document["cloud_instance_name"] = json!("microsoftonline.us");
    provider.says(&metadata_address(), [Some(document)]);
    let refresher = refresher(&entra(), &provider, Some(directory.path()));
    refresher.refresh().await.unwrap();
    let text = std::fs::read_to_string(file_in(directory.path())).unwrap();
    assert!(text.contains("microsoftonline.us"), "{text}");
}
