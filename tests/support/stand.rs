//! A whole stand: issuer over TLS, gateway, resources on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use scoregate::app::Gateway;
use scoregate::clock::{Clock, SystemClock};
use scoregate::dev::issuer::{DevPrincipal, Issuer, IssuerConfig, TokenVersion};
use scoregate::dev::server;
use scoregate::identity::endpoint_key;
use scoregate::model::resource::Resource;
use scoregate::settings::Settings;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::rest::{self, Rest};

pub const TENANT: Uuid = Uuid::from_u128(0x7e57);
pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000005b";
/// The audience of tokens for scoring.
pub const AUDIENCE: &str = "https://ml.azure.com";
/// The audience of tokens for managing.
pub const MANAGEMENT: &str = "https://management.azure.com";

/// What a stand is made of.
#[derive(Default)]
pub struct Plan {
    /// Resource files by name.
    pub resources: Vec<(String, String)>,
    /// YAML put into the configuration, section by section, such as `("limits", "{ request_body: 10 }")`.
    pub settings: Vec<(&'static str, String)>,
    /// YAML fields put into `data_plane`, such as `base_domain: models.test`.
    pub data_plane: String,
}

impl Plan {
    /// Endpoint `ep` in this mode with deployment `blue` at these instances, all traffic to it; `scientist` may score it.
    pub fn endpoint(mode: &str, urls: &[&str]) -> Plan {
        let mut plan = Plan::default();
        plan.add("ep.yaml", format!("name: my-ep\nauth_mode: {mode}\ntraffic: {{ blue: 100 }}\n"));
        plan.add("blue.yaml", deployment("my-ep", "blue", urls, ""));
        plan.grant(
            "scientist",
            "AzureML Data Scientist",
            &format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/default"),
        );
        plan
    }

    /// The same in mode `aad_token`, with a deployment that speaks HTTP/2 at this instance.
    pub fn http2(url: &str, more: &str) -> Plan {
        Plan::endpoint("aad_token", &[]).blue(format!(
            "name: blue\nendpoint_name: my-ep\nbackend: {{ urls: [ \"{url}\" ], http_version: \"2\" }}\n\
             request_settings: {{ max_concurrent_requests_per_instance: 512, request_timeout_ms: 60000 }}\n{more}"
        ))
    }

    /// Describes deployment `blue` in its own way.
    pub fn blue(mut self, text: String) -> Plan {
        self.resources.retain(|(name, _)| name != "blue.yaml");
        self.add("blue.yaml", text);
        self
    }

    pub fn add(&mut self, name: &str, text: String) -> &mut Plan {
        self.resources.push((name.to_owned(), text));
        self
    }

    /// A role for a principal of the stand's issuer.
    pub fn grant(&mut self, who: &str, role: &str, scope: &str) -> &mut Plan {
        let name = format!("grant-{}.yaml", self.resources.len());
        self.add(&name, format!("role: {role}\nprincipal_id: {}\nscope: {scope}\n", object_id(who)))
    }

    pub fn set(mut self, section: &'static str, yaml: &str) -> Plan {
        self.settings.push((section, yaml.to_owned()));
        self
    }

    /// `owner` of the stand's issuer is Owner at the root.
    pub fn owned(self) -> Plan {
        self.set("owners", &format!("[ {} ]", object_id("owner")))
    }

    pub fn data_plane(mut self, yaml: &str) -> Plan {
        self.data_plane.push_str(&format!(", {yaml}"));
        self
    }
}

/// YAML of a deployment.
pub fn deployment(endpoint: &str, name: &str, urls: &[&str], more: &str) -> String {
    let urls = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "name: {name}\nendpoint_name: {endpoint}\nbackend: {{ urls: [ {urls} ] }}\n\
         request_settings: {{ max_concurrent_requests_per_instance: 512 }}\n{more}"
    )
}

/// The same object id for a name in every stand.
pub fn object_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())
}

/// A running gateway with its surroundings.
pub struct Stand {
    pub gateway: Gateway,
    pub issuer: Arc<Issuer>,
    pub authority: String,
    pub directory: TempDir,
    issuing: JoinHandle<()>,
}

impl Stand {
    pub async fn start(plan: Plan) -> Stand {
        let directory = tempfile::tempdir().unwrap();
        let (address, socket) = server::bind(0).unwrap();
        let leaf = server::certificates(&directory.path().join("ca.pem")).unwrap();
        let authority = format!("https://{address}");
        let principal = |name: &str| DevPrincipal {
            name: name.to_owned(),
            client_id: Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()),
            object_id: object_id(name),
            client_secret: format!("secret of {name}"),
            groups: Vec::new(),
        };
        let config = IssuerConfig {
            tenant: TENANT,
            base_url: authority.clone(),
            principals: ["scientist", "outsider", "reader", "owner"].map(principal).to_vec(),
            applications: Vec::new(),
            managed: None,
            lifetime: Duration::from_hours(1),
        };
        let issuer = Arc::new(Issuer::new(config, || SystemClock.unix()).unwrap());
        let router = issuer.clone().router();
        let issuing = tokio::spawn(async move {
            server::serve_tls(socket, &leaf, router).await.unwrap();
        });
        let resources = directory.path().join("resources");
        std::fs::create_dir(&resources).unwrap();
        for (name, text) in &plan.resources {
            std::fs::write(resources.join(name), text).unwrap();
        }
        let file = directory.path().join("scoregate.yaml");
        std::fs::write(&file, configuration(&plan, &authority)).unwrap();
        let mut settings =
            Settings::load(&file, std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        // This process is not the binary.
        settings.instances.helper = env!("CARGO_BIN_EXE_scoregate").into();
        let gateway = Gateway::start(settings).await.unwrap();
        Stand { gateway, issuer, authority, directory, issuing }
    }

