//! A database as a store: what every store promises, and what only a database can do wrong.

use std::time::Duration;

use super::*;
use crate::store::Expect;
use crate::store::conformance::{self, chain};
use crate::store::jobs::JobStore;

#[allow(dead_code, reason = "black-box tests use the rest")]
#[path = "../../../tests/support/postgres.rs"]
mod postgres;

use postgres::Server;

/// The longest that a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn url(text: &str) -> PostgresUrl {
    text.parse().unwrap()
}

async fn connect(address: &str) -> Result<SqlStore, StoreError> {
    let bounds = Bounds { connections: 4, patience: PATIENCE };
    SqlStore::connect(&url(address), bounds, chain()).await
}

#[tokio::test]
async fn a_file_keeps_every_promise_of_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.db");
    let open = async || SqlStore::open(&file, chain()).await.unwrap();
    conformance::run(&open().await).await;
    conformance::survives_reopening(open().await, open).await;
}

#[tokio::test]
async fn memory_keeps_every_promise_but_the_last() {
    conformance::run(&SqlStore::memory(chain()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_every_promise_of_a_store() {
    let address = Server::shared().schema();
    let open = async || connect(&address).await.unwrap();
    conformance::run(&open().await).await;
    conformance::survives_reopening(open().await, open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_keeps_every_promise_of_a_store_of_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run_jobs(async || {
        count.set(count.get() + 1);
        let file = directory.path().join(format!("{}.db", count.get()));
        let open = async || Arc::new(SqlStore::open(&file, chain()).await.unwrap());
        [open().await as Arc<dyn JobStore>, open().await]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_every_promise_of_a_store_of_jobs() {
    conformance::run_jobs(async || {
        let store: Arc<dyn JobStore> = Arc::new(SqlStore::memory(chain()).await.unwrap());
        [store.clone(), store]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_every_promise_of_a_store_of_jobs() {
    conformance::run_jobs(async || {
        let address = Server::shared().schema();
        let open = async || Arc::new(connect(&address).await.unwrap());
        [open().await as Arc<dyn JobStore>, open().await]
    })
    .await;
}

/// Commits to one store until another one's feed tells of it, which nothing but the server can have told it.
async fn told(writer: &SqlStore, reader: &SqlStore) {
    let mut feed = reader.feed();
    let telling = async {
        loop {
            let change = conformance::put(1, Expect::Anything);
            let revision = conformance::commit(writer, vec![change]).await.unwrap();
            // The listener may still be on its way.
            let wait =
                tokio::time::timeout(Duration::from_millis(500), feed.wait_for(|told| *told >= revision));
            if wait.await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, telling).await.expect("nobody told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_start_at_once_share_a_server_and_its_changes() {
    let address = Server::shared().schema();
    let opening = (0..4).map(|_| {
        let address = address.clone();
        tokio::spawn(async move { connect(&address).await.unwrap() })
    });
    let opened = futures_util::future::join_all(opening).await;
    let stores: Vec<Arc<SqlStore>> = opened.into_iter().map(|store| Arc::new(store.unwrap())).collect();
    told(&stores[0], &stores[3]).await;
    told(&stores[3], &stores[0]).await;
    let before = stores[0].revision().await.unwrap();
    let writing = stores.iter().cloned().map(|store| {
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for _ in 0..20 {
                let both = [1, 2].map(|n| conformance::put(n, Expect::Anything));
                revisions.push(conformance::commit(&*store, both.to_vec()).await.unwrap());
            }
            revisions
        })
    });
    let writing = futures_util::future::join_all(writing);
    let reader = stores[1].clone();
    let reading = tokio::spawn(async move {
        let mut last = 0;
        while last < before + 80 {
            let contents = reader.contents().await.unwrap();
            let revisions: Vec<_> = contents.iter().map(|stored| stored.revision).collect();
            assert!(revisions.iter().all(|one| *one == contents.revision), "one state: {revisions:?}");
            last = contents.revision;
        }
    });
    let mut revisions: Vec<_> = writing.await.into_iter().flat_map(Result::unwrap).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (before + 1..=before + 80).collect::<Vec<_>>(), "one line of writers");
    reading.await.unwrap();
    chain().verify(&*stores[2], |_, _| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_server_was_away_the_next_call_works() {
    let server = Server::start();
    let address = server.schema();
    let (one, other) = (connect(&address).await.unwrap(), connect(&address).await.unwrap());
    told(&one, &other).await;
    let known = one.contents().await.unwrap();
    server.kill();
    for _ in 0..2 {
        let lost = conformance::commit(&one, vec![conformance::put(2, Expect::Absent)]).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    }
    let lost = other.running(1).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    server.resume();
    assert_eq!(one.contents().await.unwrap(), known);
    conformance::commit(&one, vec![conformance::put(2, Expect::Absent)]).await.unwrap();
    assert_eq!(other.contents().await.unwrap().len(), 2);
    told(&other, &one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stops_in_the_middle_does_not_stop_the_others() {
    let address = Server::shared().schema();
    let bounds = Bounds { connections: 2, patience: Duration::from_secs(1) };
    let stopped = SqlStore::connect(&url(&address), bounds, chain()).await.unwrap();
    let other = connect(&address).await.unwrap();
    let mut tx = stopped.write().await.unwrap();
    take_turn(&mut tx, true).await.unwrap();
    // He waits for the one before him, and no longer than that one may take.
    conformance::commit(&other, vec![conformance::put(1, Expect::Absent)]).await.unwrap();
    assert_eq!(other.revision().await.unwrap(), 1, "what was begun is undone");
    assert!(tx.commit().await.is_err());
    conformance::commit(&stopped, Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_a_server_is_never_shown() {
    let address = Server::shared().schema();
    let store = connect(&address).await.unwrap();
    let wrong = address.replacen("sesame", "semolina", 1);
    let nobody = address.replacen("127.0.0.1", "127.0.0.1.invalid", 1);
    let no_schema = address.replace("search_path%3Dt", "search_path%3Dnone").replace("%2Cpublic", "");
    let mut shown = format!("{store:?}");
    for (address, expected) in
        [(wrong, "authentication"), (nobody, "127.0.0.1.invalid"), (no_schema, "no schema")]
    {
        let error = connect(&address).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        shown.push_str(&format!("{error} {error:?} {}", url(&address)));
    }
    assert!(shown.contains("postgres://scoregate@127.0.0.1"), "{shown}");
    assert!(!shown.contains("sesame") && !shown.contains("semolina"), "{shown}");
}

async fn ask(store: &SqlStore, what: &'static str) -> String {
    sqlx::query(what).fetch_one(&store.readers).await.unwrap().try_get(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_durable_and_as_secret_as_the_address_says() {
    const SSL: &str = "SELECT CAST(ssl AS TEXT) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let server = Server::shared();
    let plain = connect(&server.schema()).await.unwrap();
    assert_eq!(ask(&plain, "SHOW synchronous_commit").await, "on");
    assert_eq!(ask(&plain, "SHOW statement_timeout").await, "20s");
    assert_eq!(ask(&plain, "SHOW application_name").await, "scoregate");
    assert_eq!(ask(&plain, SSL).await, "false");
    let directory = tempfile::tempdir().unwrap();
    let roots = |name: &str, pem: &str| {
        std::fs::write(directory.path().join(name), pem).unwrap();
        format!("sslmode=verify-full&sslrootcert={}", directory.path().join(name).display())
    };
    let right = roots("right.pem", &server.root);
    let secret = connect(&server.schema_with("localhost", &right)).await.unwrap();
    assert_eq!(ask(&secret, SSL).await, "true");
    assert_eq!(
        ask(&connect(&server.schema_with("127.0.0.1", "sslmode=require")).await.unwrap(), SSL).await,
        "true"
    );
    let (other, _, _) = postgres::certificate();
    for (host, parameters) in [("127.0.0.1", right), ("localhost", roots("wrong.pem", &other))] {
        let error = connect(&server.schema_with(host, &parameters)).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_any_name_is_that_file() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("deep/real");
    std::fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
    for name in ["a b.db", "a?mode=memory", "a#b", "a%2Fb", "ä:b", "?", "..db"] {
        // By way of a link `..` leads elsewhere than the name says.
        let file = directory.path().join("link/..").join(name);
        drop(SqlStore::open(&file, chain()).await.unwrap());
        assert!(directory.path().join("deep").join(name).is_file(), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.db");
    std::fs::write(&file, "something else altogether, and long enough to be looked at".repeat(100)).unwrap();
    let error = SqlStore::open(&file, chain()).await.unwrap_err().to_string();
    assert!(error.contains("s.db") && error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_missing_directory_is_named_with_the_remedy() {
    let error = SqlStore::open(Path::new("/nonexistent/x/s.db"), chain()).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/x/s.db") && error.contains("mkdir -p /nonexistent/x"), "{error}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let store = SqlStore::memory(chain()).await.unwrap();
    let put =
        "INSERT INTO resources (id, body, manager, system, revision) VALUES ('/x', '{}', 'caller', '{}', 1)";
    sqlx::query(put).execute(&store.writer).await.unwrap();
    let error = store.contents().await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { table: "resources", id, .. } if id == "/x"), "{error}");
}

#[tokio::test]
async fn whatever_is_done_to_the_audit_shows() {
    for (how, expected) in [
        (
            "UPDATE audit SET record = replace(record, 'Test/write', 'Test/read_') WHERE sequence = 2",
            "record 2 was changed",
        ),
        ("DELETE FROM audit WHERE sequence = 2", "record 2 is missing"),
        ("DELETE FROM audit WHERE sequence = 3", "ends at record 2, and record 3 was written"),
        ("DELETE FROM audit", "ends at record 0"),
        ("DELETE FROM state WHERE name = 'audit'", "ends at record 3"),
        ("UPDATE audit SET sequence = sequence + 10 WHERE sequence = 3", "record 3 is missing"),
        (
            "UPDATE audit SET hash = (SELECT hash FROM audit WHERE sequence = 1) WHERE sequence = 2",
            "record 2 was changed",
        ),
    ] {
        let store = SqlStore::memory(chain()).await.unwrap();
        for _ in 0..3 {
            conformance::commit(&store, Vec::new()).await.unwrap();
        }
        assert_eq!(chain().verify(&store, |_, _| {}).await.unwrap().records, 3);
        sqlx::query(how).execute(&store.writer).await.unwrap();
        let broken = chain().verify(&store, |_, _| {}).await.unwrap_err().to_string();
        assert!(broken.contains(expected), "{how}: {broken}");
    }
}

#[tokio::test]
async fn a_trail_that_is_added_to_while_it_is_read_is_whole() {
    let store = Arc::new(SqlStore::memory(chain()).await.unwrap());
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..100 {
            conformance::commit(&*writer, Vec::new()).await.unwrap();
        }
    });
    while !writing.is_finished() {
        chain().verify(&*store, |_, _| {}).await.unwrap();
    }
    writing.await.unwrap();
    assert_eq!(chain().verify(&*store, |_, _| {}).await.unwrap().records, 100);
}

/// Sets a store back to an earlier layout; from 2 on there are tables of jobs.
async fn set_back(store: &SqlStore, layout: &'static str) {
    let set = sqlx::query("UPDATE state SET value = $1 WHERE name = 'schema'").bind(layout);
    set.execute(&store.writer).await.unwrap();
    sqlx::raw_sql("DROP TABLE item_files; DROP TABLE items; DROP TABLE jobs")
        .execute(&store.writer)
        .await
        .unwrap();
}

async fn a_store_before_jobs_is_extended<S: AsyncFn() -> Result<SqlStore, StoreError>>(open: S) {
    let store = open().await.unwrap();
    conformance::commit(&store, vec![conformance::put(1, Expect::Absent)]).await.unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.len(), 1);
    set_back(&store, "2").await;
    drop(store);
    let store = open().await.unwrap();
    assert_eq!(store.contents().await.unwrap(), contents);
    assert_eq!(store.unfinished().await.unwrap(), 0);
    assert_eq!(store.state("schema").await.unwrap().as_deref(), Some("3"));
    // Another one is not touched.
    set_back(&store, "1").await;
    drop(store);
    let error = open().await.unwrap_err().to_string();
    assert!(error.contains("layout 1 and this version uses 3"), "{error}");
}

#[tokio::test]
async fn stores_of_the_layout_before_are_extended_and_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.db");
    a_store_before_jobs_is_extended(async || SqlStore::open(&file, chain()).await).await;
    let tables = SqlStore::open(&file, chain()).await.unwrap_err().to_string();
    assert!(tables.contains("s.db"), "{tables}");
    let address = Server::shared().schema();
    a_store_before_jobs_is_extended(async || connect(&address).await).await;
    Server::shared().sql("CREATE TABLE public.state (name TEXT)");
    connect(&Server::shared().schema()).await.expect("another schema's tables are none of this one's");
}
