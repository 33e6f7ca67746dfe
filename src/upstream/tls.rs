//! TLS towards instances: whom to trust, and what to show to those that ask.

use std::path::Path;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::identity::fetch;
use crate::model::backend::{ClientCertificate, HttpVersion};

/// Trusts the roots of a file, or the system's.
pub(super) fn client(
    roots: Option<&Path>,
    own: Option<&ClientCertificate>,
    version: HttpVersion,
) -> Result<ClientConfig, String> {
    let store = match roots {
        Some(file) => fetch::roots(file),
        None => fetch::roots(&system_roots()?),
    };
    let builder = store.and_then(fetch::client).map_err(|error| error.to_string())?;
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let wrong = |file: &Path, why: String| format!("{}: {why}", file.display());
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(&own.certificate).and_then(Iterator::collect);
            let chain = chain.map_err(|error| wrong(&own.certificate, error.to_string()))?;
            let key = PrivateKeyDer::from_pem_file(&own.private_key);
            let key = key.map_err(|error| wrong(&own.private_key, error.to_string()))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| wrong(&own.private_key, error.to_string()))?
        }
    };
    config.alpn_protocols = match version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}

/// The bundle of Debian, Red Hat, Alpine or what `SSL_CERT_FILE` names.
fn system_roots() -> Result<std::path::PathBuf, String> {
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let mut bundles = named.into_iter().chain(BUNDLES.map(Into::into));
    let found = bundles.find(|path| path.exists());
    found.ok_or_else(|| "there is no bundle of trusted roots; set `ca_file` or SSL_CERT_FILE".to_owned())
}
