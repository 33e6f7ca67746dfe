//! Everything that `scoregate dev` starts, and what it tells about it.

use std::fmt::Write;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::issuer::{DevPrincipal, Issuer, IssuerConfig};
use super::model::Model;
use super::server;
use crate::app::Gateway;
use crate::clock::{Clock, SystemClock};
use crate::identity::endpoint_key;
use crate::model::resource::Resource;
use crate::settings::Settings;

const SUBSCRIPTION: &str = "00000000-0000-4000-8000-000000000001";
/// The file with the secret of the gateway's application.
const GATEWAY_SECRET: &str = "gateway.secret";
/// A complete row of the models' training data, ready to be sent.
pub(super) const SAMPLE: &str = include_str!("sample.json");

/// A gateway and what is around it.
pub(super) struct World {
    directory: PathBuf,
    pub(super) gateway: Gateway,
    tenant: Uuid,
    pub(super) authority: String,
    pub(super) ca_file: PathBuf,
    principals: Vec<DevPrincipal>,
    /// The gateway's own application, by which it acts on behalf of callers.
    gateway_application: DevPrincipal,
    /// The identity of this machine.
    worker: DevPrincipal,
    managed_url: String,
    models: [String; 2],
    _servers: JoinSet<()>,
}

/// The same ids at every start, so that what was pasted once can be pasted again.
fn id(of: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("{of}.dev.scoregate").as_bytes())
}

fn principal(name: &str) -> anyhow::Result<DevPrincipal> {
    Ok(DevPrincipal {
        name: name.to_owned(),
        client_id: id(&format!("{name}.client")),
        object_id: id(&format!("{name}.object")),
        // As random as an endpoint key, and told from one by its beginning.
        client_secret: endpoint_key::generate()?.replacen(endpoint_key::PREFIX, "dev~", 1),
        groups: Vec::new(),
    })
}

impl World {
    /// Starts everything, the gateway last.
    pub(super) async fn start(directory: &Path, base: u16, access_log: bool) -> anyhow::Result<World> {
        let port = |offset: u16| {
            if base == 0 { Ok(0) } else { base.checked_add(offset).context("--port-base is too high") }
        };
        let (issuer_address, issuer_socket) = server::bind(port(2)?)?;
        let (blue_address, blue_socket) = server::bind(port(3)?)?;
        let (green_address, green_socket) = server::bind(port(4)?)?;
        let ca_file = directory.join("ca.pem");
        let leaf = server::certificates(&ca_file)?;
        write_secret(&directory.join("control.key"), &leaf.private_key)?;
        std::fs::write(directory.join("control.pem"), &leaf.certificate)?;
        let principals =
            ["admin", "scientist", "outsider"].map(principal).into_iter().collect::<Result<Vec<_>, _>>()?;
        let (gateway_application, worker) = (principal("gateway")?, principal("worker")?);
        write_secret(&directory.join(GATEWAY_SECRET), &gateway_application.client_secret)?;
        let (tenant, authority) = (id("tenant"), format!("https://{issuer_address}"));
        let config = IssuerConfig {
            tenant,
            base_url: authority.clone(),
            principals: principals.clone(),
            applications: vec![gateway_application.clone()],
            managed: Some(worker.clone()),
            lifetime: Duration::from_hours(1),
        };
        let issuer = Arc::new(Issuer::new(config, || SystemClock.unix())?);
        let managed_url = issuer.managed_url();
        let mut servers = JoinSet::new();
        servers.spawn(async move {
            let _ = server::serve_tls(issuer_socket, &leaf, issuer.router()).await;
        });
        for (name, model, socket) in
            [("blue", Model::blue()?, blue_socket), ("green", Model::green()?, green_socket)]
        {
            let listener = tokio::net::TcpListener::from_std(socket)?;
            let router = server::model(name, model);
            servers.spawn(async move {
                let _ = axum::serve(listener, router).await;
            });
        }
        let models = [format!("http://{blue_address}"), format!("http://{green_address}")];
        let [admin, scientist] = ["admin", "scientist"].map(|name| id(&format!("{name}.object")));
        write_resources(directory, &models, scientist)?;
        let text = configuration(
            [port(0)?, port(1)?, port(10)?],
            &authority,
            [tenant, admin, gateway_application.client_id],
            access_log,
        );
        let file = directory.join("scoregate.yaml");
        std::fs::write(&file, text)?;
        let gateway = Gateway::start(Settings::load(&file, std::iter::empty())?).await?;
        let directory = directory.to_owned();
        Ok(World {
            directory,
            gateway,
            tenant,
            authority,
            ca_file,
            principals,
            gateway_application,
            worker,
            managed_url,
            models,
            _servers: servers,
        })
    }

