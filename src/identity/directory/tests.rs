//! Groups that are asked of the directory, from a directory that says what a test lets it say.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::identity::caller::{CallerHeaders, Groups};
use crate::identity::claims::{self, Rules};
use crate::identity::fetch::{Document, FetchError};
use crate::identity::issuer::{Issuer, Plane};
use crate::settings::{Entra, Identity};

const GRAPH: &str = "https://graph.example/v1.0";
const LONG: Duration = Duration::from_mins(5);
const NOT_AT_ALL: Duration = Duration::ZERO;

/// What was asked: the address, the body and the bearer token.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    url: String,
    body: Option<Value>,
    bearer: Option<String>,
}

/// A directory that gives one answer after the other, the last for ever; no answer is no directory.
#[derive(Debug)]
struct Graph {
    answers: Mutex<VecDeque<Option<String>>>,
    asked: Mutex<Vec<Question>>,
    /// While closed, every answer waits.
    open: watch::Sender<bool>,
}

impl Graph {
    fn new(answers: impl IntoIterator<Item = Option<Value>>) -> Arc<Graph> {
        let answers = answers.into_iter().map(|answer| answer.map(|value| value.to_string()));
        Arc::new(Graph {
            answers: Mutex::new(answers.collect()),
            asked: Mutex::default(),
            open: watch::Sender::new(true),
        })
    }

    fn directory(self: &Arc<Graph>, keep: Duration) -> Directory {
        Directory::new(GRAPH.to_owned(), None, self.clone(), keep)
    }

    fn questions(&self) -> usize {
        self.asked.lock().len()
    }
}

#[async_trait]
impl Fetch for Graph {
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError> {
        self.asked.lock().push(Question {
            url: ask.url.to_owned(),
            body: ask.body,
            bearer: ask.bearer.map(str::to_owned),
        });
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let mut answers = self.answers.lock();
        let answer =
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().cloned().unwrap() };
        let text = answer.ok_or_else(|| FetchError::Unreachable {
            url: ask.url.to_owned(),
            why: "nobody there".to_owned(),
        })?;
        Ok(Document { bytes: text.into_bytes(), max_age: None })
    }
}

fn guid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn members(groups: &[u128]) -> Value {
    json!({ "value": groups.iter().map(|n| guid(*n)).collect::<Vec<_>>() })
}

fn ids(groups: &[u128]) -> Arc<[PrincipalId]> {
    groups.iter().map(|n| PrincipalId(guid(*n))).collect()
}

/// A caller with more groups than its token can hold.
fn caller(id: u128, kind: CallerKind) -> Caller {
    let object_id = PrincipalId(guid(id));
    Caller {
        object_id,
        tenant: Some(guid(1)),
        kind,
        app_id: None,
        groups: Groups::Overage,
        token_id: None,
        expires: i64::MAX,
        not_before: i64::MIN,
        headers: CallerHeaders::of(object_id, kind, Some(guid(1))),
    }
}

fn user(id: u128) -> Caller {
    caller(id, CallerKind::User)
}

#[tokio::test]
async fn users_and_applications_are_asked_for_where_they_are() {
    let graph = Graph::new([Some(members(&[11, 12]))]);
    let directory = graph.directory(LONG);
    for (kind, place) in [(CallerKind::User, "users"), (CallerKind::ServicePrincipal, "servicePrincipals")] {
        let caller = caller(kind as u128 + 7, kind);
        assert_eq!(directory.groups(&caller).await, Ok(ids(&[11, 12])));
        let question = graph.asked.lock().pop().unwrap();
        let expected = Question {
            url: format!("{GRAPH}/{place}/{}/getMemberObjects", caller.object_id),
            body: Some(json!({ "securityEnabledOnly": true })),
            bearer: None,
        };
        assert_eq!(question, expected);
    }
}

