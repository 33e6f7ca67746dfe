//! The real binary: a directory with all that it needs, and the gateway in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use scoregate::identity::endpoint_key;
use scoregate::identity::vault::Vault;
use scoregate::model::resource::Resource;
use scoregate::store::chain::Chain;
use scoregate::store::{SqlStore, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::rest::Rest;
use super::stand::SUBSCRIPTION;
use super::{PATIENCE, until};

/// What the file of a master key says.
pub const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";

/// The binary, with nothing of the environment that would configure it.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scoregate"));
    // Overrides of whoever runs the tests are none of theirs.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCOREGATE")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = binary().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A directory with a configuration, resources and a store.
pub struct Site {
    pub directory: TempDir,
}

impl Site {
    /// A site with these resource files; `more` is put at the end of its configuration.
    pub fn new(resources: &[(&str, String)], more: &str) -> Site {
        let site = Site { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(site.path("resources")).unwrap();
        for (name, text) in resources {
            std::fs::write(site.path("resources").join(name), text).unwrap();
        }
        site.configure(&format!("resources: resources\n{more}"));
        site
    }

    /// Writes a configuration that ends like this; a section that is given here is not the usual one.
    pub fn configure(&self, more: &str) {
        let usual = [
            ("data_plane", "{ listen: \"127.0.0.1:0\", workers: 2 }".to_owned()),
            ("control_plane", "{ listen: \"127.0.0.1:0\" }".to_owned()),
            ("admin", "{ listen: \"127.0.0.1:0\" }".to_owned()),
            ("store", "sqlite://store.db".to_owned()),
            ("limits", "{ drain_notice: 0s }".to_owned()),
            ("workspaces", format!("[ {{ subscription: {SUBSCRIPTION} }} ]")),
        ];
        let missing = usual.iter().filter(|(name, _)| !more.contains(&format!("{name}:")));
        let lines: Vec<_> = missing.map(|(name, value)| format!("{name}: {value}")).collect();
        // Whole, so that a gateway that follows it never sees half of it.
        let draft = self.path(".scoregate.yaml");
        std::fs::write(&draft, format!("{}\n{more}", lines.join("\n"))).unwrap();
        std::fs::rename(draft, self.path("scoregate.yaml")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> String {
        self.path("scoregate.yaml").display().to_string()
    }

    /// Serves, which ends by itself: exit code and the one line that it says.
    pub fn refuses(&self) -> (i32, String) {
        let (code, _, errors) = run(&["serve", "--config", &self.config()]);
        assert_eq!(errors.lines().count(), 1, "one line, not\n{errors}");
        (code, errors)
    }

    /// A client of the control plane of this site's gateway.
    pub fn rest(&self, process: &Process) -> Rest {
        Rest::new(process.control, &self.path("control-ca.pem"))
    }

    pub fn serve(&self) -> Process {
        Process::start(&self.config())
    }

    /// The store with what opens it, which a gateway has to have made.
    pub async fn store(&self) -> (SqlStore, Vault) {
        let vault = Vault::open(&self.path("master.key"), false).unwrap();
        let chain = Chain::new(vault.audit_key());
        (SqlStore::open(&self.path("store.db"), chain).await.unwrap(), vault)
    }

    /// The primary key of `my-ep`, read from the store.
    pub async fn key(&self) -> String {
        let (store, vault) = self.store().await;
        for stored in store.contents().await.unwrap().iter() {
            if let Resource::Endpoint(found) = &stored.resource
                && found.spec.name.key() == "my-ep"
            {
                let scope = found.scope().unwrap();
                let key = endpoint_key::reveal(&vault, &scope, "primary", &found.keys.primary);
                return key.unwrap().to_string();
            }
        }
        panic!("the store has no endpoint my-ep")
    }
}

/// A gateway in a process of its own. Killed at the latest when it is dropped.
pub struct Process {
    pub child: Child,
    pub data: SocketAddr,
    pub control: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Process {
    /// Starts one and waits until it is ready.
    pub fn start(config: &str) -> Process {
        Process::of(binary(), config)
    }

    /// The same, by a command that was prepared.
    pub fn of(mut command: Command, config: &str) -> Process {
        let mut child = command.args(["serve", "--config", config]).stdout(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = log.clone();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        // Reads for ever, so that the log never blocks the gateway.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A gateway that is killed leaves half a line.
                let Ok(record) = serde_json::from_str::<Value>(&line) else { continue };
                if record["message"] == "scoregate is ready" {
                    let address = |name: &str| record[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
                    let _ = sender.send((address("data"), address("control"), address("admin")));
                }
                kept.lock().push(record);
            }
        });
        let ready = receiver.recv_timeout(PATIENCE);
        if ready.is_err() {
            let _ = child.kill();
        }
        let (data, control, admin) = ready.expect("the gateway was not ready in time");
        Process { child, data, control, admin, log }
    }

    /// How many lines of its log are like this.
    pub fn logged(&self, like: impl Fn(&Value) -> bool) -> usize {
        self.log.lock().iter().filter(|record| like(record)).count()
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().clone()
    }

    /// The text of an address for operators, and its status.
    pub async fn look(&self, path: &str) -> (u16, String) {
        let message = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        let answer = super::raw::ask(self.admin, message).await.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end and gives its exit code; `None` after a signal.
    pub async fn ended(&mut self) -> Option<i32> {
        until("the gateway ends", async || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap().code()
    }

    pub async fn refuses_connections(&self) {
        until("nothing new is accepted", async || tokio::net::TcpStream::connect(self.data).await.is_err())
            .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
