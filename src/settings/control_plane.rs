//! `control_plane:` — the listener on which resources are managed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::data_plane::{TlsFiles, checked_public_url};
use crate::forms::Form;

/// The listener on which resources are managed. Always encrypted: Azure's clients send no token otherwise.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Address and port.
    pub listen: SocketAddr,
    /// What clients call it by; what it listens on, if it is not set.
    pub public_url: Option<String>,
    /// Certificate and key; without them the gateway makes its own.
    pub tls: Option<TlsFiles>,
}

impl ControlPlane {
    pub(super) fn read(form: &Form<'_>, base: &Path) -> ControlPlane {
        let listen = form.value("listen", "Address and port; port 0 takes any free one. Needs a restart.");
        let listen = listen.or(SocketAddr::from(([127, 0, 0, 1], 8081)));
        let doc = "What clients call it by, https, without a slash at the end. Needs a restart.";
        let public_url = form.value::<String>("public_url", doc).optional();
        if let Some(url) = &public_url {
            checked_public_url(form, url, "https://scoregate.example.com");
            if !url.starts_with("https://") {
                form.wrong("public_url", "is not https; Azure's clients send no token in clear text", None);
            }
        }
        let doc = "Certificate and key, or self_signed: the gateway's own authority, whose certificate is written beside the store. Needs a restart.";
        let tls = form.section("tls", doc, |f| {
            let own = f.value("self_signed", "Use the gateway's own authority; the default.").optional();
            let certificate = f.value::<PathBuf>("certificate", "The chain as PEM, leaf first.").optional();
            let private_key = f.value::<PathBuf>("private_key", "The key as PEM, mode 0600.").optional();
            match (own, certificate, private_key) {
                (Some(true) | None, None, None) => None,
                (Some(false) | None, Some(certificate), Some(private_key)) => Some(TlsFiles {
                    certificate: base.join(certificate),
                    private_key: base.join(private_key),
                    clients: None,
                }),
                (Some(true), ..) => {
                    f.wrong("self_signed", "stands beside a certificate", Some("keep one of the two"));
                    None
                }
                _ => {
                    f.wrong("", "needs a certificate and its private_key", Some("or self_signed: true"));
                    None
                }
            }
        });
        ControlPlane { listen, public_url, tls }
    }
}
