//! Another configuration for a gateway that runs: in force whole, or not at all with the last good one kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{error, info, warn};

use super::files::Watched;
use super::generation::Generation;
use super::state::compiler;
use super::{Base, Gateway, StartError};
use crate::forms::Mistakes;
use crate::settings::Settings;
use crate::telemetry::health::State;
use crate::telemetry::logging;

/// A configuration file, and the environment that overrides it.
#[derive(Debug)]
pub struct Configuration {
    file: PathBuf,
    watched: Watched,
}

impl Configuration {
    /// Names a file, which is followed from now on.
    pub fn at(file: &Path) -> Configuration {
        Configuration { file: file.to_owned(), watched: Watched::new(vec![file.to_owned()]) }
    }

    /// Reads it.
    pub fn read(&self) -> Result<Settings, Mistakes> {
        Settings::of_process(&self.file)
    }

    /// Waits until the file has changed.
    pub async fn changed(&mut self) {
        self.watched.changed().await;
    }
}

impl Gateway {
    /// Reads the configuration and every certificate again, and tells how that ended.
    pub async fn reload(&self, configuration: &Configuration) {
        let file = configuration.file.display();
        let result = match configuration.read() {
            Ok(settings) => self.reconfigure(settings).await,
            Err(mistakes) => Err(mistakes.into()),
        };
        self.control_plane.read_certificate();
        if let Some(certificates) = &self.in_force.lock().await.data.certificates {
            certificates.read();
        }
        let (health, metrics) = (&self.base.health, &self.base.metrics);
        metrics.configuration_ok.set(result.is_ok().into());
        match result {
            Ok(()) => {
                info!(%file, "the configuration is in force");
                health.set("configuration", State::Good(format!("{file} is in force")));
            }
            Err(problem) => {
                let problem = format!("{problem:#}");
                error!(%file, error = problem, "the configuration is not taken up; the last good one stays in force");
                metrics.reload_failures.with_label_values(&["configuration"]).inc();
                health.set("configuration", State::Degraded(problem));
            }
        }
    }

    /// Puts other settings in force, whole or not at all.
    ///
    /// Requests and connections that are under way keep what they began with.
    pub async fn reconfigure(&self, settings: Settings) -> Result<(), StartError> {
        let mut in_force = self.in_force.lock().await;
        let fixed = in_force.settings.needs_restart(&settings);
        if !fixed.is_empty() {
            let verb = if fixed.len() == 1 { "needs" } else { "need" };
            bail!("{} {verb} a restart", fixed.join(", "));
        }
        let filter = logging::filter(&settings.logs.level)?;
        let base = Base { settings: Arc::new(settings), ..self.base.clone() };
        let issuers = in_force.issuers.after(&base, &self.listening.control_url).await?;
        let before = Some(&*in_force);
        let mut next = Generation::of(&base, &self.state, issuers, &self.listening, before)?;
        let compiler = compiler(&base.settings, base.metrics.clone());
        let compiled = self.state.publisher.recompile(compiler).await;
        compiled.context("the stored resources cannot be put in force with it")?;
        // Nothing fails from here on.
        logging::change(filter);
        self.data_plane.take_up(&next.data, &base);
        self.batch_plane.take_up(&next.batch, &next.data.pipeline);
        self.control_plane.take_up(&next.control, &next.data.protocol, &base.settings.limits);
        for gone in in_force.issuers.all.iter().filter(|issuer| !next.issuers.knows(&issuer.name)) {
            warn!(issuer = gone.name, "tokens of this issuer are accepted no more");
            base.health.remove(&format!("issuer {}", gone.name));
        }
        self.issuers.store(next.issuers.clone());
        next.begin(&base, &self.state);
        *in_force = next;
        Ok(())
    }
}
