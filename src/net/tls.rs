//! Certificates of a listener, replaced while it runs.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::identity::secret_file;
use crate::settings::{ClientCertificates, TlsFiles};

/// Why certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TlsError {
    file: String,
    why: String,
}

fn wrong(file: &Path, why: String) -> TlsError {
    TlsError { file: file.display().to_string(), why }
}

/// The certificates in use: the listener's own, and whose it asks its clients for.
///
/// They are replaced together with everything that was agreed under them, so that no session goes on under roots that
/// are trusted no more.
#[derive(Debug)]
pub struct Certificates(ArcSwap<ServerConfig>);

impl Certificates {
    /// Reads a chain, its key and the clients' roots from PEM files.
    pub fn load(files: &TlsFiles) -> Result<Arc<Certificates>, TlsError> {
        Ok(Arc::new(Certificates(ArcSwap::new(read(files)?))))
    }

    /// Uses a chain and key that are already there.
    pub fn of(key: CertifiedKey) -> Result<Arc<Certificates>, TlsError> {
        Ok(Arc::new(Certificates(ArcSwap::new(config(key, None)?))))
    }

    /// Reads the files again. New connections get the new certificates; on an error the old ones stay.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.0.store(read(files)?);
        Ok(())
    }

    /// How a connection that begins now is encrypted.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

/// The one certificate, whatever name a client asks for.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS 1.2 and 1.3 with rustls's suites, no early data; HTTP/2 or HTTP/1.1 by ALPN.
fn config(key: CertifiedKey, clients: Option<&ClientCertificates>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError { file: "TLS".to_owned(), why: error.to_string() })?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(&clients.ca)?, provider());
            let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| wrong(&clients.ca, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Only(Arc::new(key))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.certificate)?;
    let file = &files.private_key;
    if std::fs::metadata(file).is_ok_and(|metadata| secret_file::is_open(&metadata)) {
        return Err(wrong(file, "others may read it; run chmod 600 on it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(file);
    let key = key.map_err(|error| wrong(file, format!("cannot be read as PEM: {error}")))?;
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| wrong(file, format!("does not belong to the certificate: {error}")))?;
    config(key, files.clients.as_ref())
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(file)? {
        roots.add(root).map_err(|error| wrong(file, error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(file, format!("cannot be read as PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(file, "holds no certificate".to_owned()));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::own_ca::OwnCa;

    #[test]
    fn no_data_is_taken_before_the_handshake_is_over() {
        let leaf = OwnCa::ephemeral(1_800_000_000).unwrap().leaf(&["localhost".to_owned()], 1_800_000_000);
        let config = Certificates::of(leaf.unwrap().certified().unwrap()).unwrap().current();
        assert_eq!((config.max_early_data_size, config.send_half_rtt_data), (0, false));
        assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    }
}
