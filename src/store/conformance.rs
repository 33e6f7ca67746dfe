//! What every store promises, as one suite that each of them has to pass.

use uuid::Uuid;

use super::{Change, Expect, Manager, Store, StoreError};
use crate::model::resource::Resource;
use crate::model::role::{PrincipalId, PrincipalType, RoleAssignment};

fn grant(n: u128) -> Resource {
    Resource::RoleAssignment(RoleAssignment {
        id: Uuid::from_u128(n),
        scope: "/subscriptions/S".parse().unwrap(),
        role: Uuid::from_u128(7),
        principal: PrincipalId(Uuid::from_u128(n)),
        principal_type: PrincipalType::User,
        condition: None,
    })
}

fn put(n: u128, expect: Expect) -> Change {
    Change::Put(Box::new(grant(n)), Manager::Caller, expect)
}

fn delete(n: u128, expect: Expect) -> Change {
    Change::Delete(grant(n).id().unwrap(), expect)
}

/// The suite, on an empty store; leaves it with resources 1 and 2.
pub(crate) async fn run(store: &dyn Store) {
    let id = grant(1).id().unwrap();
    let before = store.revision().await.unwrap();
    assert!(store.get(&id).await.unwrap().is_none());

    // A write is there at once, under a new revision, in any case, and the feed tells of it.
    let mut feed = store.feed();
    let first = store.commit(vec![put(1, Expect::Absent)]).await.unwrap();
    assert!(first > before);
    feed.changed().await.unwrap();
    assert_eq!(*feed.borrow(), first);
    let found = store.get(&id).await.unwrap().unwrap();
    assert_eq!((&found.resource, found.revision, found.manager), (&grant(1), first, Manager::Caller));

    // What is not as expected is a conflict that names it, and nothing of its batch is done.
    for batch in [
        vec![put(2, Expect::Absent), put(1, Expect::Absent)],
        vec![put(2, Expect::Absent), put(1, Expect::At(first + 1))],
        vec![put(2, Expect::Absent), delete(1, Expect::At(first + 1))],
        vec![put(2, Expect::Absent), delete(9, Expect::At(first))],
    ] {
        assert!(matches!(store.commit(batch).await, Err(StoreError::Conflict { .. })));
        assert_eq!(store.revision().await.unwrap(), first);
        assert_eq!(store.contents().await.unwrap().resources.len(), 1);
    }

    // A batch is one revision.
    let second = store.commit(vec![put(2, Expect::Absent), put(1, Expect::At(first))]).await.unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.revision, second);
    assert!(
        contents.resources.iter().all(|stored| stored.revision == second) && contents.resources.len() == 2
    );

    // Of writers who start from the same revision one wins.
    let races = (0..8).map(|_| store.commit(vec![put(1, Expect::At(second))]));
    let won = futures_util::future::join_all(races).await.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1);

    // Deleting what is not there is nothing to fail over, unless it was expected.
    store.commit(vec![delete(9, Expect::Anything)]).await.unwrap();
    store.commit(vec![put(3, Expect::Absent)]).await.unwrap();
    store.commit(vec![delete(3, Expect::Anything)]).await.unwrap();
    assert!(store.get(&grant(3).id().unwrap()).await.unwrap().is_none());

    // A name keeps its first value.
    assert_eq!(store.remember("fingerprint", "a").await.unwrap(), "a");
    assert_eq!(store.remember("fingerprint", "b").await.unwrap(), "a");
}

/// What was acknowledged is there after the store was closed and opened again.
pub(crate) async fn survives_reopening<S: Store>(store: S, open: impl AsyncFn() -> S) {
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.resources.len(), 2);
    drop(store);
    let again = open().await;
    assert_eq!(again.contents().await.unwrap(), contents);
    assert_eq!(*again.feed().borrow(), contents.revision);
}
