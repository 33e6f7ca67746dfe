//! What was acknowledged stays, whatever happens to the process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use scoregate::model::audit::Deed;
use scoregate::model::resource::Resource;
use scoregate::model::role::{PrincipalId, PrincipalType, RoleAssignment};
use scoregate::rbac::builtin;
use scoregate::store::chain::Chain;
use scoregate::store::{Batch, Change, Expect, Manager, SqlStore, Store};
use uuid::Uuid;

/// The store that a child writes to. This test's own binary is the child.
const WRITER: &str = "SCOREGATE_TEST_WRITER";
const TEST: &str = "durability::every_acknowledged_write_survives_kill_9";
const WRITES: u128 = 1_000;
const KILLS: usize = 20;
const SEED: u64 = 20_260_117;

fn chain() -> Chain {
    Chain::new(&[7; 32])
}

/// Resource number n; its principal says which write put it there.
fn resource(n: u128) -> Resource {
    Resource::RoleAssignment(RoleAssignment {
        id: Uuid::from_u128(n),
        scope: "/subscriptions/S".parse().unwrap(),
        role: builtin::OWNER,
        principal: PrincipalId(Uuid::from_u128(n << 64 | 1)),
        principal_type: PrincipalType::User,
        condition: Some("x".repeat(usize::try_from(n % 50).unwrap() * 40)),
        description: String::new(),
    })
}

/// Everything in a store, by number.
async fn numbers(store: &SqlStore) -> BTreeMap<u128, Resource> {
    let contents = store.contents().await.unwrap();
    let numbered = contents.iter().map(|stored| match &stored.resource {
        Resource::RoleAssignment(grant) => (grant.id.as_u128(), stored.resource.clone()),
        other => panic!("nobody wrote {other:?}"),
    });
    numbered.collect()
}

/// Writes one resource after another, for ever, and says so after each.
async fn write(file: &Path) {
    let say = |text: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    let store = SqlStore::open(file, chain()).await.unwrap();
    let mut last = numbers(&store).await.keys().max().copied().unwrap_or(0);
    say(format!("\nopened {last}")).unwrap();
    loop {
        last += 1;
        let put = Change::Put(Box::new(resource(last)), Manager::Caller, Expect::Absent);
        let deed = Deed::of_gateway("test", "Test/write", "r", String::new());
        store.commit(Batch { changes: vec![put], deed }).await.unwrap();
        say(format!("written {last}")).unwrap();
    }
}

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9() {
    if let Some(file) = std::env::var_os(WRITER) {
        return write(Path::new(&file)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s.db");
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut acknowledged, mut kills) = (0_u128, 0_usize);
    while acknowledged < WRITES || kills < KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(WRITER, &file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last_word = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<u128>().ok());
        let opened = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("opened"));
        let opened = last_word(&opened.expect("the store does not open")).unwrap();
        assert_eq!(opened, acknowledged, "what the next process finds");
        let enough = acknowledged + random.u128(1..=45);
        while acknowledged < enough {
            let line = lines.next().expect("the writer ended by itself").unwrap();
            assert_eq!(line, format!("written {}", acknowledged + 1));
            acknowledged += 1;
        }
        // Somewhere in the write after that, or between two.
        for _ in 0..random.u32(0..40_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        // What it still said before it died counts; a line that was cut off does not.
        for line in lines.map_while(Result::ok) {
            if line == format!("written {}", acknowledged + 1) {
                acknowledged += 1;
            }
        }
        let store = SqlStore::open(&file, chain()).await.unwrap();
        let there = numbers(&store).await;
        for n in 1..=acknowledged {
            assert_eq!(there.get(&n), Some(&resource(n)), "write {n} after kill {kills}");
        }
        // One more may have been written whose acknowledgement was not heard any more.
        let most = acknowledged + 1;
        assert!(there.keys().all(|n| *n <= most), "something that nobody wrote");
        assert_eq!(
            u128::from(store.revision().await.unwrap()),
            there.len() as u128,
            "a revision for each write"
        );
        acknowledged = there.len() as u128;
    }
    println!("{acknowledged} writes, {kills} kills");
}
