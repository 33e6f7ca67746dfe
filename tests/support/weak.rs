//! Keys that nobody should sign with, made and used by `openssl` because our own library refuses to.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An RSA key in a file.
pub struct WeakKey {
    file: PathBuf,
    exponent: &'static str,
    _directory: TempDir,
}

impl WeakKey {
    /// A key of that many bits with the exponent 65537, or 3.
    pub fn new(bits: u32, exponent_3: bool) -> WeakKey {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        let bits = bits.to_string();
        let exponent = if exponent_3 { "-3" } else { "-F4" };
        openssl(&["genrsa", exponent, "-out", file.to_str().unwrap(), &bits], b"");
        WeakKey { file, exponent: if exponent_3 { "Aw" } else { "AQAB" }, _directory: directory }
    }

    /// The public half as an entry of a key set.
    pub fn jwk(&self, kid: &str) -> Value {
        let told = openssl(&["rsa", "-in", self.file.to_str().unwrap(), "-noout", "-modulus"], b"");
        let told = String::from_utf8(told).unwrap();
        let digits = told.trim().strip_prefix("Modulus=").unwrap();
        let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16).unwrap()).unwrap();
        let digits: Vec<u8> = digits.as_bytes().iter().map(digit).collect();
        let modulus: Vec<u8> = digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect();
        json!({
            "kty": "RSA", "use": "sig", "kid": kid, "n": URL_SAFE_NO_PAD.encode(modulus), "e": self.exponent,
        })
    }

    /// Signs as RS256 does.
    pub fn seal(&self, message: &str) -> String {
        let file = self.file.to_str().unwrap();
        let signature = openssl(&["dgst", "-sha256", "-sign", file], message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("openssl is needed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}
