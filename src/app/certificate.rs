//! Certificates in files, taken up when they are replaced.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::net::tls::Certificates;
use crate::settings::TlsFiles;
use crate::telemetry::health::{Health, State};
use crate::telemetry::metrics::Metrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the files of a listener's certificate for ever; one that cannot be used leaves the old one in place.
pub(super) async fn follow(
    what: &'static str,
    certificates: Arc<Certificates>,
    files: TlsFiles,
    health: Health,
    metrics: Metrics,
) {
    let stamp = || {
        let of = |file: &PathBuf| std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
        (of(&files.certificate), of(&files.private_key))
    };
    let mut seen = stamp();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp();
        if now == seen {
            continue;
        }
        seen = now;
        match certificates.reload(&files.certificate, &files.private_key) {
            Ok(()) => {
                info!(what, "a certificate was replaced");
                health.set(what, State::Good("replaced".to_owned()));
            }
            Err(error) => {
                warn!(what, %error, "a new certificate cannot be used; the old one stays");
                metrics.reload_failures.with_label_values(&["certificate"]).inc();
                health.set(what, State::Degraded(error.to_string()));
            }
        }
    }
}