    pub(super) async fn stop(self) {
        self.gateway.stop().await;
    }

    pub(super) fn principal(&self, name: &str) -> anyhow::Result<&DevPrincipal> {
        self.principals.iter().find(|principal| principal.name == name).context("there is no such principal")
    }

    pub(super) fn token_endpoint(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant)
    }

    pub(super) fn data_url(&self) -> String {
        format!("http://{}", self.gateway.data)
    }

    pub(super) fn control_url(&self) -> String {
        self.gateway.addresses.control.clone()
    }

    pub(super) fn scoring_url(&self, endpoint: &str) -> String {
        format!("{}/endpoints/{endpoint}/score", self.data_url())
    }

    /// Changes the resources directory and waits until that is in force.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let before = self.gateway.store().revision().await?;
        change(&self.directory.join("resources"))?;
        let in_force = self.gateway.publisher().wait_for(before + 1);
        tokio::time::timeout(Duration::from_secs(10), in_force)
            .await
            .context("the change did not come into force")
    }

    /// The primary key of an endpoint.
    pub(super) async fn key(&self, endpoint: &str) -> anyhow::Result<Zeroizing<String>> {
        let contents = self.gateway.store().contents().await?;
        for stored in contents.iter() {
            if let Resource::Endpoint(found) = &stored.resource
                && found.spec.name.key() == endpoint
            {
                return Ok(endpoint_key::reveal(
                    self.gateway.vault(),
                    &found.scope()?,
                    "primary",
                    &found.keys.primary,
                )?);
            }
        }
        anyhow::bail!("there is no endpoint {endpoint}")
    }

    /// Addresses, ids and secrets, for a program.
    pub(super) fn ready(&self) -> Value {
        let principals: serde_json::Map<String, Value> = self
            .principals
            .iter()
            .map(|p| {
                let value = json!({"client_id": p.client_id, "client_secret": p.client_secret, "object_id": p.object_id});
                (p.name.clone(), value)
            })
            .collect();
        let [blue, green] = &self.models;
        json!({
            "data_url": self.data_url(), "control_url": self.control_url(), "admin_url": format!("http://{}", self.gateway.admin),
            "authority_url": self.authority, "ca_file": self.ca_file, "tenant_id": self.tenant,
            "subscription_id": SUBSCRIPTION, "resource_group": "default", "workspace": "default", "location": "local",
            "principals": principals, "models": {"blue": blue, "green": green},
            "managed_identity": {
                "endpoint": self.managed_url, "header": self.worker.client_secret,
                "client_id": self.worker.client_id, "object_id": self.worker.object_id,
            },
            "on_behalf_of": {
                "client_id": self.gateway_application.client_id,
                "scope": format!("api://{}/.default", self.gateway_application.client_id),
            },
        })
    }

    /// The same for a person, with commands to paste.
    pub(super) fn table(&self) -> String {
        let mut text =
            String::from("scoregate dev - everything below is on loopback and for development only\n\n");
        let [blue, green] = &self.models;
        let rows = [
            ("scoring", self.scoring_url("my-endp1")),
            ("control plane", self.control_url()),
            ("metrics, health", format!("http://{}", self.gateway.admin)),
            ("issuer", format!("{}/{}/v2.0", self.authority, self.tenant)),
            ("CA of both", self.ca_file.display().to_string()),
            ("models", format!("blue {blue}  green {green}")),
            ("files", self.directory.display().to_string()),
        ];
        for (what, value) in rows {
            let _ = writeln!(text, "  {what:<16} {value}");
        }
        text.push_str("\n  endpoints        my-endp1 (Entra token; blue 90, green 10)  my-endp2 (key)  my-endp3 (Entra token)\n\n");
        for p in &self.principals {
            let role = match p.name.as_str() {
                "admin" => "Owner",
                "scientist" => "AzureML Data Scientist",
                _ => "no role",
            };
            let _ = writeln!(
                text,
                "  {:<10} {role:<23} object {}\n             client {}  secret {}",
                p.name, p.object_id, p.client_id, p.client_secret
            );
        }
        let _ = writeln!(
            text,
            "  {:<10} {:<23} object {}\n             client {}  (this machine's managed identity)\n             \
             IDENTITY_ENDPOINT={} IDENTITY_HEADER={}",
            self.worker.name,
            "no role",
            self.worker.object_id,
            self.worker.client_id,
            self.managed_url,
            self.worker.client_secret
        );
        let scientist = self.principals.iter().find(|p| p.name == "scientist");
        if let Some(scientist) = scientist {
            let _ = write!(
                text,
                "\nTry it:\n\n  TOKEN=$(curl -s --cacert {ca} -d client_id={client} -d client_secret={secret} \\\n    -d grant_type=client_credentials -d scope=https://ml.azure.com/.default \\\n    {endpoint} | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])')\n  curl -i -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n    -d @{sample} {url}\n\nEdit {resources}/my-endp1.yaml and the split changes. Ctrl-C stops everything.",
                ca = self.ca_file.display(),
                client = scientist.client_id,
                secret = scientist.client_secret,
                endpoint = self.token_endpoint(),
                sample = self.directory.join("request.json").display(),
                url = self.scoring_url("my-endp1"),
                resources = self.directory.join("resources").display(),
            );
        }
        text
    }
}

