//! The client commands of the real binary, against `scoregate dev` in a process of its own.

mod batch;
mod identities;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::until;

const SCORE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action";

/// Everything around a client: a gateway with endpoints, models and an issuer, and a home of its own.
struct World {
    dev: Child,
    ready: Value,
    directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    errors: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The command did what was asked.
    fn ok(self) -> Done {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It exited with this code, and standard error holds these words.
    fn fails(&self, code: i32, told: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for words in told {
            assert!(self.errors.contains(words), "`{words}` is not in {}", self.errors);
        }
    }
}

/// The binary without anything that the environment of the tests says.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scoregate"));
    command.env_clear().env("PATH", "/nonexistent").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), out: text(output.stdout), errors: text(output.stderr) }
}

impl World {
    async fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let (ready, data) = (directory.path().join("ready.json"), directory.path().join("dev"));
        let mut command = binary();
        command.args(["dev", "--port-base", "0", "--ready-file"]).arg(&ready).arg("--data-dir").arg(&data);
        let dev = command.stdout(Stdio::null()).spawn().unwrap();
        let mut world = World { dev, ready: Value::Null, directory };
        until("`scoregate dev` is ready", async || {
            assert!(world.dev.try_wait().unwrap().is_none(), "`scoregate dev` ended");
            let text = std::fs::read(&ready).unwrap_or_default();
            world.ready = serde_json::from_slice(&text).unwrap_or_default();
            world.ready.is_object()
        })
        .await;
        world
    }

    fn get(&self, pointer: &str) -> &str {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
    }

    fn object_id(&self, who: &str) -> &str {
        self.get(&format!("/principals/{who}/object_id"))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let file = self.directory.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A request that the models can answer.
    fn request(&self) -> String {
        self.directory.path().join("dev/request.json").display().to_string()
    }

    fn scope(&self, endpoint: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/default/providers/Microsoft.MachineLearningServices/workspaces/default/onlineEndpoints/{endpoint}",
            self.get("/subscription_id")
        )
    }

    /// A command of somebody without a credential.
    fn nobody(&self) -> Command {
        let mut command = binary();
        command
            .env("SCOREGATE_SERVER", self.get("/control_url"))
            .env("SCOREGATE_CA_FILE", self.get("/ca_file"))
            .env("HOME", self.home());
        command
    }

    /// A command of a principal.
    fn command(&self, who: &str) -> Command {
        let mut command = self.nobody();
        command
            .env("AZURE_CLIENT_ID", self.get(&format!("/principals/{who}/client_id")))
            .env("AZURE_CLIENT_SECRET", self.get(&format!("/principals/{who}/client_secret")));
        command
    }

    fn run(&self, who: &str, arguments: &[&str]) -> Done {
        run(self.command(who).args(arguments))
    }

    /// What the owner does, in words parted by spaces.
    fn admin(&self, line: &str) -> Done {
        self.run("admin", &line.split_whitespace().collect::<Vec<_>>())
    }

    fn backend(&self, model: &str) -> String {
        format!("backend: {{ urls: [\"{}\"] }}\n", self.get(&format!("/models/{model}")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.dev.kill();
        let _ = self.dev.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_made_filled_called_changed_and_deleted() {
    let world = World::start().await;
    let made =
        world.admin("online-endpoint create -n cli-ep --auth-mode key --set tags.team=vision").ok().json();
    assert_eq!(
        (&made["name"], &made["auth_mode"], &made["tags"]["team"]),
        (&"cli-ep".into(), &"key".into(), &"vision".into())
    );
    world.admin("online-endpoint create -n cli-ep").fails(1, &["online-endpoint update -n cli-ep"]);

    let text = format!("name: blue\nendpoint_name: cli-ep\nmodel: azureml:m:1\n{}", world.backend("blue"));
    let blue = world.file("blue.yml", &text);
    world.admin(&format!("online-deployment create -f {blue} --all-traffic")).ok();
    let green = format!("backend.urls=[\"{}\"]", world.get("/models/green"));
    world.admin(&format!("online-deployment create -f {blue} -n green --set {green}")).ok();
    let traffic =
        |of: &str| world.admin(&format!("online-endpoint show -n cli-ep --query {of} -o json")).ok().json();
    assert_eq!(traffic("traffic"), serde_json::json!({"blue": 100}));

    let request = world.request();
    let answer = world.admin(&format!("online-endpoint invoke -n cli-ep -r {request}")).ok().json();
    assert_eq!(answer["deployment"], "blue");
    let invoke = format!("online-endpoint invoke -n cli-ep -r {request} -d green --query deployment -o tsv");
    assert_eq!(world.admin(&invoke).ok().out, "green\n");
    world
        .admin(&format!("online-endpoint invoke -n cli-ep -r {request} -d nobody"))
        .fails(3, &["(DeploymentNotFound)", "auth why"]);

    world.run("admin", &["online-endpoint", "update", "-n", "cli-ep", "--traffic", "blue=50 green=50"]).ok();
    assert_eq!(traffic("traffic"), serde_json::json!({"blue": 50, "green": 50}));
    world
        .admin("online-endpoint update -n cli-ep --traffic blue=50 green=51")
        .fails(2, &["traffic", "add up to 101"]);
    world.admin("online-endpoint update -n cli-ep --traffic blue=100 --mirror-traffic green=20").ok();
    assert_eq!(traffic("mirror_traffic"), serde_json::json!({"green": 20}));
    let report = "online-endpoint mirror-report -n cli-ep";
    assert_eq!(world.admin(report).ok().json()["copies"]["sent"], 0);
    until("a copy was answered otherwise", async || {
        world.admin(&format!("online-endpoint invoke -n cli-ep -r {request}")).ok();
        world.admin(&format!("{report} --query compared.answer")).ok().out != "0\n"
    })
    .await;
    let table = world.admin(&format!("{report} -o table")).ok().out;
    for line in ["20 % of cli-ep is mirrored to green", "statuses equal 100.0 %, answers equal 0.0 %"] {
        assert!(table.lines().any(|found| found == line), "{table}");
    }
    assert!(table.lines().last().unwrap().contains(" /"), "a difference has a pointer: {table}");
    assert_eq!(traffic("tags"), serde_json::json!({"team": "vision"}), "what is not spoken of stays");

    let update = "online-deployment update -n green -e cli-ep --set request_settings.request_timeout_ms=9000";
    assert_eq!(
        world.admin(&format!("{update} --query request_settings.request_timeout_ms")).ok().out,
        "9000\n"
    );
    let table = world.admin("online-deployment list -e cli-ep -o table").ok().out;
    let heads: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((heads[0], heads[2], heads[3]), ("Name", "blue", "green"), "{table}");

    let key = |slot: &str| {
        world.admin(&format!("online-endpoint get-credentials -n cli-ep --query {slot} -o tsv")).ok().out
    };
    let before = (key("primaryKey"), key("secondaryKey"));
    world.admin("online-endpoint regenerate-keys -n cli-ep --key-type secondary").ok();
    assert_eq!(key("primaryKey"), before.0);
    assert_ne!(key("secondaryKey"), before.1);
    world.admin("online-endpoint regenerate-keys -n my-endp1").fails(1, &["auth_mode AADToken"]);

    world.admin("online-deployment delete -n blue -e cli-ep --yes").fails(1, &["traffic"]);
    world.admin("online-endpoint delete -n cli-ep").fails(2, &["--yes"]);
    world.admin("online-endpoint delete -n cli-ep --yes").ok();
    world.admin("online-endpoint delete -n cli-ep --yes").fails(3, &["there is no endpoint cli-ep"]);
    world.admin("online-endpoint show -n cli-ep").fails(3, &["(ResourceNotFound)", "request id:"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_explained_and_what_it_says_to_paste_ends_it() {
    let world = World::start().await;
    let (scope, outsider) = (world.scope("my-endp1"), world.object_id("outsider").to_owned());
    let can_i = |who: &str| world.run(who, &["auth", "can-i", "--action", SCORE, "--scope", &scope]);
    assert!(can_i("scientist").ok().out.starts_with("yes: AzureML Data Scientist at /subscriptions/"));
    let no = can_i("outsider");
    assert!(no.code == 1 && no.out.starts_with(&format!("no: no role of {outsider}")), "{no:?}");

    let url = format!("{}/{}/oauth2/v2.0/token", world.get("/authority_url"), world.get("/tenant_id"));
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(
            scoregate::identity::fetch::client_config(&PathBuf::from(world.get("/ca_file"))).unwrap(),
        )
        .no_proxy()
        .build()
        .unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", world.get("/principals/outsider/client_id")),
        ("client_secret", world.get("/principals/outsider/client_secret")),
        ("scope", "https://ml.azure.com/.default"),
    ];
    let token: Value = http.post(&url).form(&form).send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let score = format!("{}/endpoints/my-endp1/score", world.get("/data_url"));
    let refused = http.post(&score).bearer_auth(token).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let id = refused.headers()["x-ms-request-id"].to_str().unwrap().to_owned();

    let why = world.run("admin", &["auth", "why", &id]).ok().out;
    assert!(why.starts_with("endpoint my-endp1, refused, status 403"), "{why}");
    let file = world.file("token", token);
    let dry = world.run("admin", &["auth", "why", "--token-file", &file, "--endpoint", "my-endp1"]).ok().out;
    for text in [&why, &dry] {
        let row = |check: &str| text.lines().find(|line| line.starts_with(check)).unwrap().to_owned();
        assert!(row("authenticate").contains("passed") && row("authorize").contains("failed"), "{text}");
        assert!(row("dispatch").contains("not reached") && !text.contains(token), "{text}");
    }

    let paste = why.lines().last().unwrap().trim().strip_prefix("scoregate ").unwrap();
    // The role's name is the only word in quotes.
    let parts: Vec<&str> = paste.split('"').collect();
    let [before, role, after] = parts.as_slice() else { panic!("{paste}") };
    let arguments: Vec<&str> =
        before.split_whitespace().chain([*role]).chain(after.split_whitespace()).collect();
    world.run("admin", &arguments).ok();
    can_i("outsider").ok();
    let holders = world.run("admin", &["auth", "who-can", "--action", SCORE, "--scope", &scope]).ok().out;
    assert!(holders.contains(&outsider) && holders.contains(world.object_id("scientist")), "{holders}");
    world.run("admin", &["role", "assignment", "delete", "--assignee", &outsider, "--scope", &scope]).ok();
    assert_eq!(can_i("outsider").code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_defined_granted_listed_and_taken_away_as_with_az() {
    let world = World::start().await;
    let (subscription, outsider) = (world.get("/subscription_id"), world.object_id("outsider"));
    let text = format!(
        "{{\"Name\": \"Endpoint Scorer\", \"IsCustom\": true, \"Description\": \"Scores.\", \"Actions\": [\"{SCORE}\"], \
         \"AssignableScopes\": [\"/subscriptions/{subscription}\"]}}"
    );
    let made = world.run("admin", &["role", "definition", "create", "--role-definition", &text]).ok().json();
    assert_eq!((&made["roleName"], &made["roleType"]), (&"Endpoint Scorer".into(), &"CustomRole".into()));
    let file = world.file("role.json", &text.replace("Scores.", "Scores one."));
    world
        .run("admin", &["role", "definition", "create", "--role-definition", &file])
        .fails(1, &["role definition update"]);
    world.admin(&format!("role definition update --role-definition @{file}")).ok();
    let shown = world.run("admin", &["role", "definition", "show", "--name", "Endpoint Scorer"]).ok().json();
    assert_eq!((&shown["description"], &shown["id"]), (&"Scores one.".into(), &made["id"]));

    let grant = [
        "role",
        "assignment",
        "create",
        "--assignee-object-id",
        outsider,
        "--role",
        "Endpoint Scorer",
        "-g",
        "default",
    ];
    let first = world.run("admin", &grant).ok().json();
    assert_eq!(first["roleDefinitionName"], "Endpoint Scorer");
    assert_eq!(first["scope"], format!("/subscriptions/{subscription}/resourceGroups/default"));
    assert_eq!(world.run("admin", &grant).ok().json()["id"], first["id"], "a second time is the same");
    world
        .admin(&format!("role assignment create --assignee {outsider} --role Reader"))
        .fails(2, &["--scope"]);
    world
        .admin("role assignment create --assignee me --role Reader -g default")
        .fails(2, &["`me` is no object id"]);
    world
        .admin(&format!("role assignment create --assignee {outsider} --role Raeder -g default"))
        .fails(3, &["there is no role `Raeder`"]);

    let list = |more: &str| world.admin(&format!("role assignment list {more}")).ok().json();
    let roles = |of: &Value| {
        of.as_array()
            .unwrap()
            .iter()
            .map(|one| one["roleDefinitionName"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(roles(&list(&format!("--all --assignee {outsider}"))), ["Endpoint Scorer"]);
    assert_eq!(roles(&list("-g default")).len(), 2);
    assert_eq!(roles(&list("-g default --include-inherited")).len(), 3);
    assert!(roles(&list("")).is_empty(), "nothing is granted at the subscription itself");

    let delete = ["role", "assignment", "delete", "--ids", first["id"].as_str().unwrap()];
    world.run("admin", &delete).ok();
    world.run("admin", &delete).fails(3, &["there is no such role assignment"]);
    world.run("admin", &["role", "definition", "delete", "--name", "Endpoint Scorer"]).ok();
    world.run("scientist", &grant).fails(1, &["(AuthorizationFailed)"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_applied_once_exported_and_pruned() {
    let world = World::start().await;
    let (blue, group) = (
        world.backend("blue"),
        format!("/subscriptions/{}/resourceGroups/default", world.get("/subscription_id")),
    );
    let endpoint = "name: app-ep\nauth_mode: aad_token\ntraffic: { blue: 100 }\n";
    let grant = format!(
        "role: AzureML Data Scientist\nprincipal_id: {}\nscope: {group}\n",
        world.object_id("outsider")
    );
    world.file(
        "files/app.yaml",
        &format!("{endpoint}---\n{grant}---\nname: blue\nendpoint_name: app-ep\n{blue}"),
    );
    let files = world.directory.path().join("files").display().to_string();
    let apply = |more: &[&str]| world.run("admin", &[&["apply", "-f", files.as_str()], more].concat());

    let dry = apply(&["--dry-run"]).ok();
    assert!(dry.out.ends_with("3 to create, 0 to update, 0 to delete, 0 unchanged\n"), "{dry:?}");
    world.admin("online-endpoint show -n app-ep").fails(3, &[]);
    apply(&[]).ok();
    assert_eq!(apply(&[]).ok().out, "0 to create, 0 to update, 0 to delete, 3 unchanged\n");
    let request = world.request();
    world.run("outsider", &["online-endpoint", "invoke", "-n", "app-ep", "-r", &request]).ok();

    world.file("files/more.yaml", &format!("name: green\nendpoint_name: app-ep\n{}", world.backend("green")));
    world.file(
        "files/app.yaml",
        &format!(
            "{}---\nname: blue\nendpoint_name: app-ep\n{blue}",
            endpoint.replace("blue: 100", "blue: 90, green: 10")
        ),
    );
    let changed = apply(&[]).ok().out;
    assert!(
        changed.contains("traffic.blue: 100 -> 90") && changed.contains("+ deployment app-ep/green"),
        "{changed}"
    );
    let exported = world.admin("export --roles").ok().out;
    let file = world.file("exported.yaml", &exported);
    let again = world.admin(&format!("apply -f {file} --dry-run")).ok().out;
    assert!(again.starts_with("0 to create, 0 to update, 0 to delete, "), "{again}");

    std::fs::remove_file(world.directory.path().join("files/more.yaml")).unwrap();
    apply(&["--prune"]).fails(2, &["traffic", "`green`"]);
    world.file("files/app.yaml", &format!("{endpoint}---\nname: blue\nendpoint_name: app-ep\n{blue}"));
    let pruned = apply(&["--prune"]).ok();
    assert!(
        pruned.out.contains("- deployment app-ep/green") && pruned.errors.contains("left endpoint my-endp1"),
        "{pruned:?}"
    );
    world.admin("online-deployment show -n green -e app-ep").fails(3, &[]);
    world.admin("online-endpoint show -n my-endp1").ok();
    world.file("files/bad.yaml", "name: app-two\nauth_mod: key\n---\nname: x\n");
    apply(&[]).fails(2, &["bad.yaml:2:1: auth_mod", "did you mean `auth_mode`?", "bad.yaml:4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gateways_own_files_keep_is_not_applied_and_nothing_else_is_either() {
    let world = World::start().await;
    let new = "name: new-ep\nauth_mode: key\n";
    let theirs = "name: my-endp1\nauth_mode: aad_token\ntraffic: { blue: 100 }\n";
    world.file("both/all.yaml", &format!("{new}---\n{theirs}"));
    let files = world.directory.path().join("both").display().to_string();
    for more in [&["--dry-run"][..], &[]] {
        let done = world.run("admin", &[&["apply", "-f", files.as_str()], more].concat());
        done.fails(2, &["all.yaml", "my-endp1", "resources directory"]);
    }
    world.admin("online-endpoint show -n new-ep").fails(3, &["new-ep"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_with_a_code_and_out_again() {
    let world = World::start().await;
    run(world.nobody().args(["online-endpoint", "list"]))
        .fails(1, &["tried, in order", "scoregate login: nobody is logged in"]);
    let mut login =
        world.nobody().arg("login").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut errors = login.stderr.take().unwrap();
    let mut byte = [0];
    while !said.ends_with('\n') && errors.read(&mut byte).unwrap() == 1 {
        said.push(char::from(byte[0]));
    }
    let word = |after: &str| said.split(after).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(
            scoregate::identity::fetch::client_config(&PathBuf::from(world.get("/ca_file"))).unwrap(),
        )
        .no_proxy()
        .build()
        .unwrap();
    let form = [
        ("user_code", word("the code ")),
        ("principal", "scientist".to_owned()),
        ("action", "approve".to_owned()),
    ];
    assert!(http.post(word("open the page ")).form(&form).send().await.unwrap().status().is_success());
    let done = login.wait_with_output().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && out.starts_with("logged in as scientist@"), "{out}");

    let file = world.home().join(".config/scoregate/login.json");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let listed =
        run(world.nobody().args(["online-endpoint", "list", "--query", "[].name", "-o", "tsv", "--debug"]))
            .ok();
    assert_eq!(listed.out, "my-endp1\nmy-endp2\nmy-endp3\n");
    assert!(listed.errors.contains("-> 200 OK") && !listed.errors.contains("eyJ"), "{}", listed.errors);
    let request = world.request();
    run(world.nobody().args(["online-endpoint", "invoke", "-n", "my-endp1", "-r", &request])).ok();
    run(world.nobody().arg("logout")).ok();
    assert!(!file.exists());
    assert_eq!(run(world.nobody().args(["online-endpoint", "list"])).code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_says_what_to_do() {
    let world = World::start().await;
    let mut command = world.command("admin");
    command.args(["online-endpoint", "list"]);
    run(command.env("SCOREGATE_SERVER", "https://127.0.0.1:1"))
        .fails(1, &["https://127.0.0.1:1", "refused", "--server"]);
    run(world.command("admin").env_remove("SCOREGATE_CA_FILE").args(["online-endpoint", "list"]))
        .fails(1, &["--ca-file"]);
    run(world.command("admin").env("SCOREGATE_SERVER", "http://127.0.0.1:1").args(["export"]))
        .fails(2, &["https://"]);
    run(world.command("admin").env("AZURE_CLIENT_SECRET", "wrong").args(["export"]))
        .fails(1, &["environment: AADSTS"]);
    run(world.command("admin").env("SCOREGATE_TOKEN", "wrong").args(["export"]))
        .fails(1, &["(InvalidAuthenticationToken)", "status: 401"]);
    let outsider = world.object_id("outsider").to_owned();
    world.run("outsider", &["online-endpoint", "list"]).fails(1, &[&outsider, "role assignment create"]);
    world.admin("online-endpoint list --query [?").fails(2, &["--query"]);
    world.admin("online-endpoint list -w other").fails(1, &["no such workspace"]);
}

#[test]
fn the_help_of_every_client_command_has_examples() {
    let commands = [
        "apply",
        "export",
        "login",
        "completion",
        "online-endpoint create",
        "online-endpoint update",
        "online-endpoint show",
        "online-endpoint list",
        "online-endpoint delete",
        "online-endpoint invoke",
        "online-endpoint get-credentials",
        "online-endpoint regenerate-keys",
        "online-deployment create",
        "online-deployment update",
        "online-deployment show",
        "online-deployment list",
        "online-deployment delete",
        "online-deployment get-logs",
        "role assignment create",
        "role assignment list",
        "role assignment delete",
        "role definition create",
        "role definition update",
        "role definition list",
        "role definition show",
        "role definition delete",
        "auth can-i",
        "auth who-can",
        "auth why",
    ];
    for line in commands {
        let help = run(binary().args(line.split(' ')).arg("--help")).ok().out;
        assert!(help.contains("Examples:\n  ") && help.contains("scoregate"), "{line}\n{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(binary().args(["completion", shell])).ok().out;
        assert!(script.contains("online-deployment") && script.contains("regenerate-keys"), "{shell}");
    }
    run(binary().args(["completion", "tcsh"])).fails(2, &["bash"]);
    run(binary().args(["online-endpoint", "show"])).fails(2, &["--name"]);
}
