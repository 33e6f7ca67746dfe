//! TLS over real connections: certificates that change, certificates of clients, names, and clients that speak something else.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::pki::{Pki, connect, shown, write_secret};
use crate::support::site::Site;
use crate::support::stand::deployment;
use crate::support::{Instance, PATIENCE, Plan, Raw, Stand, until};

/// A connection of HTTP, of either version, on which requests can be made.
enum Client {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn of(stream: TlsStream<TcpStream>) -> hyper::Result<Client> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(Client::Http2(sender));
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(Client::Http1(sender))
    }

    /// The status of a request for a host; `None` if the connection ended.
    async fn score(&mut self, host: &str, credential: &str) -> Option<u16> {
        let (uri, fields) = match self {
            Client::Http1(_) => ("/endpoints/my-ep/score".to_owned(), Some(host)),
            Client::Http2(_) => (format!("https://{host}/endpoints/my-ep/score"), None),
        };
        let mut request = http::Request::post(uri).header("authorization", format!("Bearer {credential}"));
        if let Some(host) = fields {
            request = request.header("host", host);
        }
        let request = request.body(Full::new(Bytes::from("{}"))).unwrap();
        let answer = async {
            let answer = match self {
                Client::Http1(sender) => {
                    sender.ready().await.ok()?;
                    sender.send_request(request).await.ok()?
                }
                Client::Http2(sender) => sender.send_request(request).await.ok()?,
            };
            let status = answer.status().as_u16();
            answer.into_body().collect().await.ok()?;
            Some(status)
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("no answer in time")
    }
}

/// Connects, asks once, and gives the status and the certificate that was shown.
async fn attempt(connector: &TlsConnector, address: SocketAddr, key: &str) -> Option<(u16, Vec<u8>)> {
    let stream = connect(connector, address, "localhost").await.ok()?;
    let certificate = shown(&stream);
    let status = Client::of(stream).await.ok()?.score("localhost", key).await?;
    Some((status, certificate))
}

/// A stand whose data plane has a certificate in a directory of its own.
async fn start(
    pki: &Pki,
    names: &[&str],
    tls: &str,
    plan: impl Fn(Plan) -> Plan,
) -> (Stand, TempDir, String) {
    let blue = Instance::named("blue").await;
    let directory = tempfile::tempdir().unwrap();
    pki.server(names, 1).write(directory.path());
    let at = directory.path().display();
    let files = format!(
        "tls: {{ certificate: \"{at}/tls.pem\", private_key: \"{at}/tls.key\"{} }}",
        tls.replace("{at}", &at.to_string())
    );
    let stand = Stand::start(plan(Plan::endpoint("key", &[&blue.url]).data_plane(&files))).await;
    let (key, _) = stand.keys("my-ep").await;
    (stand, directory, key)
}

