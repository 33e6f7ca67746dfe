//! What a service manager hears of the process, and what the kernel allows it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::support::PATIENCE;
use crate::support::site::{Process, Site, binary};

fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let count = socket.recv(&mut buffer).expect("nothing was told in time");
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

/// The next state that is not a mere sign of life.
fn state(socket: &UnixDatagram) -> String {
    loop {
        let told = hear(socket);
        if told != "WATCHDOG=1" {
            return told;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told() {
    let site = Site::new(&[], "");
    let path = site.path("notify.sock");
    let hidden = format!("scoregate-test-{}", std::process::id());
    let listeners = [
        (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap(),
            format!("@{hidden}"),
        ),
    ];
    for (socket, name) in listeners {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = binary();
        command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
        let mut process = Process::of(command, &site.config());
        assert!(state(&socket).starts_with("READY=1\n"), "{name}");
        assert_eq!([hear(&socket), hear(&socket)], ["WATCHDOG=1", "WATCHDOG=1"]);
        process.signal("-HUP");
        let reloading = state(&socket);
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert!(state(&socket).starts_with("READY=1\n"));
        process.signal("-TERM");
        assert!(state(&socket).starts_with("STOPPING=1\n"));
        assert_eq!(process.ended().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_for_another_process_is_not_fed() {
    let site = Site::new(&[], "");
    let path = site.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = binary();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut process = Process::of(command, &site.config());
    assert!(hear(&socket).starts_with("READY=1\n"));
    process.signal("-TERM");
    assert!(hear(&socket).starts_with("STOPPING=1\n"));
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_core_is_dumped_and_every_file_that_is_allowed_may_be_open() {
    for (hard, connections, warned) in [(1000, 10_000, 1), (1000, 437, 1), (1000, 436, 0)] {
        let site = Site::new(&[], &format!("limits: {{ drain_notice: 0s, connections: {connections} }}\n"));
        let mut command = std::process::Command::new("sh");
        let start = format!("ulimit -S -n 256 && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
        command.args(["-c", &start, env!("CARGO_BIN_EXE_scoregate")]);
        let mut process = Process::of(command, &site.config());
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(limit("Max core file size"), "0 0");
        assert_eq!(limit("Max open files"), format!("{hard} {hard}"));
        let about = |record: &serde_json::Value| record["wanted"] == 2 * connections + 128;
        assert_eq!(process.logged(about), warned, "{connections}");
        process.signal("-TERM");
        assert_eq!(process.ended().await, Some(0));
    }
}
