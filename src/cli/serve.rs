//! `scoregate serve` and `scoregate dev`: processes that run until they are told to stop.

use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{USAGE, complain, failed};
use crate::app::Gateway;
use crate::settings::Settings;
use crate::telemetry::logging;

pub(super) fn serve(config: &Path) -> ExitCode {
    let settings = match Settings::load(config, std::env::vars()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            complain(&mistakes.to_string());
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = logging::start(&settings.logs.level) {
        complain(&format!("{}: {error}", config.display()));
        return ExitCode::from(USAGE);
    }
    run(async {
        let mut signals = Signals::listen()?;
        let gateway = tokio::select! {
            gateway = Gateway::start(settings) => gateway?,
            // Nothing is in flight yet.
            () = signals.next() => return Ok(()),
        };
        signals.next().await;
        tracing::info!("stopping: what is in flight may finish");
        tokio::select! {
            () = gateway.stop() => {}
            // A second signal means now.
            () = signals.next() => anyhow::bail!("stopped by a second signal before everything was finished"),
        }
        Ok(())
    })
}

pub(super) fn dev(options: crate::dev::Options) -> ExitCode {
    // The demonstration prints a table; the log would tear it apart.
    if let Err(error) = logging::start("error") {
        complain(&error.to_string());
    }
    run(async {
        let mut signals = Signals::listen()?;
        crate::dev::run(options, async move { signals.next().await }).await
    })
}

/// The control runtime: everything but requests.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime =
        match Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error.into()),
        };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The signals that ask for an end. From the moment that it is made, they end nothing by themselves.
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one; each is told once.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
