//! Certificates in files, taken up when they are replaced.

use std::sync::Arc;

use tracing::{info, warn};

use super::files::Watched;
use super::tasks::Group;
use super::{Base, StartError};
use crate::net::tls::Certificates;
use crate::settings::TlsFiles;
use crate::telemetry::health::{Health, State};
use crate::telemetry::metrics::Metrics;

/// A listener's certificates, which follow their files until this is dropped.
#[derive(Debug)]
pub(super) struct Followed {
    reader: Reader,
    _following: Group,
}

impl Followed {
    /// Reads the files for the first time.
    pub(super) fn load(what: &'static str, files: &TlsFiles, base: &Base) -> Result<Followed, StartError> {
        let mut named = vec![files.certificate.clone(), files.private_key.clone()];
        named.extend(files.clients.as_ref().map(|clients| clients.ca.clone()));
        let watched = Watched::new(named);
        let certificates = Certificates::load(files)?;
        let (health, metrics, files) = (base.health.clone(), base.metrics.clone(), files.clone());
        let reader = Reader { what, certificates, files, health, metrics };
        let following = base.tasks.group();
        following.spawn(what, reader.clone().follow(watched));
        Ok(Followed { reader, _following: following })
    }

    pub(super) fn certificates(&self) -> &Arc<Certificates> {
        &self.reader.certificates
    }

    pub(super) fn files(&self) -> &TlsFiles {
        &self.reader.files
    }

    /// Reads the files now; if they cannot be used, the old certificates stay.
    pub(super) fn read(&self) {
        self.reader.read();
    }
}

#[derive(Debug, Clone)]
struct Reader {
    what: &'static str,
    certificates: Arc<Certificates>,
    files: TlsFiles,
    health: Health,
    metrics: Metrics,
}

impl Reader {
    async fn follow(self, mut watched: Watched) {
        loop {
            watched.changed().await;
            if !self.read() {
                watched.again();
            }
        }
    }

    fn read(&self) -> bool {
        let what = self.what;
        match self.certificates.reload(&self.files) {
            Ok(()) => {
                info!(what, "certificates were read again");
                self.health.set(what, State::Good("read again".to_owned()));
                true
            }
            Err(error) => {
                let state = State::Degraded(error.to_string());
                // It is tried again and again, and told once.
                if self.health.of(what).as_ref() != Some(&state) {
                    warn!(what, %error, "new certificates cannot be used; the old ones stay");
                    self.metrics.reload_failures.with_label_values(&["certificate"]).inc();
                    self.health.set(what, state);
                }
                false
            }
        }
    }
}
