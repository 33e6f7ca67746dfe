//! Certificates of a test, and clients that use them.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pki {
    pub fn new() -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Pki { issuer: Issuer::new(params, key), pem }
    }

    fn leaf(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose, serial: u64) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// A certificate of a server, told from others by its serial number.
    pub fn server(&self, names: &[&str], serial: u64) -> Pair {
        self.leaf(names, ExtendedKeyUsagePurpose::ServerAuth, serial)
    }

    /// A certificate of a client.
    pub fn client(&self) -> Pair {
        self.leaf(&["somebody"], ExtendedKeyUsagePurpose::ClientAuth, 1)
    }

    /// A server with this certificate, for clients with one of this authority.
    pub fn acceptor(&self, own: &Pair) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&self.pem)), provider);
        serving(own, clients.build().unwrap())
    }

    /// A client that trusts this authority, and shows a certificate if it has one.
    pub fn connector(&self, own: Option<&Pair>, alpn: &[&str]) -> TlsConnector {
        connector(&self.pem, own, alpn)
    }
}

/// A server with this certificate, for any client.
pub fn acceptor(own: &Pair) -> TlsAcceptor {
    serving(own, WebPkiClientVerifier::no_client_auth())
}

fn serving(own: &Pair, clients: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// A client that trusts an authority, and shows a certificate if it has one.
pub fn connector(root: &str, own: Option<&Pair>, alpn: &[&str]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(roots(root));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Pair {
    /// Writes both halves, each whole.
    pub fn write(&self, directory: &Path) {
        write_secret(&directory.join("tls.pem"), &self.certificate);
        write_secret(&directory.join("tls.key"), &self.key);
    }
}

/// Writes a file whole, for its owner alone.
pub fn write_secret(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    let mut options = std::fs::OpenOptions::new();
    let open = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
    std::io::Write::write_all(&mut open.unwrap(), text.as_bytes()).unwrap();
    std::fs::rename(draft, file).unwrap();
}

/// Connects and shakes hands.
pub async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// The certificate that a server showed, as DER.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}
