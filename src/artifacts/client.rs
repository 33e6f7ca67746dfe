//! The one client that batch jobs go out by. It keeps the rules of [`egress`](super::egress): a URL is judged before
//! each request, every address that a name leads to is judged before any is connected to, the connection goes to one of
//! those and to no other, redirects are refused, and no proxy of the environment comes in between.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use prometheus::IntCounterVec;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Response, StatusCode, Url, header};

use super::egress::{Denied, EgressRules, Reason};
use super::error::ArtifactError;
use crate::identity::fetch;
use crate::settings::{Batch, Limits};

/// Leads from a name to addresses.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    /// Every address of a name.
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// What every request of batch jobs goes through.
#[derive(Debug, Clone)]
pub(super) struct Client {
    rules: Arc<EgressRules>,
    denied: IntCounterVec,
    http: reqwest::Client,
}

/// What is asked of a host. Has no `Debug`: the query of an address may be a signature.
pub(super) struct Ask<'a> {
    /// The address.
    pub url: &'a Url,
    /// The host of the data store that it belongs to.
    pub store: Option<&'a str>,
    /// The name that errors use.
    pub place: &'a str,
    /// A part of it.
    pub range: Option<Range<u64>>,
}

impl Client {
    pub fn new(
        settings: &Batch,
        limits: &Limits,
        denied: IntCounterVec,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Client, fetch::FetchError> {
        let rules = Arc::new(EgressRules::new(settings));
        let judging = Judging { rules: rules.clone(), denied: denied.clone(), lookup };
        let http = fetch::http_client(settings.ca_file.as_deref(), |builder| {
            builder
                .connect_timeout(limits.batch_connect)
                .read_timeout(limits.batch_idle)
                .pool_idle_timeout(limits.batch_idle)
                .dns_resolver(judging)
        })?;
        Ok(Client { rules, denied, http })
    }

    pub fn rules(&self) -> &EgressRules {
        &self.rules
    }

    /// Judges a URL and counts a refusal.
    pub fn judge(&self, url: &Url, store: Option<&str>) -> Result<(), Denied> {
        self.rules.judge(url, store).inspect_err(|refused| count(&self.denied, refused.reason))
    }

    /// Reads from a host. The answer is 200, or 206 if a part was asked for.
    pub async fn get(&self, ask: Ask<'_>) -> Result<Response, ArtifactError> {
        self.judge(ask.url, ask.store)?;
        let mut request = self.http.get(ask.url.clone()).header(header::ACCEPT_ENCODING, "identity");
        if let Some(range) = &ask.range {
            let last = range.end.saturating_sub(1);
            request = request.header(header::RANGE, format!("bytes={}-{last}", range.start));
        }
        let answer = request
            .send()
            .await
            .map_err(|error| ArtifactError::of_client(ask.place, &error.without_url()))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(self.redirected(ask.url.host_str().unwrap_or_default()).into());
        }
        let wanted = if ask.range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let failed =
            |why: &str| Err(ArtifactError::Failed { place: ask.place.to_owned(), why: why.to_owned() });
        if status == StatusCode::OK && ask.range.is_some() {
            return failed("its host gives no parts of files, which Parquet needs; put it into a data store");
        }
        if status != wanted {
            return Err(ArtifactError::of_status(ask.place.to_owned(), status.as_u16()));
        }
        let coding = answer.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return failed("its host sends it compressed, unasked; put the file there as it is");
        }
        Ok(answer)
    }

    /// A connector for a data store on this host.
    pub fn connector(&self, host: &str) -> StoreConnector {
        StoreConnector { client: self.clone(), host: host.into() }
    }

    fn redirected(&self, host: &str) -> Denied {
        count(&self.denied, Reason::Redirect);
        Denied { reason: Reason::Redirect, host: host.to_owned() }
    }
}

fn count(denied: &IntCounterVec, reason: Reason) {
    denied.with_label_values(&[reason.as_str()]).inc();
}

/// Looks names up and judges what comes.
#[derive(Debug)]
struct Judging {
    rules: Arc<EgressRules>,
    denied: IntCounterVec,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Judging {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, denied, lookup) = (self.rules.clone(), self.denied.clone(), self.lookup.clone());
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            // One bad address among good ones is not left out: whoever answers so has the next try in mind.
            if !found.iter().all(|address| rules.judge_address(*address)) {
                count(&denied, Reason::Address);
                let refused = Denied { reason: Reason::Address, host: name.as_str().to_owned() };
                return Err(Box::new(refused) as Box<dyn std::error::Error + Send + Sync>);
            }
            // The connector sets the port.
            let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Lends the client to a data store's library.
#[derive(Debug, Clone)]
pub(super) struct StoreConnector {
    client: Client,
    host: Arc<str>,
}

impl HttpConnector for StoreConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        // Its options are those of a client of its own, which it does not get.
        let inner = HttpClient::new(self.client.http.clone());
        Ok(HttpClient::new(StoreService { inner, connector: self.clone() }))
    }
}

#[derive(Debug)]
struct StoreService {
    inner: HttpClient,
    connector: StoreConnector,
}

#[async_trait]
impl HttpService for StoreService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let StoreConnector { client, host } = &self.connector;
        // A kind that is not tried again.
        let refused = |denied: Denied| HttpError::new(HttpErrorKind::Unknown, denied);
        let denied = |reason| Denied { reason, host: host.to_string() };
        let url: Url = request.uri().to_string().parse().map_err(|_| refused(denied(Reason::Host)))?;
        client.judge(&url, Some(host)).map_err(refused)?;
        let answer = self.inner.execute(request).await.map_err(|error| {
            let mut causes =
                std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |cause| {
                    (*cause).source()
                });
            let found = causes.find_map(|cause| cause.downcast_ref::<Denied>()).cloned();
            found.map_or(error, refused)
        })?;
        if answer.status().is_redirection() && answer.status() != StatusCode::NOT_MODIFIED {
            return Err(refused(client.redirected(host)));
        }
        Ok(answer)
    }
}
