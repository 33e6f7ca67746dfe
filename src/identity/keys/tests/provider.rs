//! A provider that says what it is told to, and a refresher that asks it.

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::clock::ManualClock;
use crate::identity::fetch::Document;
use crate::identity::keys::*;
use crate::settings::{Entra, Identity, OidcIssuer};

pub(super) const NOW: i64 = 1_900_000_000;
pub(super) const TENANT: Uuid = uuid!("aa020000-1111-4222-8333-444455556666");
pub(super) const AUTHORITY: &str = "https://login.microsoftonline.com";
pub(super) const OTHER: &str = "https://ci.example/";
pub(super) const TIMES: KeyTimes = KeyTimes {
    refresh: Duration::from_hours(1),
    cool_down: Duration::from_secs(30),
    max_stale: Duration::from_hours(24),
};

/// A tenant of Entra, in version 2.
pub(super) fn entra() -> Arc<Issuer> {
    issuers(None).swap_remove(0)
}

/// An issuer that is not Entra, whose keys are on a host of their own.
pub(super) fn other() -> Arc<Issuer> {
    issuers(None).swap_remove(1)
}

/// The same with its keys in a file.
pub(super) fn with_file(file: PathBuf) -> Arc<Issuer> {
    issuers(Some(file)).swap_remove(1)
}

fn issuers(jwks_file: Option<PathBuf>) -> Vec<Arc<Issuer>> {
    Issuer::all(&Identity {
        entra: vec![Entra {
            authority: AUTHORITY.to_owned(),
            tenants: vec![TENANT],
            v1_issuer: None,
            ca_file: None,
            allow_http: false,
        }],
        issuers: vec![OidcIssuer {
            issuer: OTHER.to_owned(),
            audiences: Vec::new(),
            control_audiences: Vec::new(),
            principal_claim: "sub".to_owned(),
            groups_claim: None,
            jwks_file,
            jwks_hosts: vec!["Keys.example:8443".to_owned()],
            ca_file: None,
            allow_http: false,
        }],
        data_audiences: Vec::new(),
        control_audiences: Vec::new(),
        clock_skew: Duration::ZERO,
        max_token_lifetime: Duration::from_hours(24),
        directory: None,
        on_behalf_of: None,
    })
}

pub(super) fn entra_name() -> String {
    format!("{AUTHORITY}/{TENANT}/v2.0")
}

pub(super) fn metadata_address() -> String {
    format!("{}/.well-known/openid-configuration", entra_name())
}

pub(super) fn keys_address() -> String {
    format!("{AUTHORITY}/{TENANT}/discovery/v2.0/keys")
}

/// What Entra says of its tenant.
pub(super) fn metadata() -> Value {
    json!({
        "issuer": entra_name(),
        "jwks_uri": keys_address(),
        "cloud_instance_name": "microsoftonline.com",
        "token_endpoint": format!("{AUTHORITY}/{TENANT}/oauth2/v2.0/token"),
    })
}

/// A key that nobody can sign with. Another id is another key.
pub(super) fn key(kid: &str) -> Value {
    let mut modulus = Uuid::new_v5(&Uuid::NAMESPACE_OID, kid.as_bytes()).as_bytes().repeat(16);
    modulus[0] |= 0x80;
    json!({"kty": "RSA", "use": "sig", "kid": kid, "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
}

pub(super) fn set(kids: &[&str]) -> Value {
    json!({ "keys": kids.iter().copied().map(key).collect::<Vec<_>>() })
}

pub(super) fn is_found(keys: &KeyCell, kid: &str) -> bool {
    matches!(keys.look_up(kid, NOW), Lookup::Found(_))
}

pub(super) fn is_unavailable(keys: &KeyCell, kid: &str, now: i64) -> bool {
    matches!(keys.look_up(kid, now), Lookup::Unavailable)
}

/// Answers by address, one after the other, the last for ever. No answer: the provider is away.
#[derive(Debug)]
pub(super) struct Provider {
    documents: Mutex<HashMap<String, VecDeque<Option<Vec<u8>>>>>,
    asked: Mutex<Vec<String>>,
    /// While closed, every answer waits.
    open: watch::Sender<bool>,
}

impl Provider {
    pub(super) fn new() -> Provider {
        Provider { documents: Mutex::default(), asked: Mutex::default(), open: watch::Sender::new(true) }
    }

    /// Entra with these sets of keys.
    pub(super) fn of_entra(sets: impl IntoIterator<Item = Option<Value>>) -> Arc<Provider> {
        let provider = Provider::new();
        provider.says(&metadata_address(), [Some(metadata())]);
        provider.says(&keys_address(), sets);
        Arc::new(provider)
    }

    pub(super) fn says(&self, url: &str, answers: impl IntoIterator<Item = Option<Value>>) {
        let bytes = |answer: Value| answer.to_string().into_bytes();
        let answers = answers.into_iter().map(|answer| answer.map(bytes));
        self.documents.lock().insert(url.to_owned(), answers.collect());
    }

    pub(super) fn says_bytes(&self, url: &str, answer: &[u8]) {
        let answers = [Some(answer.to_owned())].into();
        self.documents.lock().insert(url.to_owned(), answers);
    }

    pub(super) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    /// The addresses that were asked, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// How many refreshes began.
    pub(super) fn fetches(&self) -> usize {
        self.asked().iter().filter(|url| **url == metadata_address()).count()
    }
}

#[async_trait]
impl Fetch for Provider {
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError> {
        assert!(ask.body.is_none() && ask.bearer.is_none() && ask.limit == 512 * 1024);
        self.asked.lock().push(ask.url.to_owned());
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
        let mut documents = self.documents.lock();
        let answer = documents.get_mut(ask.url).and_then(|answers| {
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        });
        let bytes = answer.flatten().ok_or_else(|| FetchError::Unreachable {
            url: ask.url.to_owned(),
            why: "nobody there".to_owned(),
        })?;
        Ok(Document { bytes, max_age: None })
    }
}

/// What keeps an issuer's keys fresh, at [`NOW`].
pub(super) fn refresher(issuer: &Arc<Issuer>, provider: &Arc<Provider>, memory: Option<&Path>) -> Refresher {
    Refresher {
        issuer: issuer.clone(),
        fetch: provider.clone(),
        clock: Arc::new(ManualClock::at(NOW)),
        times: TIMES,
        directory: memory.map(Path::to_owned),
    }
}

/// An issuer whose refresher runs.
pub(super) struct Running {
    pub(super) issuer: Arc<Issuer>,
    ended: watch::Receiver<bool>,
}

impl Running {
    /// Runs until the first fetch has ended, well or not.
    pub(super) async fn start(refresher: Refresher) -> Running {
        let issuer = refresher.issuer.clone();
        let ended = issuer.keys.ended.subscribe();
        tokio::spawn(refresher.run());
        let mut running = Running { issuer, ended };
        running.next_fetch().await;
        running
    }

    /// Entra, with this provider and no memory.
    pub(super) async fn entra(provider: &Arc<Provider>) -> Running {
        Running::start(refresher(&entra(), provider, None)).await
    }

    /// Waits for the end of the next fetch, whatever it is for.
    pub(super) async fn next_fetch(&mut self) {
        self.ended.changed().await.unwrap();
    }
}

/// Lets the other tasks go on until this is so. No time passes.
pub(super) async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not happen");
}
