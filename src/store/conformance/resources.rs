//! What every store of resources promises.

use uuid::Uuid;

use super::chain;
use crate::model::audit::Deed;
use crate::model::resource::Resource;
use crate::model::role::{PrincipalId, PrincipalType, RoleAssignment};
use crate::store::chain::{Broken, Chain};
use crate::store::{Batch, Change, Expect, Manager, Revision, Store, StoreError};

fn grant(n: u128) -> Resource {
    Resource::RoleAssignment(RoleAssignment {
        id: Uuid::from_u128(n),
        scope: "/subscriptions/S".parse().unwrap(),
        role: Uuid::from_u128(7),
        principal: PrincipalId(Uuid::from_u128(n)),
        principal_type: PrincipalType::User,
        condition: None,
        description: String::new(),
    })
}

/// Writes resource n.
pub(crate) fn put(n: u128, expect: Expect) -> Change {
    Change::Put(Box::new(grant(n)), Manager::Caller, expect)
}

fn delete(n: u128, expect: Expect) -> Change {
    Change::Delete(grant(n).id().unwrap(), expect)
}

/// Commits changes as somebody.
pub(crate) async fn commit(store: &dyn Store, changes: Vec<Change>) -> Result<Revision, StoreError> {
    let deed = Deed::of_gateway("test", "Test/write", "r", "2026-01-01T00:00:00Z".to_owned());
    store.commit(Batch { changes, deed }).await.map(|committed| committed.revision)
}

