//! The servers around the gateway: the issuer over TLS, the models in clear text.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::model::{Model, ModelError};
use crate::clock::{Clock, SystemClock};
use crate::net::own_ca::{self, Leaf, OwnCa};
use crate::net::tls::Certificates;

/// A socket on loopback; port 0 takes any free one.
pub fn bind(port: u16) -> anyhow::Result<(SocketAddr, StdListener)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = StdListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; free the port or choose another --port-base")
    })?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?, socket))
}

/// Makes a certificate authority, writes its certificate to a file, and gives a certificate of it for loopback.
pub fn certificates(ca_file: &Path) -> anyhow::Result<Leaf> {
    let now = SystemClock.unix();
    let ca = OwnCa::ephemeral(now)?;
    std::fs::write(ca_file, ca.pem())?;
    Ok(ca.leaf(&own_ca::names("https://localhost", [127, 0, 0, 1].into()), now)?)
}

/// Serves a router over TLS until the task is dropped.
pub async fn serve_tls(socket: StdListener, leaf: &Leaf, router: Router) -> anyhow::Result<()> {
    let mut config = (*Certificates::of(leaf.certified()?)?.current()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::from_std(socket)?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever breaks off has broken off.
                let _ = connection.await;
            }
        });
    }
}

/// A demo model behind the routes of Azure's inference server.
pub fn model(name: &'static str, model: Model) -> Router {
    Router::new()
        .route("/score", post(score))
        .route("/", get(async || "Healthy"))
        .with_state(Arc::new((name, model)))
}

async fn score(State(served): State<Arc<(&'static str, Model)>>, body: Bytes) -> Response {
    let (name, model) = &*served;
    match model.score(&body) {
        Ok(predictions) => axum::Json(json!({
            "model": model.name, "version": model.version, "deployment": name, "predictions": predictions,
        }))
        .into_response(),
        Err(error) => {
            let broken = matches!(error, ModelError::Broken { .. });
            let status = if broken { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
            (status, axum::Json(json!({ "message": error.to_string() }))).into_response()
        }
    }
}