/// A file that only its owner may read, whoever might read what was there before.
pub(super) fn write_secret(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut open = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    open.set_permissions(Permissions::from_mode(0o600))?;
    open.write_all(text.as_bytes())?;
    Ok(())
}

fn configuration(
    [data, control, admin]: [u16; 3],
    authority: &str,
    [tenant, owner, application]: [Uuid; 3],
    access_log: bool,
) -> String {
    format!(
        "# Written by `scoregate dev` at each start.\n\
         data_plane: {{ listen: \"127.0.0.1:{data}\" }}\n\
         control_plane: {{ listen: \"127.0.0.1:{control}\", tls: {{ certificate: control.pem, private_key: control.key }} }}\n\
         admin: {{ listen: \"127.0.0.1:{admin}\" }}\n\
         store: sqlite://scoregate.db\n\
         identity:\n  entra:\n    - {{ authority: \"{authority}\", tenants: [ {tenant} ], ca_file: ca.pem }}\n\
         \x20 data_audiences: [ \"https://ml.azure.com\", {application}, \"api://{application}\" ]\n\
         \x20 on_behalf_of: {{ client_id: {application}, client_secret_file: {GATEWAY_SECRET} }}\n\
         workspaces: [ {{ subscription: {SUBSCRIPTION}, resource_group: default, name: default, location: local }} ]\n\
         owners: [ {owner} ]\n\
         resources: resources\n\
         instances: {{ programs: [ \"*\" ] }}\n\
         logs: {{ access: {access_log} }}\n"
    )
}

/// Resource files in the form that `az ml` takes. Those that are there already are the user's.
fn write_resources(directory: &Path, [blue, green]: &[String; 2], scientist: Uuid) -> anyhow::Result<()> {
    let resources = directory.join("resources");
    std::fs::create_dir_all(&resources)?;
    std::fs::write(directory.join("request.json"), SAMPLE)?;
    let endpoint = |name: &str, mode: &str, traffic: &str| {
        format!("name: {name}\nauth_mode: {mode}\ntraffic: {traffic}\n")
    };
    let deployment = |name: &str, of: &str, url: &str| {
        format!(
            "name: {name}\nendpoint_name: {of}\nmodel: azureml:heart-disease:1\ninstance_type: local\ninstance_count: 1\n\
             request_settings: {{ max_concurrent_requests_per_instance: 64 }}\nbackend: {{ urls: [ \"{url}\" ] }}\n"
        )
    };
    let both = |of: &str| format!("{}---\n{}", deployment("blue", of, blue), deployment("green", of, green));
    let role = format!(
        "role: AzureML Data Scientist\nprincipal_id: {scientist}\nprincipal_type: ServicePrincipal\n\
         scope: /subscriptions/{SUBSCRIPTION}/resourceGroups/default\n"
    );
    let files = [
        ("my-endp1.yaml", endpoint("my-endp1", "aad_token", "{ blue: 90, green: 10 }"), false),
        ("my-endp1-deployments.yaml", both("my-endp1"), true),
        (
            "my-endp2.yaml",
            endpoint("my-endp2", "key", "{ blue: 100 }") + "---\n" + &deployment("blue", "my-endp2", blue),
            true,
        ),
        (
            "my-endp3.yaml",
            endpoint("my-endp3", "aad_token", "{ green: 100 }")
                + "---\n"
                + &deployment("green", "my-endp3", green),
            true,
        ),
        ("scientist.yaml", role, false),
    ];
    for (name, text, holds_addresses) in files {
        let file = resources.join(name);
        // The models' ports may be others at the next start.
        if holds_addresses || !file.exists() {
            std::fs::write(file, text)?;
        }
    }
    Ok(())
}
