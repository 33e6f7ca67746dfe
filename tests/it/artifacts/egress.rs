//! Every way to an address that is not to be reached, tried against real listeners there: none of them sees a
//! connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use scoregate::artifacts::{ArtifactError, FileError, Location, Packing, StorageTokens};
use scoregate::model::batch::RequestFormat;
use scoregate::model::datastore::{Credential, Place};
use scoregate::model::job::DataKind;
use scoregate::store::jobs::FileRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::{Desk, Script, workspace};
use crate::support::pki::{Pki, acceptor};
use crate::support::until;

/// Where the one good server is: it stands for the public internet.
const PUBLIC: &str = "127.0.0.100";
/// Where nobody is to connect to.
const TRAPS: &[&str] = &["127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "::1"];

/// A server that counts its connections, answers with what it is told, and then closes.
struct Listener {
    connections: Arc<AtomicUsize>,
    port: u16,
    heads: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Listener {
    /// Binds; `port` 0 is any. `None` if the machine has no such address.
    async fn new(
        address: &str,
        port: u16,
        answer: impl Fn(&str) -> String + Send + 'static,
    ) -> Option<Listener> {
        let address: SocketAddr = (address.parse::<std::net::IpAddr>().unwrap(), port).into();
        let listener = TcpListener::bind(address).await.ok()?;
        let port = listener.local_addr().unwrap().port();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let own = Listener { connections: connections.clone(), port, heads: Arc::clone(&heads) };
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 8192];
                let count = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..count]).into_owned();
                let _ = socket.write_all(answer(&head).as_bytes()).await;
                heads.lock().push(head);
            }
        });
        Some(own)
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The good server, and traps on its port.
async fn world(answer: impl Fn(&str) -> String + Send + 'static) -> (Listener, Vec<Listener>) {
    let public = Listener::new(PUBLIC, 0, answer).await.unwrap();
    let mut traps = Vec::new();
    for address in TRAPS {
        // The machine may have no IPv6.
        traps.extend(Listener::new(address, public.port, |_| ok("secret")).await);
    }
    assert!(traps.len() >= 4, "every address of 127/8 can be listened on");
    (public, traps)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn caught(traps: &[Listener]) -> usize {
    traps.iter().map(Listener::count).sum()
}

/// A desk to which every host of these tests is listed, by https and by http, on this port.
fn desk(port: u16, lookup: Arc<Script>) -> Desk {
    let hosts = "[data.example.com, '*.data.example.com', localhost, 127.0.0.1, 127.0.0.2, 127.1.2.3, '[::1]', \
                 '[::ffff:7f00:1]', 169.254.169.254, 10.0.0.1, 0.0.0.0, '[2002:7f00:1::]', '[64:ff9b::7f00:1]', '[::7f00:1]']";
    let batch =
        format!("https_hosts: {hosts}, http_hosts: {hosts}, ports: [{port}], address_ranges: [{PUBLIC}/32]");
    Desk::with_lookup(&batch, "batch_connect: 2s", None, lookup)
}

/// Everything that can be done with an input.
async fn try_everything(desk: &Desk, uri: &str) -> Vec<Result<(), String>> {
    let mut outcomes = Vec::new();
    let at = match Location::parse(uri, &workspace()) {
        Ok(at) => at,
        Err(error) => return vec![Err(error.to_string())],
    };
    let input = match desk.opener.input(&at, None, None) {
        Ok(input) => input,
        Err(error) => return vec![Err(error.to_string())],
    };
    for kind in [DataKind::UriFile, DataKind::UriFolder] {
        outcomes.push(input.list(kind).await.map(|_| ()).map_err(|error| error.to_string()));
    }
    let file = FileRef { path: at.to_string(), name: "f.csv".to_owned(), size: 0 };
    for format in [RequestFormat::Raw, RequestFormat::Jsonl] {
        let how = Packing { format, rows_per_request: 1, most: 1000 };
        let first = input.requests(&file, how).next().await;
        outcomes.push(first.map_or(Ok(()), |first| first.map(|_| ()).map_err(|error| error.to_string())));
    }
    outcomes
}

/// URIs, `{P}` being the port of the traps.
const HOSTILE: &[&str] = &[
    // Addresses, in every notation.
    "http://127.0.0.1:{P}/f.csv",
    "https://127.0.0.1:{P}/f.csv",
    "http://127.0.0.2:{P}/f.csv",
    "http://127.1.2.3:{P}/f.csv",
    "http://2130706433:{P}/f.csv",
    "http://017700000001:{P}/f.csv",
    "http://0x7f000001:{P}/f.csv",
    "http://0x7f.0.0.1:{P}/f.csv",
    "http://0177.0.0.1:{P}/f.csv",
    "http://0177.0.0.01:{P}/f.csv",
    "http://127.1:{P}/f.csv",
    "http://127.0.1:{P}/f.csv",
    "http://0x7f.1:{P}/f.csv",
    "http://0:{P}/f.csv",
    "http://0.0.0.0:{P}/f.csv",
    "http://127.000.000.001:{P}/f.csv",
    "http://00000127.0.0.1:{P}/f.csv",
    "http://[::1]:{P}/f.csv",
    "http://[0:0:0:0:0:0:0:1]:{P}/f.csv",
    "http://[::]:{P}/f.csv",
    "http://[::ffff:127.0.0.1]:{P}/f.csv",
    "http://[::ffff:7f00:1]:{P}/f.csv",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{P}/f.csv",
    "http://[::127.0.0.1]:{P}/f.csv",
    "http://[::7f00:1]:{P}/f.csv",
    "http://[2002:7f00:1::]:{P}/f.csv",
    "http://[2002:7f00:0001::1]:{P}/f.csv",
    "http://[64:ff9b::7f00:1]:{P}/f.csv",
    "http://[64:ff9b::127.0.0.1]:{P}/f.csv",
    "http://[::1%25lo]:{P}/f.csv",
    "http://[::1%lo]:{P}/f.csv",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://10.0.0.1:{P}/f.csv",
    "http://127.0.0.1.:{P}/f.csv",
    // Characters that become others.
    "http://①②⑦.⓪.⓪.①:{P}/f.csv",
    "http://１２７.０.０.１:{P}/f.csv",
    "http://127。0。0。1:{P}/f.csv",
    "http://ⓛocalhost:{P}/f.csv",
    "http://loc%61lhost:{P}/f.csv",
    "http://127%2e0%2e0%2e1:{P}/f.csv",
    "http://127.0.0.1%00.data.example.com:{P}/f.csv",
    "http://dаta.example.com:{P}/f.csv",
    "http://data.example\u{ad}.com:{P}/f.csv",
    // Names.
    "http://localhost:{P}/f.csv",
    "http://LOCALHOST:{P}/f.csv",
    "http://localhost.:{P}/f.csv",
    "http://inside.data.example.com:{P}/f.csv",
    "http://INSIDE.DATA.EXAMPLE.COM:{P}/f.csv",
    "http://metadata.data.example.com:{P}/f.csv",
    "http://both.data.example.com:{P}/f.csv",
    "http://mapped.data.example.com:{P}/f.csv",
    "http://six.data.example.com:{P}/f.csv",
    "http://nat64.data.example.com:{P}/f.csv",
    "http://data.example.com.:{P}/f.csv",
    "http://example.com:{P}/f.csv",
    "http://data.example.com.evil.net:{P}/f.csv",
    "http://evil-data.example.com:{P}/f.csv",
    "https://example.com:{P}/f.csv",
    "https://data.example.com.evil.net:{P}/f.csv",
    "https://evil-data.example.com:{P}/f.csv",
    "https://localhost:{P}/f.csv",
    "https://inside.data.example.com:{P}/f.csv",
    // Who is the host?
    "http://data.example.com@127.0.0.1:{P}/f.csv",
    "http://data.example.com:80@127.0.0.1:{P}/f.csv",
    "http://127.0.0.1:{P}@data.example.com/f.csv",
    "http://data.example.com\\@127.0.0.1:{P}/f.csv",
    "http://127.0.0.1\\.data.example.com:{P}/f.csv",
    "http://127.0.0.1:{P}#@data.example.com/f.csv",
    "http://127.0.0.1:{P}?@data.example.com/f.csv",
    "http:\\\\127.0.0.1:{P}\\f.csv",
    "http:///127.0.0.1:{P}/f.csv",
    "http:127.0.0.1:{P}/f.csv",
    "http:/127.0.0.1:{P}/f.csv",
    "http://\t127.0.0.1:{P}/f.csv",
    "http://127.0.0.1:{P}\r\nHost: data.example.com/f.csv",
    " http://127.0.0.1:{P}/f.csv",
    // Ports.
    "http://data.example.com:1/f.csv",
    "http://data.example.com:22/f.csv",
    "http://data.example.com:0{P}/f.csv",
    "http://data.example.com:+{P}/f.csv",
    // Other schemes.
    "file:///etc/passwd",
    "FILE://127.0.0.1/etc/passwd",
    "data:text/csv,a%0a1",
    "gopher://127.0.0.1:{P}/_GET",
    "dict://127.0.0.1:{P}/",
    "ftp://127.0.0.1:{P}/f.csv",
    "jar:http://127.0.0.1:{P}!/f.csv",
    "ws://127.0.0.1:{P}/",
    "unix:///var/run/docker.sock",
    "//127.0.0.1:{P}/f.csv",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_where_nobody_is_let() {
    let (public, traps) = world(|_| ok("a\n1\n")).await;
    let names = Arc::new(Script::default());
    for (name, answers) in [
        ("data.example.com", vec![PUBLIC]),
        ("localhost", vec!["127.0.0.1", "::1"]),
        ("inside.data.example.com", vec!["127.0.0.2"]),
        ("metadata.data.example.com", vec!["169.254.169.254"]),
        ("both.data.example.com", vec![PUBLIC, "127.0.0.1"]),
        ("mapped.data.example.com", vec!["::ffff:127.0.0.1"]),
        ("six.data.example.com", vec!["2002:7f00:1::"]),
        ("nat64.data.example.com", vec!["64:ff9b::7f00:1"]),
        ("example.com", vec!["127.0.0.1"]),
    ] {
        names.answer(name, &[&answers]);
    }
    let desk = desk(public.port, names);
    for uri in HOSTILE {
        let uri = uri.replace("{P}", &public.port.to_string());
        for outcome in try_everything(&desk, &uri).await {
            assert!(outcome.is_err(), "{uri}: {outcome:?}");
        }
    }
    println!("{} URIs that lead nowhere", HOSTILE.len());
    assert_eq!((caught(&traps), public.count()), (0, 0));
    for reason in ["literal", "address", "host", "scheme", "port"] {
        assert!(desk.denied(reason) > 0, "{reason} is counted");
    }
    // The traps are there, and the way is open to whom it is open.
    let good = format!("http://data.example.com:{}/f.csv", public.port);
    let outcomes = try_everything(&desk, &good).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(public.count() > 0);
    let seen = public.heads.lock().first().cloned().unwrap().to_ascii_lowercase();
    assert!(seen.contains(&format!("host: data.example.com:{}", public.port)), "{seen}");
    tokio::net::TcpStream::connect(("127.0.0.2", public.port)).await.unwrap();
    until("a trap catches", async || caught(&traps) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_own_resolver_is_judged_too() {
    let (public, traps) = world(|_| ok("a\n1\n")).await;
    let batch = format!("http_hosts: [localhost], ports: [{}]", public.port);
    let desk = Desk::new(&batch, "", None);
    let input = desk.input(&format!("http://localhost:{}/f.csv", public.port), None).unwrap();
    let error = input.list(DataKind::UriFile).await.unwrap_err();
    assert!(error.code() == "EgressDenied" && !error.is_transient(), "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "what a name leads to is nobody's business: {error}");
    assert_eq!((caught(&traps), desk.denied("address")), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changes_its_mind_leads_nowhere() {
    let (public, traps) = world(|_| ok("a\n1\n")).await;
    let uri = format!("http://data.example.com:{}/f.csv", public.port);
    for second in
        [&["127.0.0.1"][..], &["169.254.169.254"], &[PUBLIC, "127.0.0.1"], &["127.0.0.1", PUBLIC], &["::1"]]
    {
        let names = Arc::new(Script::default());
        names.answer("data.example.com", &[&[PUBLIC], second]);
        let desk = desk(public.port, names.clone());
        let input = desk.input(&uri, None).unwrap();
        let before = public.count();
        let files = input.list(DataKind::UriFile).await.unwrap();
        assert_eq!(names.asked.load(Ordering::SeqCst), 1, "what was judged is what is connected to");
        // The server has closed; every further request looks the name up anew.
        for _ in 0..5 {
            let how = Packing { format: RequestFormat::Raw, rows_per_request: 1, most: 1000 };
            let error = input.requests(&files[0], how).next().await.unwrap().unwrap_err();
            assert_eq!(error.code(), "EgressDenied", "{second:?}: {error}");
        }
        assert_eq!((caught(&traps), public.count() - before), (0, 1), "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_leads_elsewhere_is_not_followed() {
    let (public, traps) = world(|head: &str| {
        let (path, port) = (head.split(' ').nth(1).unwrap_or_default(), head.rsplit("example.com:").next().unwrap_or_default());
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let status = path.rsplit('/').next().and_then(|last| last.get(..3)).unwrap_or("302").to_owned();
        format!("HTTP/1.1 {status} Elsewhere\r\nlocation: http://127.0.0.1:{port}/f.csv\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
    .await;
    let names = Arc::new(Script::default());
    names.answer("data.example.com", &[&[PUBLIC]]);
    let desk = desk(public.port, names);
    for status in [300, 301, 302, 303, 304, 305, 306, 307, 308, 310] {
        let input =
            desk.input(&format!("http://data.example.com:{}/{status}.csv", public.port), None).unwrap();
        let error = input.list(DataKind::UriFile).await.unwrap_err();
        assert_eq!(error.code(), "EgressDenied", "{status}: {error}");
    }
    assert_eq!(desk.denied("redirect"), 10);
    // Data stores of every kind.
    let host = format!("http://data.example.com:{}", public.port);
    for (name, place) in places(&host) {
        let credential = credential(&place);
        let store = desk.store(name, place, credential);
        let uri = format!("azureml://datastores/{name}/paths/301.csv");
        let error = desk.input(&uri, Some(&store)).unwrap().list(DataKind::UriFile).await.unwrap_err();
        assert_eq!(error.code(), "EgressDenied", "{name}: {error}");
    }
    assert_eq!((caught(&traps), public.count()), (0, 13), "each was asked once");
}

/// A store of each kind at an address.
fn places(address: &str) -> Vec<(&'static str, Place)> {
    let service = address.to_owned();
    vec![
        (
            "blob",
            Place::Blob {
                service: service.clone(),
                account: "account".to_owned(),
                container: "c".to_owned(),
            },
        ),
        ("s3", Place::S3 { endpoint: Some(service.clone()), region: "r".to_owned(), bucket: "b".to_owned() }),
        ("web", Place::Https { base: service }),
    ]
}

fn credential(place: &Place) -> Option<Credential> {
    match place {
        Place::Blob { .. } => Some(Credential::AccountKey("c2VjcmV0".to_owned())),
        Place::S3 { .. } => {
            Some(Credential::AccessKey { id: "id".to_owned(), secret: "hidden-secret".to_owned() })
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_store_is_no_way_around() {
    let (public, traps) = world(|_| ok("a\n1\n")).await;
    let names = Arc::new(Script::default());
    names.answer("store.example.net", &[&["127.0.0.1"]]);
    let port = public.port;
    // Clear text is allowed to all of them; their addresses are not listed.
    let batch = format!(
        "http_hosts: [store.example.net, 127.0.0.1, '[::1]'], ports: [{port}], address_ranges: [{PUBLIC}/32]"
    );
    let desk = Desk::with_lookup(&batch, "", None, names);
    for address in [
        format!("http://store.example.net:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://u:p@store.example.net:{port}"),
        format!("http://store.example.net.:{port}"),
        format!("http://other.example.net:{port}"),
        format!("https://store.example.net:{port}"),
        "https://169.254.169.254".to_owned(),
        "https://store.example.net:22".to_owned(),
        "http://store.example.net".to_owned(),
        "file:///etc".to_owned(),
        "https://store.example.net/?x=1".to_owned(),
        "https://store.example.net/../..".to_owned(),
    ] {
        for (name, place) in places(&address) {
            let store = desk.store(name, place.clone(), credential(&place));
            let uri = format!("azureml://datastores/{name}/paths/f.csv");
            let opened = desk.input(&uri, Some(&store));
            let error = match opened {
                Ok(input) => input.list(DataKind::UriFile).await.unwrap_err(),
                Err(error) => error,
            };
            assert!(["EgressDenied", "BadStore"].contains(&error.code()), "{address}: {error}");
            assert!(!error.to_string().contains("hidden") && !error.to_string().contains("u:p"), "{error}");
            let uri = format!("azureml://datastores/{name}/paths/out");
            let error = match desk.output(&uri, Some(&store), "p.csv", "j") {
                Ok(output) => output.put("m.json", "{}".into()).await.unwrap_err(),
                Err(error) => error,
            };
            let read_only = name == "web" && error.code() == "ReadOnly";
            assert!(read_only || ["EgressDenied", "BadStore"].contains(&error.code()), "{address}: {error}");
        }
    }
    // A region or bucket that would become another host.
    for (region, bucket) in [("x.evil.net/", "b"), ("r#", "b"), ("r", "../b"), ("r", "b?x"), ("r@evil", "b")]
    {
        let place = Place::S3 { endpoint: None, region: region.to_owned(), bucket: bucket.to_owned() };
        let store = desk.store("s3", place, None);
        let error = desk.input("azureml://datastores/s3/paths/f.csv", Some(&store)).unwrap_err();
        assert_eq!(error.code(), "BadStore");
    }
    assert_eq!((caught(&traps), public.count()), (0, 0));
}

#[derive(Debug)]
struct Token(AtomicUsize);

#[async_trait]
impl StorageTokens for Token {
    async fn token(&self) -> Result<Zeroizing<String>, ArtifactError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Zeroizing::new("caller-token".to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_token_goes_to_listed_hosts_by_tls_alone() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("ca.pem");
    std::fs::write(&roots, &pki.pem).unwrap();
    let listener = TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = acceptor(&pki.server(&["blob.example.com", "other.example.com"], 1));
    let heads = Arc::new(parking_lot::Mutex::new(Vec::<String>::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tls, seen) = (tls.clone(), seen.clone());
            tokio::spawn(async move {
                let Ok(mut socket) = tls.accept(socket).await else { return };
                let mut head = vec![0; 8192];
                let count = socket.read(&mut head).await.unwrap_or(0);
                seen.lock().push(String::from_utf8_lossy(&head[..count]).into_owned());
                let last = "last-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\netag: \"1\"\r\n";
                let answer =
                    ok("a\n1\n").replace("connection: close\r\n", &format!("connection: close\r\n{last}"));
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    let names = Arc::new(Script::default());
    names.answer("blob.example.com", &[&[PUBLIC]]);
    names.answer("other.example.com", &[&[PUBLIC]]);
    let batch = format!(
        "https_hosts: [blob.example.com, other.example.com], http_hosts: [blob.example.com], ports: [{port}], \
         address_ranges: [{PUBLIC}/32], token_hosts: [blob.example.com], ca_file: {}",
        roots.display()
    );
    let desk = Desk::with_lookup(&batch, "", None, names);
    let tokens = Arc::new(Token(AtomicUsize::new(0)));
    let read = async |uri: String, store: Option<Place>| -> Result<Vec<FileRef>, ArtifactError> {
        let store = store.map(|place| desk.store("s", place, None));
        let at = Location::parse(&uri, &workspace()).unwrap();
        desk.opener.input(&at, store.as_ref(), Some(tokens.clone()))?.list(DataKind::UriFile).await
    };
    let blob = |host: &str| {
        let (account, container) = ("a".to_owned(), "c".to_owned());
        Some(Place::Blob { service: format!("https://{host}:{port}"), account, container })
    };
    let in_store = || "azureml://datastores/s/paths/f.csv".to_owned();
    let sent = || heads.lock().drain(..).filter(|head| head.contains("caller-token")).count();

    read(format!("https://blob.example.com:{port}/c/f.csv"), None).await.unwrap();
    read(format!("https://other.example.com:{port}/c/f.csv"), None).await.unwrap();
    assert_eq!(sent(), 0, "what is named by its address is read as nobody");
    read(in_store(), blob("blob.example.com")).await.unwrap();
    assert_eq!(sent(), 1, "a store without a credential is read as the caller");
    let error = read(in_store(), blob("other.example.com")).await.unwrap_err();
    assert!(error.to_string().contains("batch.token_hosts"), "{error}");
    let clear = Place::Blob {
        service: format!("http://blob.example.com:{port}"),
        account: "a".to_owned(),
        container: "c".to_owned(),
    };
    assert_eq!(read(in_store(), Some(clear)).await.unwrap_err().code(), "BadStore");
    assert_eq!((sent(), tokens.0.load(Ordering::SeqCst)), (0, 1));
    // Without anybody's token such a store is closed.
    let store = desk.store("s", blob("blob.example.com").unwrap(), None);
    assert_eq!(desk.input(&in_store(), Some(&store)).unwrap_err().code(), "Unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_hosts_say_what_to_do_and_hide_signatures() {
    let (public, _traps) = world(|head: &str| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.trim_start_matches('/').get(..3) {
            Some("gzi") => {
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
                    .to_owned()
            }
            Some("cut") => {
                "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\na\n1\n".to_owned()
            }
            Some(status) => {
                format!("HTTP/1.1 {status} X\r\ncontent-length: 10\r\nconnection: close\r\n\r\nsig=SECRET")
            }
            None => String::new(),
        }
    })
    .await;
    let names = Arc::new(Script::default());
    names.answer("data.example.com", &[&[PUBLIC]]);
    let desk = desk(public.port, names);
    for (path, code, transient) in [
        ("401", "Unauthorized", false),
        ("403", "Unauthorized", false),
        ("404", "NotFound", false),
        ("410", "NotFound", false),
        ("429", "StoreUnreachable", true),
        ("500", "StoreUnreachable", true),
        ("503", "StoreUnreachable", true),
        ("400", "StoreFailed", false),
        ("204", "StoreFailed", false),
        ("gzip", "StoreFailed", false),
    ] {
        let uri = format!("http://data.example.com:{}/{path}.csv?sig=SECRET", public.port);
        let error = desk.input(&uri, None).unwrap().list(DataKind::UriFile).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, transient), "{path}: {error}");
        assert!(error.to_string().contains("data.example.com"), "{error}");
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    }
    // A file that ends too soon is no shorter file.
    let uri = format!("http://data.example.com:{}/cut.csv?sig=SECRET", public.port);
    let input = desk.input(&uri, None).unwrap();
    let files = input.list(DataKind::UriFile).await.unwrap();
    assert!(!format!("{input:?} {files:?}").contains("SECRET"), "{files:?}");
    let how = Packing { format: RequestFormat::Jsonl, rows_per_request: 10, most: 1000 };
    let outcomes: Vec<Result<_, FileError>> = input.requests(&files[0], how).collect().await;
    let last = outcomes.into_iter().next_back().unwrap().unwrap_err();
    assert!(last.is_transient() && !last.to_string().contains("SECRET"), "{last}");
}
