//! `scoregate serve` and `scoregate dev`: processes that run until they are told to stop.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::supervisor::Supervisor;
use super::{USAGE, complain, failed, process};
use crate::app::{Configuration, Gateway};
use crate::settings::Settings;
use crate::telemetry::logging;

/// What a shell says of a process that a signal ended: this and the signal's number.
const SIGNALLED: u8 = 128;
/// Time that an end which means now leaves to what is running.
const NOW: Duration = Duration::from_millis(100);

pub(super) fn serve(config: &Path) -> ExitCode {
    let configuration = Configuration::at(config);
    let settings = match configuration.read() {
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
    process::limit(settings.limits.connections);
    run(run_gateway(configuration, settings))
}

/// From start to end. A second signal ends it at once.
async fn run_gateway(mut configuration: Configuration, settings: Settings) -> anyhow::Result<ExitCode> {
    let (mut signals, mut hangup) = (Signals::listen()?, signal(SignalKind::hangup())?);
    let supervisor = Supervisor::of_process();
    let gateway = tokio::select! {
        gateway = Gateway::start(settings) => gateway?,
        // Nothing is in flight yet.
        _ = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    supervisor.ready();
    let living = async {
        match supervisor.watchdog {
            Some(every) => loop {
                supervisor.alive();
                tokio::time::sleep(every).await;
            },
            None => std::future::pending().await,
        }
    };
    let life = async {
        tokio::select! {
            _ = signals.end() => {}
            () = follow(&gateway, &mut configuration, &mut hangup, &supervisor) => {}
        }
        supervisor.stopping();
        info!("stopping: not ready any more, and serving until balancers have noticed");
        tokio::select! {
            () = gateway.give_notice() => {}
            signal = signals.end() => return cut(signal),
        }
        info!("stopping: nothing new is accepted, and what is in flight may finish");
        tokio::select! {
            () = gateway.stop() => ExitCode::SUCCESS,
            signal = signals.end() => cut(signal),
        }
    };
    Ok(tokio::select! {
        code = life => code,
        () = living => ExitCode::FAILURE,
    })
}

/// Keeps the configuration in force: whenever its file changes and whenever a signal asks for it.
async fn follow(
    gateway: &Gateway,
    configuration: &mut Configuration,
    hangup: &mut Signal,
    supervisor: &Supervisor,
) {
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = configuration.changed() => {}
        }
        supervisor.reloading();
        gateway.reload(configuration).await;
        supervisor.ready();
    }
}

/// A second signal means now.
fn cut(signal: u8) -> ExitCode {
    warn!("stopped by a second signal before everything was finished");
    ExitCode::from(SIGNALLED + signal)
}

pub(super) fn dev(options: crate::dev::Options) -> ExitCode {
    // The demonstration prints a table; the log would tear it apart.
    if let Err(error) = logging::start("error") {
        complain(&error.to_string());
    }
    run(async {
        let mut signals = Signals::listen()?;
        let stop = async move {
            signals.end().await;
        };
        crate::dev::run(options, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The control runtime: everything but requests.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime =
        match Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error.into()),
        };
    let code = runtime.block_on(work).unwrap_or_else(|error| failed(&error));
    runtime.shutdown_timeout(NOW);
    code
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

    /// Waits for one and gives its number; each is told once.
    async fn end(&mut self) -> u8 {
        tokio::select! {
            _ = self.term.recv() => 15,
            _ = self.interrupt.recv() => 2,
        }
    }
}