/// The suite, on an empty store; leaves it with resources 1 and 2.
pub(crate) async fn run(store: &dyn Store) {
    let id = grant(1).id().unwrap();
    let before = store.revision().await.unwrap();
    assert!(store.get(&id).await.unwrap().is_none());

    // A write is there at once, under a new revision, in any case, and the feed tells of it.
    let mut feed = store.feed();
    let first = commit(store, vec![put(1, Expect::Absent)]).await.unwrap();
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
        assert!(matches!(commit(store, batch).await, Err(StoreError::Conflict { .. })));
        assert_eq!(store.revision().await.unwrap(), first);
        assert_eq!(store.contents().await.unwrap().len(), 1);
    }

    // A batch is one revision.
    let second = commit(store, vec![put(2, Expect::Absent), put(1, Expect::At(first))]).await.unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.revision, second);
    assert!(contents.iter().all(|stored| stored.revision == second) && contents.len() == 2);

    // Of writers who start from the same revision one wins.
    let races = (0..8).map(|_| commit(store, vec![put(1, Expect::At(second))]));
    let won = futures_util::future::join_all(races).await.iter().filter(|result| result.is_ok()).count();
    assert_eq!(won, 1);

    // Deleting what is not there is nothing to fail over, unless it was expected.
    commit(store, vec![delete(9, Expect::Anything)]).await.unwrap();
    commit(store, vec![put(3, Expect::Absent)]).await.unwrap();
    commit(store, vec![delete(3, Expect::Anything)]).await.unwrap();
    assert!(store.get(&grant(3).id().unwrap()).await.unwrap().is_none());

    // A delta says what changed, and applied to what was known before gives what is there.
    let known = store.contents().await.unwrap();
    commit(store, vec![put(4, Expect::Absent), delete(2, Expect::Present)]).await.unwrap();
    let delta = store.since(known.revision).await.unwrap().unwrap();
    assert_eq!((delta.put.len(), delta.gone.len()), (1, 1));
    assert_eq!(known.after(delta), store.contents().await.unwrap());
    commit(store, vec![put(2, Expect::Absent), delete(4, Expect::Anything)]).await.unwrap();
    let now = store.contents().await.unwrap();
    assert_eq!(known.after(store.since(known.revision).await.unwrap().unwrap()), now);

    // What is relied on elsewhere is a conflict too, and a tree goes as a whole.
    let require = |n, expect| Change::Require(grant(n).id().unwrap(), expect);
    let relied = vec![put(5, Expect::Absent), require(9, Expect::Present)];
    assert!(matches!(commit(store, relied).await, Err(StoreError::Conflict { .. })));
    commit(store, vec![put(5, Expect::Absent), require(1, Expect::Present)]).await.unwrap();
    let Resource::RoleAssignment(mut twin) = grant(6) else { panic!() };
    twin.principal = PrincipalId(Uuid::from_u128(5));
    let twin = Change::Put(Box::new(Resource::RoleAssignment(twin)), Manager::Caller, Expect::Absent);
    let taken = commit(store, vec![twin]).await.unwrap_err();
    let holder = grant(5).id().unwrap();
    assert!(matches!(&taken, StoreError::Taken { holder: by, .. } if by == holder.key()), "{taken}");
    let tree = |scope: &str| Change::DeleteTree(scope.parse().unwrap(), Expect::Anything);
    commit(store, vec![tree("/subscriptions/s"), put(1, Expect::Absent), put(2, Expect::Absent)])
        .await
        .unwrap();
    assert_eq!(store.contents().await.unwrap().len(), 2);
    let unchanged = store.revision().await.unwrap();
    assert_eq!(commit(store, Vec::new()).await.unwrap(), unchanged, "a deed that changes nothing");

    // Ids are compared by their bytes: what lies below one is that and nothing else, whatever a language makes of `/`.
    let at = |n: u128, scope: &str| {
        let Resource::RoleAssignment(mut one) = grant(n) else { panic!() };
        one.scope = scope.parse().unwrap();
        Change::Put(Box::new(Resource::RoleAssignment(one)), Manager::Caller, Expect::Absent)
    };
    let places = [
        "/subscriptions/s0",
        "/subscriptions/s-1",
        "/subscriptions/s.x",
        "/subscriptions/T",
        "/subscriptions/ſ",
    ];
    let around = places.iter().enumerate().map(|(n, scope)| at(20 + n as u128, scope)).collect();
    commit(store, around).await.unwrap();
    let inside =
        vec![at(30, "/subscriptions/S/resourceGroups/ä"), at(31, "/subscriptions/s/resourceGroups/0")];
    commit(store, inside).await.unwrap();
    commit(store, vec![tree("/subscriptions/s")]).await.unwrap();
    assert_eq!(store.contents().await.unwrap().len(), places.len());
    let claimed = commit(store, vec![Change::RequireUnclaimed("grant /subscriptions/ſ".to_owned())]).await;
    assert!(matches!(claimed, Err(StoreError::Taken { .. })));
    commit(store, vec![Change::RequireUnclaimed("grant /subscriptions/s/".to_owned())]).await.unwrap();
    let every =
        places.iter().map(|scope| tree(scope)).chain([put(1, Expect::Absent), put(2, Expect::Absent)]);
    let unchanged = commit(store, every.collect()).await.unwrap();
    assert_eq!(store.contents().await.unwrap().len(), 2);
    assert_eq!(commit(store, Vec::new()).await.unwrap(), unchanged);

    // Every batch that was done, and no other, has its record, and the records are one chain.
    let mut records = Vec::new();
    let whole = chain().verify(store, |_, text| records.push(text.to_owned())).await.unwrap();
    assert_eq!(usize::try_from(whole.records), Ok(records.len()));
    let last: crate::model::audit::Record = serde_json::from_str(records.last().unwrap()).unwrap();
    assert_eq!((last.revision, last.changes.len()), (unchanged, 0));
    assert_eq!(store.operation(last.deed.operation).await.unwrap(), Some(last));
    let other = Chain::new(&[8; 32]).verify(store, |_, _| {}).await;
    assert!(matches!(other, Err(Broken::Changed(1))), "another key proves nothing");

    // A name keeps its first value.
    assert_eq!(store.remember("fingerprint", "a").await.unwrap(), "a");
    assert_eq!(store.remember("fingerprint", "b").await.unwrap(), "a");
}

/// What was acknowledged is there after the store was closed and opened again.
pub(crate) async fn survives_reopening<S: Store>(store: S, open: impl AsyncFn() -> S) {
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.len(), 2);
    drop(store);
    let again = open().await;
    assert_eq!(again.contents().await.unwrap(), contents);
    assert_eq!(*again.feed().borrow(), contents.revision);
}
