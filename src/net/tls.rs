//! Certificates of a listener, replaced while it runs.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TlsError {
    file: String,
    why: String,
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificates(ArcSwap<CertifiedKey>);

impl Certificates {
    /// Reads a chain and its key from PEM files.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Arc<Certificates>, TlsError> {
        Ok(Arc::new(Certificates(ArcSwap::from_pointee(read(certificate, private_key)?))))
    }

    /// Uses a chain and key that are already there.
    pub fn of(key: CertifiedKey) -> Arc<Certificates> {
        Arc::new(Certificates(ArcSwap::from_pointee(key)))
    }

    /// Reads the files again. New connections get the new certificate; on an error the old one stays.
    pub fn reload(&self, certificate: &Path, private_key: &Path) -> Result<(), TlsError> {
        self.0.store(Arc::new(read(certificate, private_key)?));
        Ok(())
    }

    /// TLS 1.2 and 1.3 with rustls's suites, no early data; HTTP/2 or HTTP/1.1 by ALPN.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsError { file: "TLS".to_owned(), why: error.to_string() })?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read(certificate: &Path, private_key: &Path) -> Result<CertifiedKey, TlsError> {
    let wrong = |file: &Path, why: String| TlsError { file: file.display().to_string(), why };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(certificate, format!("cannot be read as PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(private_key);
    let key = key.map_err(|error| wrong(private_key, format!("cannot be read as PEM: {error}")))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| wrong(private_key, format!("does not belong to the certificate: {error}")))
}
