//! One process and whatever it starts itself, which end together.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use super::launcher::Launcher;
use super::slot::Spec;
use crate::instances::roster::Slot;

/// What of the gateway's own environment a model server gets. The rest may be secret.
const INHERITED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
];

/// A process that leads a group of its own.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    leader: Option<Pid>,
}

/// A port that nobody listens on at the moment.
pub(super) fn free_port() -> io::Result<u16> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr().map(|address| address.port())
}

impl Group {
    /// Starts a program that is to listen on a port; its output goes to the slot.
    pub(super) async fn start(
        launcher: &Launcher,
        spec: &Spec,
        port: u16,
        slot: &Arc<Slot>,
    ) -> io::Result<Group> {
        let port = port.to_string();
        let words = spec.program.arguments.iter().map(|word| word.replace("{port}", &port));
        let mut command = launcher.command(words);
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .env_clear()
            .envs(inherited)
            .env("PORT", &port)
            .envs(spec.environment.iter().map(|(name, value)| (name, value.replace("{port}", &port))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &spec.program.directory {
            command.current_dir(directory);
        }
        let mut child = launcher.launch(command).await?;
        if let Some(pipe) = child.stdout.take() {
            let slot = slot.clone();
            tokio::spawn(async move { slot.output.follow(pipe).await });
        }
        if let Some(pipe) = child.stderr.take() {
            let slot = slot.clone();
            tokio::spawn(async move { slot.output.follow(pipe).await });
        }
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Group { child, leader })
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        // What it started may not outlive it.
        self.signal(Signal::KILL);
        status
    }

    /// Asks it to end, and ends it if it has not within this time.
    pub(super) async fn stop(&mut self, time: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(time, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // An error means that it is gone.
            let _ = self.child.wait().await;
        }
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs none.
        let _ = self.leader.map(|leader| kill_process_group(leader, signal));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
        }
    }
}