#[tokio::test]
async fn the_address_in_a_token_is_never_called() {
    let tenant = guid(1);
    let issuers = Issuer::all(&Identity {
        entra: vec![Entra {
            authority: "https://login.example".to_owned(),
            tenants: vec![tenant],
            v1_issuer: None,
            ca_file: None,
            allow_http: false,
        }],
        issuers: Vec::new(),
        data_audiences: vec!["api".to_owned()],
        control_audiences: Vec::new(),
        clock_skew: NOT_AT_ALL,
        max_token_lifetime: LONG,
        directory: None,
        on_behalf_of: None,
    });
    let payload = json!({
        "iss": issuers[0].name, "ver": "2.0", "tid": tenant, "oid": guid(7), "aud": "api", "exp": 100, "scp": "s",
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {
            "endpoint": format!("https://attacker.example/{tenant}/users/{}/getMemberObjects", guid(7)),
            "access_token": "eyJ",
        }},
    });
    let rules = Rules { now: 0, skew: 0, max_lifetime: 300 };
    let caller = claims::judge(payload.to_string().as_bytes(), &issuers[0], Plane::Data, rules).unwrap();
    assert_eq!(caller.groups, Groups::Overage);

    let graph = Graph::new([Some(members(&[11]))]);
    let groups = graph.directory(LONG).groups(&caller).await;
    assert_eq!(groups, Ok(ids(&[11])));
    let asked = graph.asked.lock();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].url, format!("{GRAPH}/users/{}/getMemberObjects", guid(7)));
    assert_eq!(asked[0].bearer, None);
}

