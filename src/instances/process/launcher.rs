//! How a program is started so that it cannot outlive the gateway, whatever ends that.
//!
//! Linux ends a process when the *thread* that started it ends, if the process has asked for it itself. So the gateway
//! starts its own binary as a helper, which asks, looks whether the gateway is still there, and then becomes the program
//! ([`become_program`]); and it starts it from a thread that lives as long as anybody needs one ([`Launcher`]).
//!
//! That covers the program itself. What the program starts in turn is in its group and ends with it whenever the gateway
//! does the ending, but not when the gateway is killed; and the kernel forgets the request for a program that is
//! set-user-ID or has file capabilities. There it takes who started the gateway: a container or a unit ends whole.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The helper's command, and its option for the process that it belongs to.
const HELPER: [&str; 2] = ["exec-instance", "--parent"];

/// Starts programs.
#[derive(Debug, Clone)]
pub(in crate::instances) struct Launcher {
    /// The gateway's own binary.
    helper: Arc<PathBuf>,
    orders: mpsc::Sender<Order>,
}

/// A command to be started on behalf of a runtime, and who waits for it.
struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Launcher {
    /// Makes the thread that starts programs. It ends when nobody can start one any more.
    pub(in crate::instances) fn start(helper: PathBuf) -> io::Result<Launcher> {
        let (orders, ordered) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("instances".to_owned()).spawn(move || {
            for Order { mut command, runtime, reply } in ordered {
                let _inside = runtime.enter();
                // Whoever has gone away meanwhile drops the child, which ends it.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Launcher { helper: Arc::new(helper), orders })
    }

    /// A command that becomes this program.
    pub(super) fn command(&self, words: impl Iterator<Item = String>) -> Command {
        let mut command = Command::new(&*self.helper);
        command.args(HELPER).arg(std::process::id().to_string()).arg("--").args(words);
        command
    }

    /// Starts it.
    pub(super) async fn launch(&self, command: Command) -> io::Result<Child> {
        let (reply, started) = oneshot::channel();
        let order = Order { command, runtime: Handle::current(), reply };
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.orders.send(order).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// The helper's part: ends with its parent from now on, and becomes the program. Comes back only with what prevented that.
pub fn become_program(parent: u32, program: &[OsString]) -> io::Error {
    let Some((name, arguments)) = program.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have ended before it could be asked for.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(parent).ok() {
        return io::Error::other("the gateway that started this is gone");
    }
    std::process::Command::new(name).args(arguments).exec()
}