async fn verbose(stand: &Stand) -> String {
    let message = "GET /readyz?verbose HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    String::from_utf8(crate::support::raw::ask(stand.gateway.admin, message).await.unwrap().body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_is_half_written_is_not_taken_up() {
    let pki = Pki::new();
    let (stand, directory, key) = start(&pki, &["localhost"], "", |plan| plan).await;
    let connectors = ["h2", "http/1.1"].map(|alpn| pki.connector(None, &[alpn]));
    let (_, first) = attempt(&connectors[0], stand.gateway.data, &key).await.unwrap();
    let mut open = Vec::new();
    for connector in &connectors {
        open.push(
            Client::of(connect(connector, stand.gateway.data, "localhost").await.unwrap()).await.unwrap(),
        );
    }
    let next = pki.server(&["localhost"], 2);
    let file = directory.path().join("tls.pem");
    let (half, _) = next.certificate.split_at(next.certificate.len() / 2);
    for (failed, text) in [(1.0, next.certificate.as_str()), (2.0, half), (3.0, "")] {
        write_secret(&file, text);
        let failures = "scoregate_reload_failures_total{what=\"certificate\"}";
        until("it is told", async || stand.metric(failures).await >= failed).await;
        assert!(verbose(&stand).await.contains("[!]certificate degraded"), "{text}");
        for connector in &connectors {
            let (status, shown) = attempt(connector, stand.gateway.data, &key).await.unwrap();
            assert_eq!((status, shown == first), (200, true), "the old pair stays");
        }
    }
    next.write(directory.path());
    for connector in &connectors {
        until("the new pair is shown", async || {
            let (status, shown) = attempt(connector, stand.gateway.data, &key).await.unwrap();
            assert_eq!(status, 200);
            shown != first
        })
        .await;
    }
    assert!(verbose(&stand).await.contains("[+]certificate ok"));
    for client in &mut open {
        assert_eq!(client.score("localhost", &key).await, Some(200), "what was open stays open");
    }
    // A key that others may read is no secret.
    let key_file = directory.path().join("tls.key");
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let third = pki.server(&["localhost"], 3);
    std::fs::write(&key_file, &third.key).unwrap();
    std::fs::write(&file, &third.certificate).unwrap();
    until("it is told", async || verbose(&stand).await.contains("chmod 600")).await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_change_every_50_ms_fail_no_new_connection() {
    let (pki, blue) = (Pki::new(), Instance::named("blue").await);
    let site = Site::new(
        &[
            ("ep.yaml", "name: my-ep\nauth_mode: key\ntraffic: { blue: 100 }\n".to_owned()),
            ("blue.yaml", deployment("my-ep", "blue", &[&blue.url], "")),
        ],
        "data_plane: { listen: \"127.0.0.1:0\", workers: 2, tls: { certificate: tls.pem, private_key: tls.key } }\n",
    );
    let pairs: Vec<_> = (1..=40).map(|serial| pki.server(&["localhost"], serial)).collect();
    pairs[0].write(site.directory.path());
    let process = site.serve();
    let key = site.key().await;
    let h2 = pki.connector(None, &["h2"]);
    let mut open = Client::of(connect(&h2, process.data, "localhost").await.unwrap()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let clients = ["h2", "http/1.1"].map(|alpn| {
        let (done, key, data) = (done.clone(), key.clone(), process.data);
        let connector = pki.connector(None, &[alpn]);
        tokio::spawn(async move {
            let (mut count, mut failed, mut certificates) = (0, 0, HashSet::new());
            while !done.load(Ordering::SeqCst) {
                count += 1;
                match attempt(&connector, data, &key).await {
                    Some((200, shown)) => drop(certificates.insert(shown)),
                    _ => failed += 1,
                }
            }
            (count, failed, certificates)
        })
    });
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    for pair in &pairs {
        beat.tick().await;
        pair.write(site.directory.path());
        process.signal("-HUP");
    }
    let last = pki.connector(None, &["http/1.1"]);
    let pem = pairs.last().unwrap().certificate.clone();
    let expected = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
    let expected: rustls::pki_types::CertificateDer<'_> = expected.unwrap();
    until("the last one is shown", async || {
        attempt(&last, process.data, &key).await.unwrap().1 == expected.to_vec()
    })
    .await;
    done.store(true, Ordering::SeqCst);
    let (mut count, mut failed, mut certificates) = (0, 0, HashSet::new());
    for client in clients {
        let (made, wrong, seen) = client.await.unwrap();
        (count, failed) = (count + made, failed + wrong);
        certificates.extend(seen);
    }
    println!(
        "40 certificates, one every 50 ms: {count} connections, {failed} failed, {} certificates seen",
        certificates.len()
    );
    assert_eq!(failed, 0, "of {count}");
    assert!(certificates.len() >= 10, "{}", certificates.len());
    assert_eq!(open.score("localhost", &key).await, Some(200), "the oldest connection is still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_s_certificate_is_a_gate_and_no_identity() {
    let (pki, others) = (Pki::new(), Pki::new());
    for (kind, required) in
        [("", true), (", client_certificates: required", true), (", client_certificates: optional", false)]
    {
        let trusted = tempfile::tempdir().unwrap();
        let file = trusted.path().join("clients.pem");
        write_secret(&file, &pki.pem);
        let tls = format!(", client_ca: \"{}\"{kind}", file.display());
        let (stand, _directory, key) = start(&pki, &["localhost"], &tls, |plan| plan).await;
        let (own, foreign) = (pki.client(), others.client());
        for alpn in ["h2", "http/1.1"] {
            let status = async |connector: &TlsConnector, key: &str| {
                attempt(connector, stand.gateway.data, key).await.map(|(status, _)| status)
            };
            let none = pki.connector(None, &[alpn]);
            let good = pki.connector(Some(&own), &[alpn]);
            let wrong = pki.connector(Some(&foreign), &[alpn]);
            let server = pki.connector(Some(&pki.server(&["localhost"], 9)), &[alpn]);
            assert_eq!(status(&none, &key).await, (!required).then_some(200), "{kind} {alpn}: none");
            assert_eq!(status(&good, &key).await, Some(200), "{kind} {alpn}: good");
            assert_eq!(
                status(&good, "sgk_wrong").await,
                Some(401),
                "{kind} {alpn}: it is nobody's credential"
            );
            assert_eq!(status(&wrong, &key).await, None, "{kind} {alpn}: another authority's");
            assert_eq!(status(&server, &key).await, None, "{kind} {alpn}: a server's");
        }
        // Other roots: who was let in is let in no more, not even by a session that was agreed before.
        let good = pki.connector(Some(&own), &["http/1.1"]);
        let after = others.client();
        let new = pki.connector(Some(&after), &["http/1.1"]);
        assert!(attempt(&good, stand.gateway.data, &key).await.is_some());
        write_secret(&file, &others.pem);
        until("new roots are trusted", async || attempt(&new, stand.gateway.data, &key).await.is_some())
            .await;
        assert!(attempt(&good, stand.gateway.data, &key).await.is_none(), "{kind}: resumed");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_for_one_host_is_not_used_for_another() {
    let pki = Pki::new();
    let names = ["*.models.test", "gateway.test"];
    let (stand, _directory, key) =
        start(&pki, &names, "", |plan| plan.data_plane("base_domain: models.test")).await;
    for alpn in ["h2", "http/1.1"] {
        let connector = pki.connector(None, &[alpn]);
        let stream = connect(&connector, stand.gateway.data, "gateway.test").await.unwrap();
        let mut client = Client::of(stream).await.unwrap();
        // A browser may coalesce hosts of one certificate on one connection of HTTP/2; it is told to make another.
        for (host, status) in [
            ("gateway.test", 200),
            ("my-ep.models.test", 421),
            ("gateway.test:443", 200),
            ("GATEWAY.test", 200),
            ("other.models.test", 421),
            ("gateway.test.", 421),
            ("gateway.test", 200),
        ] {
            assert_eq!(client.score(host, &key).await, Some(status), "{alpn}: {host}");
        }
        // Without a name nothing is said about a host.
        let stream = connect(&connector, stand.gateway.data, "127.0.0.1").await;
        assert!(stream.is_err(), "the certificate has no address");
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_something_else_is_let_down_gently() {
    let pki = Pki::new();
    let limits = |plan: Plan| plan.set("limits", "{ tls_handshake: 500ms }");
    let (stand, _directory, key) = start(&pki, &["localhost"], "", limits).await;
    // Everything that is said in answer, to the clean end of the connection.
    let hear = async |address: SocketAddr, said: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        let reading = stream.read_to_end(&mut heard);
        tokio::time::timeout(PATIENCE, reading).await.expect("not closed in time").map(|_| heard)
    };
    // An alert record, or nothing; never an answer in clear text.
    for said in [
        &b"GET /endpoints/my-ep/score HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let heard = hear(stand.gateway.data, said).await.expect("a clean end");
        assert!(heard.is_empty() || heard[0] == 0x15, "{}", heard.escape_ascii());
    }
    // A handshake that never ends.
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        assert_eq!(hear(stand.gateway.data, said).await.expect("a clean end"), b"");
    }
    assert!(stand.metric("scoregate_security_slow_client{reason=\"handshake\"}").await >= 3.0);
    let connector = pki.connector(None, &["h2"]);
    assert_eq!(attempt(&connector, stand.gateway.data, &key).await.unwrap().0, 200);
    stand.stop().await;

    // And the other way round.
    let blue = Instance::named("blue").await;
    let plan = Plan::endpoint("key", &[&blue.url]).set("limits", "{ header_time: 60s }");
    let clear = Stand::start(plan).await;
    assert!(connect(&connector, clear.gateway.data, "localhost").await.is_err());
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    let heard = hear(clear.gateway.data, hello).await.expect("a clean end");
    assert!(heard.starts_with(b"HTTP/1.1 400 "), "{}", heard.escape_ascii());
    assert!(clear.metric("scoregate_security_bad_request{reason=").await >= 1.0);
    let mut raw = Raw::connect(clear.gateway.data).await;
    raw.say("GET /endpoints/my-ep/score HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.hear().await.unwrap().status, 401);
    clear.stop().await;
}
