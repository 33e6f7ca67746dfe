use super::*;

fn parse(text: &str) -> Result<Settings, Mistakes> {
    Settings::parse("scoregate.yaml", text, Path::new("/etc/scoregate"), std::iter::empty())
}

#[test]
fn a_listener_that_would_take_tokens_in_clear_text_is_refused() {
    let mistakes = parse("").unwrap_err().to_string();
    assert!(
        mistakes.contains("data_plane.listen: 0.0.0.0:8080 would take tokens and keys in clear text"),
        "{mistakes}"
    );
    assert!(parse("data_plane: {insecure_listener: true}").is_ok());
    assert!(parse("data_plane: {listen: '127.0.0.1:0'}").is_ok());
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = parse("data_plane: {listen: '127.0.0.1:8080'}").unwrap();
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.admin.to_string(), "127.0.0.1:9090");
    assert_eq!(settings.store, StoreUrl::Sqlite("/var/lib/scoregate/scoregate.db".into()));
    assert_eq!(settings.workspaces.len(), 1);
    assert!(settings.identity.data_audiences.contains(&"https://ml.azure.com".to_owned()));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "\
data_plane:
  listen: 127.0.0.1
  base_domian: x
  unauthorized_status: 402
admin: {listen: 9090}
store: mysql://x
identity:
  entra:
    - {authority: 'http://login.example', tenants: [abc]}
  issuers: [{audiences: [a]}]
limits: {request_body: 0, drain: 30}
nonsense: 1
";
    let mistakes = parse(text).unwrap_err();
    let text = mistakes.to_string();
    for expected in [
        "scoregate.yaml:2:11: data_plane.listen: `127.0.0.1` is not an address and port",
        "scoregate.yaml:3:3: data_plane.base_domian: no field has this name",
        "did you mean `base_domain`?",
        "scoregate.yaml:4:24: data_plane.unauthorized_status: `402` is not one of 403, 401",
        "scoregate.yaml:5:17: admin.listen: `9090` is not an address and port",
        "scoregate.yaml:6:8: store: `mysql://x` is not a store",
        "scoregate.yaml:9:19: identity.entra[0].authority: `http://login.example` is not https",
        "scoregate.yaml:9:53: identity.entra[0].tenants: `abc` is not a GUID",
        "identity.issuers[0].issuer: is missing",
        "scoregate.yaml:11:24: limits.request_body: 0 is not between",
        "scoregate.yaml:11:34: limits.drain: `30` is not a duration",
        "scoregate.yaml:12:1: nonsense: no field has this name",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n{text}");
    }
}

#[test]
fn the_example_files_are_right_and_the_schema_is_the_golden_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["config/scoregate.yaml", "config/sidecar.yaml"] {
        Settings::load(&root.join(file), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    }
    let schema = format!("{:#}\n", Settings::schema());
    let golden = root.join("config/schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &schema).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(golden).unwrap(),
        schema,
        "run with UPDATE_GOLDEN=1 and review the difference"
    );
}

#[test]
fn store_paths_are_relative_to_the_file() {
    let store = |url: &str| {
        parse(&format!("{{data_plane: {{listen: '127.0.0.1:1'}}, store: '{url}'}}")).unwrap().store
    };
    assert_eq!(store("sqlite://data/s.db"), StoreUrl::Sqlite("/etc/scoregate/data/s.db".into()));
    assert_eq!(store("sqlite:///data/s.db"), StoreUrl::Sqlite("/data/s.db".into()));
    assert_eq!(store("memory"), StoreUrl::Memory);
}

#[test]
fn gateways_that_share_a_store_have_a_directory_and_a_master_key() {
    let with = |more: &str| parse(&format!("data_plane: {{listen: '127.0.0.1:1'}}\n{more}"));
    let postgres = "store: 'postgres://me:sesame@db/gate'";
    let mistakes = with(postgres).unwrap_err().to_string();
    assert!(mistakes.contains("master_key.file: is missing") && !mistakes.contains("sesame"), "{mistakes}");
    let settings = with(&format!("{postgres}\nmaster_key: {{file: m.key}}")).unwrap();
    assert_eq!(settings.directory(), Some(Path::new("/var/lib/scoregate")));
    assert!(!format!("{settings:?}").contains("sesame"));
    let given = format!("{postgres}\nmaster_key: {{file: m.key}}\ndata_directory: own");
    assert_eq!(with(&given).unwrap().directory(), Some(Path::new("/etc/scoregate/own")));
    let beside = with("store: sqlite:///data/s.db").unwrap();
    assert_eq!(beside.directory(), Some(Path::new("/data")));
    assert_eq!(with("store: memory").unwrap().directory(), None);
    let mistakes = with("store: memory\ndata_directory: own").unwrap_err().to_string();
    assert!(mistakes.contains("data_directory: is only for a PostgreSQL store"), "{mistakes}");
}
