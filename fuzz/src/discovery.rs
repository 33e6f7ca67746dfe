//! Bytes of a discovery document: keys are asked for only where its issuer's keys may be, and only if it is of that issuer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use scoregate::clock::ManualClock;
use scoregate::identity::fetch::{Ask, Document, Fetch, FetchError};
use scoregate::identity::issuer::Issuer;
use scoregate::identity::keys::{KeyTimes, Refresher};
use serde_json::Value;

use super::token::identity;

const NAME: &str = "https://ci.example";
const HOSTS: [&str; 2] = ["ci.example", "keys.example:8443"];

/// Gives the input for whatever is asked.
#[derive(Debug)]
struct Web {
    bytes: Vec<u8>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Fetch for Web {
    async fn fetch(&self, ask: Ask<'_>) -> Result<Document, FetchError> {
        self.asked.lock().push(ask.url.to_owned());
        Ok(Document { bytes: self.bytes.clone(), max_age: None })
    }
}

pub fn check(input: &[u8]) {
    let issuer = Issuer::all(&identity()).into_iter().find(|issuer| issuer.name == NAME).unwrap();
    let web = Arc::new(Web { bytes: input.to_vec(), asked: Mutex::default() });
    let second = Duration::from_secs(1);
    let refresher = Refresher {
        issuer,
        fetch: web.clone(),
        clock: Arc::new(ManualClock::at(0)),
        times: KeyTimes { refresh: second, cool_down: second, max_stale: second },
        directory: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refreshed = runtime.block_on(refresher.refresh());
    let asked = web.asked.lock();
    assert_eq!(asked[0], format!("{NAME}/.well-known/openid-configuration"));
    let Some(keys) = asked.get(1) else {
        assert!(refreshed.is_err());
        return;
    };
    assert_eq!(asked.len(), 2);
    // A member that nobody reads may hold what is no text.
    let Ok(document) = serde_json::from_slice::<Value>(input) else { return };
    assert_eq!((document["issuer"].as_str(), document["jwks_uri"].as_str()), (Some(NAME), Some(&**keys)));
    // As a browser would read it, for that is how it is fetched.
    let Ok(url) = reqwest::Url::parse(keys) else { return };
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let meant = url.username().is_empty() && url.password().is_none() && HOSTS.contains(&&*authority);
    assert!(url.scheme() != "https" || meant, "{keys} is asked at {authority}");
}