#[tokio::test]
async fn what_was_learnt_is_kept_for_each_principal() {
    let graph = Graph::new([Some(members(&[11])), Some(members(&[12])), Some(members(&[13]))]);
    let directory = graph.directory(LONG);
    for _ in 0..3 {
        assert_eq!(directory.groups(&user(7)).await, Ok(ids(&[11])));
        assert_eq!(directory.groups(&user(8)).await, Ok(ids(&[12])));
    }
    assert_eq!(graph.questions(), 2);
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_asked_again() {
    let graph = Graph::new([Some(members(&[11])), Some(members(&[])), Some(members(&[12]))]);
    let directory = graph.directory(NOT_AT_ALL);
    for expected in [ids(&[11]), ids(&[]), ids(&[12])] {
        assert_eq!(directory.groups(&user(7)).await, Ok(expected));
    }
    assert_eq!(graph.questions(), 3);
}

#[tokio::test]
async fn that_there_is_no_group_is_believed_for_a_minute_at_most() {
    let minute = Duration::from_mins(1);
    for (keep, groups, expected) in [
        (LONG, &[11][..], LONG),
        (LONG, &[], minute),
        (minute / 2, &[11], minute / 2),
        (minute / 2, &[], minute / 2),
    ] {
        let directory = Graph::new([Some(members(groups))]).directory(keep);
        let before = Instant::now();
        assert_eq!(directory.groups(&user(7)).await, Ok(ids(groups)));
        let after = Instant::now();
        let until = directory.known.get(&user(7).object_id).unwrap().until;
        let expected = before + expected..=after + expected;
        assert!(expected.contains(&until), "{keep:?} {groups:?}");
    }
}

#[tokio::test]
async fn names_that_are_no_object_ids_are_left_out() {
    let graph = Graph::new([Some(json!({
        "@odata.context": "https://graph.example/v1.0/$metadata#Collection(Edm.String)",
        "value": ["admins", guid(11), "", guid(12)],
    }))]);
    let groups = graph.directory(LONG).groups(&user(7)).await;
    assert_eq!(groups, Ok(ids(&[11, 12])));
}

#[tokio::test]
async fn no_answer_is_not_no_groups() {
    for (name, answer) in [
        ("away", None),
        ("an error", Some(json!({"error": {"code": "Authorization_RequestDenied"}}))),
        ("no list", Some(json!({"value": "x"}))),
        ("null", Some(json!({"value": null}))),
        ("not only names", Some(json!({"value": [guid(11), 7]}))),
        ("nothing", Some(json!({}))),
        ("a page", Some(json!("<html>"))),
    ] {
        let graph = Graph::new([answer, Some(members(&[11]))]);
        let directory = graph.directory(LONG);
        assert_eq!(directory.groups(&user(7)).await, Err(DirectoryUnavailable), "{name}");
        // The failure is not kept: who comes next asks.
        assert_eq!(directory.groups(&user(7)).await, Ok(ids(&[11])), "{name}");
        assert_eq!(graph.questions(), 2, "{name}");
    }
}

#[tokio::test]
async fn what_is_kept_outlives_a_directory_that_went_away() {
    let graph = Graph::new([Some(members(&[11])), None]);
    let directory = graph.directory(LONG);
    assert_eq!(directory.groups(&user(7)).await, Ok(ids(&[11])));
    assert_eq!(directory.groups(&user(8)).await, Err(DirectoryUnavailable));
    assert_eq!(directory.groups(&user(7)).await, Ok(ids(&[11])));
}

/// A hundred callers at once, while the directory takes its time over the first question.
async fn all_at_once(
    graph: &Arc<Graph>,
    keep: Duration,
) -> Vec<Result<Arc<[PrincipalId]>, DirectoryUnavailable>> {
    let directory = graph.directory(keep);
    graph.open.send_replace(false);
    let callers: Vec<Caller> = (0..100).map(|_| user(7)).collect();
    let all = join_all(callers.iter().map(|caller| directory.groups(caller)));
    let (all, ()) = tokio::join!(all, async {
        tokio::task::yield_now().await;
        graph.open.send_replace(true);
    });
    all
}

#[tokio::test]
async fn callers_that_ask_at_once_share_one_question() {
    for keep in [LONG, NOT_AT_ALL] {
        let graph = Graph::new([Some(members(&[11])), Some(members(&[12]))]);
        assert_eq!(all_at_once(&graph, keep).await, vec![Ok(ids(&[11])); 100]);
        assert_eq!(graph.questions(), 1);
    }
}

#[tokio::test]
async fn callers_that_ask_at_once_share_a_failure_too() {
    // One after the other, they would wait for a directory that is away as many times as there are callers.
    let graph = Graph::new([None]);
    assert_eq!(all_at_once(&graph, LONG).await, vec![Err(DirectoryUnavailable); 100]);
    assert_eq!(graph.questions(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_question_to_the_next() {
    let graph = Graph::new([Some(members(&[11]))]);
    let directory = graph.directory(LONG);
    graph.open.send_replace(false);
    let (first, second) = (user(7), user(7));
    let mut asking = Box::pin(directory.groups(&first));
    let waiting = directory.groups(&second);
    tokio::select! {
        biased;
        _ = &mut asking => panic!("nothing was answered yet"),
        () = std::future::ready(()) => {}
    }
    let (groups, ()) = tokio::join!(waiting, async {
        drop(asking);
        graph.open.send_replace(true);
    });
    assert_eq!(groups, Ok(ids(&[11])));
    assert_eq!(graph.questions(), 2);
}

#[tokio::test]
async fn the_directorys_token_is_read_for_each_question_and_never_made_up() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("graph.token");
    let graph = Graph::new([Some(members(&[11]))]);
    let directory = Directory::new(GRAPH.to_owned(), Some(file.clone()), graph.clone(), NOT_AT_ALL);
    assert_eq!(directory.groups(&user(7)).await, Err(DirectoryUnavailable));
    assert_eq!(graph.questions(), 0, "nobody is asked without the token");
    std::fs::write(&file, "first\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(directory.groups(&user(7)).await, Err(DirectoryUnavailable), "others may read it");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        assert_eq!(directory.groups(&user(7)).await, Ok(ids(&[11])));
        let asked = graph.asked.lock().pop().unwrap();
        assert_eq!(asked.bearer.as_deref(), Some(token));
    }
}
