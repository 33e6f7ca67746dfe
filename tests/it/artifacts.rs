//! Inputs and outputs of batch jobs: the same suite on every kind of data store, and every way out that is none.

mod directory;
mod egress;
mod stores;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use scoregate::artifacts::{ArtifactError, Input, Location, Lookup, Opener, Output, SystemLookup};
use scoregate::identity::vault::Vault;
use scoregate::model::datastore::{Credential, Datastore, Place, SealedCredential};
use scoregate::model::scope::WorkspaceRef;
use scoregate::settings::Settings;
use scoregate::telemetry::metrics::Metrics;

/// An opener with what belongs to it.
struct Desk {
    opener: Opener,
    vault: Arc<Vault>,
    metrics: Metrics,
}

fn workspace() -> WorkspaceRef {
    WorkspaceRef {
        subscription: "00000000-0000-0000-0000-000000000000".to_owned(),
        resource_group: "Default".to_owned(),
        name: "default".to_owned(),
    }
}

impl Desk {
    /// A desk whose `batch:` and `limits:` are these, with default stores below a directory.
    fn new(batch: &str, limits: &str, root: Option<&Path>) -> Desk {
        Desk::with_lookup(batch, limits, root, Arc::new(SystemLookup))
    }

    fn with_lookup(batch: &str, limits: &str, root: Option<&Path>, lookup: Arc<dyn Lookup>) -> Desk {
        let text = format!(
            "data_plane: {{ listen: '127.0.0.1:1' }}\nstore: memory\nbatch: {{ {batch} }}\nlimits: {{ {limits} }}\n"
        );
        let settings = Settings::parse("test", &text, Path::new("/"), std::iter::empty());
        let settings = settings.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let (vault, metrics) = (Arc::new(Vault::ephemeral().unwrap()), Metrics::new().unwrap());
        let opener = Opener::with_lookup(&settings, root, vault.clone(), &metrics, lookup).unwrap();
        Desk { opener, vault, metrics }
    }

    fn store(&self, name: &str, place: Place, credential: Option<Credential>) -> Datastore {
        let mut store = Datastore {
            name: name.parse().unwrap(),
            workspace: workspace(),
            place,
            credential: None,
            description: String::new(),
            tags: BTreeMap::default(),
            properties: BTreeMap::default(),
        };
        store.credential = credential.map(|credential| {
            let text = serde_json::to_string(&credential).unwrap();
            SealedCredential(self.vault.seal(&text, store.scope().unwrap().key()).unwrap())
        });
        store
    }

    fn input(&self, uri: &str, store: Option<&Datastore>) -> Result<Input, ArtifactError> {
        self.opener.input(&Location::parse(uri, &workspace()).unwrap(), store, None)
    }

    fn output(
        &self,
        uri: &str,
        store: Option<&Datastore>,
        file: &str,
        job: &str,
    ) -> Result<Output, ArtifactError> {
        let at = Location::parse(uri, &workspace()).unwrap();
        self.opener.output(&at, store, file, &job.parse().unwrap(), None)
    }

    /// Connections that were refused for this reason.
    fn denied(&self, reason: &str) -> u64 {
        self.metrics.egress_denied.with_label_values(&[reason]).get()
    }
}

/// A resolver that answers what it is told: each answer once, the last one for ever.
#[derive(Debug, Default)]
struct Script {
    answers: parking_lot::Mutex<std::collections::HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: std::sync::atomic::AtomicUsize,
}

impl Script {
    fn answer(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|one| one.iter().map(|ip| ip.parse().unwrap()).collect());
        self.answers.lock().insert(name.to_owned(), answers.collect());
    }
}

#[async_trait]
impl Lookup for Script {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut known = self.answers.lock();
        let answers = known.get_mut(name).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}
