//! A PostgreSQL server of the tests' own, on a free port of loopback, in a directory that goes with it.
//!
//! A shell looks after it, in a process group of its own: when its standard input ends - at the latest with this
//! process, whatever becomes of it - it stops the server and removes the directory. As root, who may not run servers,
//! it is the user `postgres`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// What opens it.
pub const PASSWORD: &str = "sesame-%41:@/";
/// The same in an address.
const ESCAPED: &str = "sesame-%2541%3A%40%2F";
const ATTEMPTS: u32 = 3;

/// Its collation is a language's, in which `/` does not count for much: text has to ask for its bytes to be compared.
const KEEPER: &str = r#"
set -eu
cd /
umask 077
dir=$(mktemp -d "${TMPDIR:-/tmp}/scoregate-postgres.XXXXXX")
start() {
  "$BIN/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 120 start >/dev/null 2>&1 || { cat "$dir/log" >&2; exit 1; }
}
stop() { "$BIN/pg_ctl" -D "$dir/data" -w -m immediate stop >/dev/null 2>&1 || true; }
trap 'stop; rm -rf "$dir"' EXIT
printf '%s' "$PASSWORD" >"$dir/password"
"$BIN/initdb" -D "$dir/data" -U scoregate --auth=scram-sha-256 --pwfile="$dir/password" --no-sync \
  --encoding=UTF8 --locale=C --locale-provider=icu --icu-locale=en-US >"$dir/log" 2>&1 ||
  { cat "$dir/log" >&2; exit 1; }
printf '%s' "$CERTIFICATE" >"$dir/data/server.crt"
printf '%s' "$PRIVATE_KEY" >"$dir/data/server.key"
cat >>"$dir/data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = '$dir'
max_connections = 300
shared_buffers = 32MB
fsync = off
ssl = on
synchronous_commit = off
default_transaction_isolation = 'serializable'
END
start
echo ready
while read -r word; do "$word"; echo "$word"; done
"#;

/// A server. It ends when this is dropped.
pub struct Server {
    port: u16,
    programs: PathBuf,
    keeper: Mutex<Keeper>,
    /// The certificate that the server's own is signed by, as PEM.
    pub root: String,
    schemas: AtomicU32,
}

struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Where the newest server's programs are.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.retain(|bin| bin.join("initdb").exists());
    let number = |bin: &Path| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|name| name.parse::<f32>().ok()).unwrap_or(0.0)
    };
    versions.sort_by(|one, other| number(one).total_cmp(&number(other)));
    versions.pop().expect("the tests need PostgreSQL 15 or later: apt-get install postgresql")
}

/// A certificate for the server by an authority of its own: root, certificate, key.
pub fn certificate() -> (String, String, String) {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    (root_pem, leaf.pem(), key.serialize_pem())
}

impl Server {
    /// A server for one test alone.
    pub fn start() -> Server {
        let mut started = (0..ATTEMPTS).filter_map(|_| Server::attempt());
        started.next().expect("PostgreSQL does not start; its log is above")
    }

    /// The server that the tests of this process share.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Server::start)
    }

    /// `None` if it did not start, for one because somebody else has taken the port by then.
    fn attempt() -> Option<Server> {
        let programs = programs();
        let (root, certificate, key) = certificate();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = if rustix::process::getuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut child = command
            .args(["-c", KEEPER])
            .env("BIN", &programs)
            .env("PORT", port.to_string())
            .env("PASSWORD", PASSWORD)
            .env("CERTIFICATE", certificate)
            .env("PRIVATE_KEY", key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("setpriv and sh are there");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut keeper = Keeper { child, orders, answers };
        if keeper.hear() != "ready" {
            keeper.child.wait().unwrap();
            return None;
        }
        let schemas = AtomicU32::new(0);
        Some(Server { port, programs, keeper: Mutex::new(keeper), root, schemas })
    }

    /// Stops it as a crash would; connections break.
    pub fn kill(&self) {
        self.keeper.lock().unwrap().order("stop");
    }

    /// Starts it again, at the same port.
    pub fn resume(&self) {
        self.keeper.lock().unwrap().order("start");
    }

    /// The address of a new schema of its own, without TLS.
    pub fn schema(&self) -> String {
        self.schema_with("127.0.0.1", "sslmode=disable")
    }

    /// The address of a new schema by this name of the machine, with these parameters.
    pub fn schema_with(&self, host: &str, parameters: &str) -> String {
        let schema = format!("t{}", self.schemas.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE SCHEMA {schema}"));
        // A second one in the path: tables belong in the first.
        let port = self.port;
        format!(
            "postgres://scoregate:{ESCAPED}@{host}:{port}/postgres?{parameters}&options=-c%20search_path%3D{schema}%2Cpublic"
        )
    }

    /// Runs a statement as the server's owner.
    pub fn sql(&self, statement: &str) {
        let status = Command::new(self.programs.join("psql"))
            .args(["-q", "-h", "127.0.0.1", "-U", "scoregate", "-d", "postgres", "-c", statement])
            .args(["-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{statement}");
    }
}

impl Keeper {
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{word}").unwrap();
        assert_eq!(self.hear(), word);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}
