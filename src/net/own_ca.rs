//! A certificate authority of the gateway's own, for listeners that have to be encrypted and were given no certificate.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;

/// How long a certificate of the authority holds, in days; a new one is made at every start.
const LEAF_DAYS: i64 = 397;
/// How long the authority's own certificate holds, in days.
const CA_DAYS: i64 = 3_650;

/// Why there is no authority, or why it could not make a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    Making(String),
}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> CaError {
        CaError::Making(error.to_string())
    }
}

/// A certificate authority.
pub struct OwnCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for OwnCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnCa(…)")
    }
}

/// A certificate for some names, with its key.
pub struct Leaf {
    /// The chain as PEM, leaf first.
    pub certificate: String,
    /// The key as PEM.
    pub private_key: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaf(…)")
    }
}

impl OwnCa {
    /// An authority that lives only as long as the process.
    pub fn ephemeral(now: i64) -> Result<OwnCa, CaError> {
        let key = KeyPair::generate()?;
        let certificate = authority(now)?.self_signed(&key)?;
        OwnCa::of(certificate.pem(), key, now)
    }

    /// The authority in a directory, `{name}.pem` and `{name}.key`; made there if it is not there yet.
    pub fn open(directory: &Path, name: &str, now: i64) -> Result<OwnCa, CaError> {
        let (certificate, key) =
            (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        let wrong = |file: &Path, why: String| CaError::File { file: file.display().to_string(), why };
        if !key.exists() {
            let made = OwnCa::ephemeral(now)?;
            std::fs::write(&certificate, &made.pem)
                .map_err(|error| wrong(&certificate, format!("cannot be written: {error}")))?;
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&key);
            file.and_then(|mut file| {
                file.write_all(made.issuer.key().serialize_pem().as_bytes())?;
                file.sync_all()
            })
            .map_err(|error| wrong(&key, format!("cannot be written: {error}")))?;
            return Ok(made);
        }
        let read = |file: &Path| {
            std::fs::read_to_string(file).map_err(|error| {
                wrong(file, format!("cannot be read: {error}; remove both files to begin anew"))
            })
        };
        let (pem, text) = (read(&certificate)?, read(&key)?);
        let pair = KeyPair::from_pem(&text)
            .map_err(|_| wrong(&key, "is no private key; remove both files to begin anew".to_owned()))?;
        OwnCa::of(pem, pair, now)
            .map_err(|error| wrong(&certificate, format!("{error}; remove both files to begin anew")))
    }

    /// The authority of a certificate and its key; all that a new certificate takes of the former is its name.
    fn of(pem: String, key: KeyPair, now: i64) -> Result<OwnCa, CaError> {
        Ok(OwnCa { issuer: Issuer::new(authority(now)?, key), pem })
    }

    /// The authority's certificate, which clients have to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these host names and addresses.
    pub fn leaf(&self, names: &[String], now: i64) -> Result<Leaf, CaError> {
        let at = |(year, month, day)| date_time_ymd(year, month, day);
        let key = KeyPair::generate()?;
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("scoregate", String::as_str));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = at(day(now, -1));
        params.not_after = at(day(now, LEAF_DAYS));
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate: certificate.pem() + &self.pem, private_key: key.serialize_pem() })
    }
}

impl Leaf {
    /// The certificate in the form that TLS takes.
    pub fn certified(&self) -> Result<CertifiedKey, CaError> {
        let wrong = |error: &dyn std::fmt::Display| CaError::Making(error.to_string());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.as_bytes());
        let (chain, key) = (chain.map_err(|e| wrong(&e))?, key.map_err(|e| wrong(&e))?);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, PrivateKeyDer::Pkcs8(key), &provider).map_err(|e| wrong(&e))
    }
}

/// The names that a certificate for a listener needs: its public address, what it listens on, and loopback.
pub fn names(public_url: &str, listen: IpAddr) -> Vec<String> {
    let uri = public_url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).map(|host| host.trim_matches(['[', ']']).to_owned());
    let mut names: Vec<String> = host.into_iter().collect();
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names
}

fn authority(now: i64) -> Result<CertificateParams, CaError> {
    let at = |(year, month, day)| date_time_ymd(year, month, day);
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "scoregate CA");
    params.not_before = at(day(now, -1));
    params.not_after = at(day(now, CA_DAYS));
    Ok(params)
}

/// Year, month and day that are so many days from now.
fn day(now: i64, days: i64) -> (i32, u8, u8) {
    let at = jiff::Timestamp::from_second(now + days * 86_400).unwrap_or_default();
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let small = |number: i8| u8::try_from(number).unwrap_or(1);
    (i32::from(date.year()), small(date.month()), small(date.day()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let open = || OwnCa::open(directory.path(), "control-ca", 1_800_000_000);
        let first = open().unwrap();
        assert_eq!(open().unwrap().pem(), first.pem());
        let key = directory.path().join("control-ca.key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let leaf =
            first.leaf(&names("https://a.example:1", "10.0.0.1".parse().unwrap()), 1_800_000_000).unwrap();
        assert_eq!(leaf.certified().unwrap().cert.len(), 2);
        std::fs::write(&key, "no key").unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.contains("control-ca.key") && error.contains("begin anew"), "{error}");
    }
}
