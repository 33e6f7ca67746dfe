//! Proxies that introduce their clients: who is believed, and what ends a connection.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use crate::support::pki::{Pki, connect};
use crate::support::{Instance, PATIENCE, Plan, Raw, Stand};

/// The proxy that is trusted, and somebody who is not.
const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn dial(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn start(limits: &str, more: &str) -> (Stand, Instance, String) {
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("key", &[&blue.url]).set("limits", limits);
    let plan = plan.data_plane(&format!("trusted_proxies: [ 127.0.0.1/32 ], proxy_protocol: true{more}"));
    let stand = Stand::start(plan).await;
    let (key, _) = stand.keys("my-ep").await;
    let head = format!(
        "POST /endpoints/my-ep/score HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    (stand, blue, head)
}

/// A header of version 2.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdd, 0xd5, 0x01, 0xbb];

fn v6() -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0xdd, 0xd5, 0x01, 0xbb]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_sound_introductions_by_trusted_proxies_are_believed() {
    let (stand, blue, request) = start("{ header_time: 2s }", "").await;
    let line = |rest: &str| format!("PROXY {rest}").into_bytes();
    let with_extensions = [&V4[..], &[0x04, 0, 3, 1, 2, 3], &[0xff; 300]].concat();
    let long = "a".repeat(200);
    let large = [&V4[..], &[0; 4085]].concat();
    // What is sent before the request, by whom, and whose request it then is; nobody's if the connection ends.
    let table: Vec<(&str, Ipv4Addr, Vec<u8>, Option<&str>)> = vec![
        ("line, v4", PROXY, line("TCP4 192.0.2.7 198.51.100.1 5678 443\r\n"), Some("192.0.2.7")),
        ("line, v6", PROXY, line("TCP6 2001:db8::7 2001:db8::1 5678 443\r\n"), Some("2001:db8::7")),
        ("line, mapped", PROXY, line("TCP6 ::ffff:192.0.2.7 ::1 5678 443\r\n"), Some("192.0.2.7")),
        ("line, unknown", PROXY, line("UNKNOWN\r\n"), Some("127.0.0.1")),
        ("line, unknown with more", PROXY, line("UNKNOWN 1 2 3\r\n"), Some("127.0.0.1")),
        ("block, v4", PROXY, block(0x21, 0x11, &V4), Some("192.0.2.7")),
        ("block, v6", PROXY, block(0x21, 0x21, &v6()), Some("2001:db8::7")),
        ("block, extensions", PROXY, block(0x21, 0x11, &with_extensions), Some("192.0.2.7")),
        ("block, local", PROXY, block(0x20, 0x00, &[]), Some("127.0.0.1")),
        ("block, local with addresses", PROXY, block(0x20, 0x11, &V4), Some("127.0.0.1")),
        ("block, unspecified", PROXY, block(0x21, 0x00, &[]), Some("127.0.0.1")),
        ("stranger without a header", STRANGER, vec![], Some("127.0.0.2")),
        ("none", PROXY, vec![], None),
        ("twice", PROXY, line("TCP4 1.2.3.4 1.1.1.1 1 2\r\nPROXY TCP4 6.6.6.6 1.1.1.1 1 2\r\n"), None),
        ("line, then block", PROXY, [line("UNKNOWN\r\n"), block(0x21, 0x11, &V4)].concat(), None),
        ("stranger's line", STRANGER, line("TCP4 192.0.2.7 198.51.100.1 5678 443\r\n"), None),
        ("stranger's block", STRANGER, block(0x21, 0x11, &V4), None),
        ("stranger's local", STRANGER, block(0x20, 0x00, &[]), None),
        ("line, lower case", PROXY, b"proxy TCP4 192.0.2.7 198.51.100.1 5678 443\r\n".to_vec(), None),
        ("line, other family", PROXY, line("UDP4 192.0.2.7 198.51.100.1 5678 443\r\n"), None),
        ("line, families mixed", PROXY, line("TCP4 2001:db8::7 198.51.100.1 5678 443\r\n"), None),
        ("line, no ports", PROXY, line("TCP4 192.0.2.7 198.51.100.1\r\n"), None),
        ("line, large port", PROXY, line("TCP4 192.0.2.7 198.51.100.1 65536 443\r\n"), None),
        ("line, signed port", PROXY, line("TCP4 192.0.2.7 198.51.100.1 +1 443\r\n"), None),
        ("line, leading zero", PROXY, line("TCP4 192.0.2.007 198.51.100.1 1 443\r\n"), None),
        ("line, two spaces", PROXY, line("TCP4  192.0.2.7 198.51.100.1 1 443\r\n"), None),
        ("line, one word more", PROXY, line("TCP4 192.0.2.7 198.51.100.1 1 443 x\r\n"), None),
        ("line, bare feed", PROXY, line("TCP4 192.0.2.7 198.51.100.1 1 443\n"), None),
        ("line, without an end", PROXY, line(&format!("UNKNOWN {long}")), None),
        ("line, name for an address", PROXY, line("TCP4 localhost 198.51.100.1 1 443\r\n"), None),
        ("block, version 1", PROXY, block(0x11, 0x11, &V4), None),
        ("block, version 3", PROXY, block(0x31, 0x11, &V4), None),
        ("block, unknown command", PROXY, block(0x22, 0x11, &V4), None),
        ("block, datagrams", PROXY, block(0x21, 0x12, &V4), None),
        ("block, a path", PROXY, block(0x21, 0x31, &[0; 216]), None),
        ("block, unknown family", PROXY, block(0x21, 0x41, &V4), None),
        ("block, too short", PROXY, block(0x21, 0x11, &V4[..11]), None),
        ("block, v4 as v6", PROXY, block(0x21, 0x21, &V4), None),
        ("block, too large", PROXY, block(0x21, 0x11, &large), None),
    ];
    println!("{} cases of the PROXY protocol", table.len());
    for (case, from, header, client) in table {
        let before = blue.count();
        let mut raw = Raw::of(dial(from, stand.gateway.data).await);
        raw.say([&header, request.as_bytes()].concat()).await;
        let answer = raw.hear().await;
        if let Some(client) = client {
            assert_eq!(answer.map(|answer| answer.status), Some(200), "{case}");
            let seen = blue.seen().pop().unwrap();
            assert_eq!(seen.field("x-forwarded-for"), Some(client), "{case}");
        } else {
            assert!(answer.is_none_or(|answer| answer.status == 400), "{case}");
            assert!(raw.closes().await, "{case}: the connection goes on");
        }
        assert_eq!(blue.count() - before, usize::from(client.is_some()), "{case}");
    }
    assert!(stand.metric("scoregate_security_proxy_refused{reason=\"missing\"}").await >= 2.0);
    assert!(stand.metric("scoregate_security_proxy_refused{reason=\"addresses\"}").await >= 8.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_comes_in_pieces_or_too_late() {
    let (stand, blue, request) = start("{ header_time: 500ms }", "").await;
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), block(0x21, 0x11, &V4)] {
        let mut raw = Raw::of(dial(PROXY, stand.gateway.data).await);
        for byte in &header {
            raw.say([*byte]).await;
        }
        raw.say(&request).await;
        assert_eq!(raw.hear().await.unwrap().status, 200);
        for cut in [0, 1, 5, 12, 15, header.len() - 1] {
            let mut raw = Raw::of(dial(PROXY, stand.gateway.data).await);
            raw.say(&header[..cut]).await;
            assert!(raw.closes().await, "{cut}");
        }
    }
    assert_eq!(blue.count(), 2);
    assert!(stand.metric("scoregate_security_slow_client{reason=\"proxy\"}").await >= 12.0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_for_the_client_and_not_for_its_proxy() {
    let (stand, _blue, request) = start("{ connections_per_address: 2 }", "").await;
    let mut open = Vec::new();
    let mut ask = async |client: &str| {
        let mut raw = Raw::of(dial(PROXY, stand.gateway.data).await);
        let family = if client.contains(':') { "TCP6" } else { "TCP4" };
        raw.say(format!("PROXY {family} {client} {client} 1 2\r\n{request}")).await;
        let status = raw.hear().await.map(|answer| answer.status);
        open.push(raw);
        status
    };
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "2001:db8::1", "2001:db8::ff:1"] {
        assert_eq!(ask(client).await, Some(200), "{client}");
    }
    assert_eq!(ask("192.0.2.1").await, None, "a third of one client");
    assert_eq!(ask("2001:db8::5").await, None, "a third of one /64");
    assert_eq!(ask("2001:db8:0:1::5").await, Some(200));
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_stands_before_the_handshake() {
    let (pki, directory) = (Pki::new(), tempfile::tempdir().unwrap());
    pki.server(&["localhost"], 1).write(directory.path());
    let at = directory.path().display();
    let tls = format!(", tls: {{ certificate: \"{at}/tls.pem\", private_key: \"{at}/tls.key\" }}");
    let (stand, blue, request) = start("{}", &tls).await;
    let connector = pki.connector(None, &["http/1.1"]);
    assert!(connect(&connector, stand.gateway.data, "localhost").await.is_err(), "a proxy without a header");
    for (header, client) in [
        (block(0x21, 0x11, &V4), "192.0.2.7"),
        (b"PROXY TCP4 192.0.2.9 1.1.1.1 1 2\r\n".to_vec(), "192.0.2.9"),
    ] {
        let mut stream = dial(PROXY, stand.gateway.data).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &header).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        assert_eq!(blue.seen().pop().unwrap().field("x-forwarded-for"), Some(client));
    }
    stand.stop().await;
}