    /// An access token of a principal for scoring, as Entra makes them for Azure ML: version 1.
    pub fn token(&self, name: &str) -> String {
        self.issuer.token(name, AUDIENCE, TokenVersion::V1).unwrap()
    }

    /// An access token of a principal for managing.
    pub fn management_token(&self, name: &str) -> String {
        self.issuer.token(name, MANAGEMENT, TokenVersion::V1).unwrap()
    }

    /// Configuration of another gateway that takes this issuer's tokens and is owned by its `owner`.
    pub fn trusted(&self) -> String {
        format!(
            "identity: {{ entra: [ {{ authority: \"{}\", tenants: [ {TENANT} ], ca_file: \"{}\" }} ] }}\nowners: [ {} ]\n",
            self.authority,
            self.directory.path().join("ca.pem").display(),
            object_id("owner")
        )
    }

    /// A client of the control plane.
    pub fn rest(&self) -> Rest {
        Rest::new(self.gateway.control, &self.directory.path().join("control-ca.pem"))
    }

    /// A principal who calls the control plane.
    pub fn as_(&self, name: &str) -> rest::Caller {
        self.rest().by(&self.management_token(name))
    }

    pub fn resources(&self) -> PathBuf {
        self.directory.path().join("resources")
    }

    /// Writes a resource file and waits until it is in force.
    pub async fn write(&self, name: &str, text: &str) {
        self.in_force(|| self.put(name, text)).await;
    }

    /// Removes a resource file and waits until that is in force.
    pub async fn remove(&self, name: &str) {
        self.in_force(|| std::fs::remove_file(self.resources().join(name)).unwrap()).await;
    }

    /// Writes a resource file whole, so that the gateway never sees half of it, and does not wait.
    pub fn put(&self, name: &str, text: &str) {
        let draft = self.resources().join(format!(".{name}"));
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.resources().join(name)).unwrap();
    }

    async fn in_force(&self, change: impl FnOnce()) {
        let before = self.gateway.store().revision().await.unwrap();
        change();
        let in_force = self.gateway.publisher().wait_for(before + 1);
        tokio::time::timeout(super::PATIENCE, in_force).await.expect("the change did not come into force");
    }

    /// Both keys of an endpoint.
    pub async fn keys(&self, endpoint: &str) -> (String, String) {
        for stored in self.gateway.store().contents().await.unwrap().iter() {
            if let Resource::Endpoint(found) = &stored.resource
                && found.spec.name.key() == endpoint
            {
                let (scope, vault) = (found.scope().unwrap(), self.gateway.vault());
                let open = |slot, key| endpoint_key::reveal(vault, &scope, slot, key).unwrap().to_string();
                return (open("primary", &found.keys.primary), open("secondary", &found.keys.secondary));
            }
        }
        panic!("there is no endpoint {endpoint}")
    }

    /// The value of a metric line that starts so, 0 if there is none.
    pub async fn metric(&self, start: &str) -> f64 {
        self.metric_text(start).await.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }

    /// The same of a counter.
    pub async fn counted(&self, start: &str) -> u64 {
        self.metric_text(start).await.map_or(0, |text| text.parse().unwrap())
    }

    async fn metric_text(&self, start: &str) -> Option<String> {
        let ask = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        let answer = super::raw::ask(self.gateway.admin, ask).await.unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    }

    pub async fn stop(self) {
        self.gateway.stop().await;
        self.issuing.abort();
    }
}

fn configuration(plan: &Plan, authority: &str) -> String {
    let mut text = format!(
        "data_plane: {{ listen: \"127.0.0.1:0\", public_url: \"http://127.0.0.1:8080\", workers: 2{} }}\n\
         control_plane: {{ listen: \"127.0.0.1:0\" }}\n\
         admin: {{ listen: \"127.0.0.1:0\" }}\n\
         workspaces: [ {{ subscription: {SUBSCRIPTION}, resource_group: default, name: default }} ]\n\
         resources: resources\n",
        plan.data_plane
    );
    let given = |section: &str| plan.settings.iter().any(|(name, _)| *name == section);
    if !given("store") {
        text.push_str("store: sqlite://store.db\n");
    }
    if !given("identity") {
        text.push_str(&format!(
            "identity: {{ entra: [ {{ authority: \"{authority}\", tenants: [ {TENANT} ], ca_file: ca.pem }} ] }}\n"
        ));
    }
    if !given("logs") {
        text.push_str("logs: { access: false }\n");
    }
    for (section, yaml) in &plan.settings {
        text.push_str(&format!("{section}: {}\n", yaml.replace("{authority}", authority)));
    }
    text
}
