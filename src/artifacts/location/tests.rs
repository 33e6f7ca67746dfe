use super::*;

const WORKSPACE: &str =
    "/subscriptions/S1/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/ws";

fn parse(text: &str) -> Result<Location, LocationError> {
    let workspace = WorkspaceRef {
        subscription: "s1".to_owned(),
        resource_group: "rg".to_owned(),
        name: "ws".to_owned(),
    };
    Location::parse(text, &workspace)
}

fn store(text: &str) -> (String, String) {
    match parse(text) {
        Ok(Location::Store { name, path, .. }) => (name.to_string(), path),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_documented_forms_name_a_store_and_a_path() {
    for form in [
        "azureml://datastores/Data/paths/heart/rows.csv",
        "AzureML://DataStores/data/Paths/heart/rows.csv",
        "azureml://subscriptions/s1/resourcegroups/rg/workspaces/ws/datastores/data/paths/heart/rows.csv",
        "azureml://subscriptions/s1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws/datastores/data/paths/heart/rows.csv",
        &format!("{WORKSPACE}/datastores/data/paths/heart/rows.csv"),
        &format!("azureml:{WORKSPACE}/datastores/data/paths/heart/rows.csv").replace("RG", "rg"),
        &format!("{}/datastores/data/paths/heart/rows.csv", WORKSPACE.to_ascii_lowercase()),
        &format!("{}/DATASTORES/DATA/PATHS/heart/rows.csv", WORKSPACE.to_ascii_uppercase()),
    ] {
        assert_eq!(store(form), ("data".to_owned(), "heart/rows.csv".to_owned()), "{form}");
    }
    for (form, path) in [
        ("azureml://datastores/d/paths/", ""),
        ("azureml://datastores/d/paths", ""),
        ("azureml://datastores/d/paths/heart/", "heart"),
        ("azureml://datastores/d/paths/my data/ä.csv", "my data/ä.csv"),
        ("azureml://datastores/d/paths/my%20data/%C3%A4%25.csv", "my data/ä%.csv"),
        ("azureml://datastores/d/paths/a%23b%3F", "a#b?"),
        ("azureml://datastores/d/paths/..a/b..c/...", "..a/b..c/..."),
    ] {
        assert_eq!(store(form).1, path, "{form}");
        let shown = parse(form).unwrap().to_string();
        assert_eq!(parse(&shown).unwrap(), parse(form).unwrap(), "{shown}");
    }
}

#[test]
fn what_has_two_readings_is_refused() {
    for path in [
        "..",
        "a/..",
        "../a",
        "a/../b",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "/a",
        "a//",
        "%2e%2e/a",
        "%2E./a",
        ".%2e",
        "a%2fb",
        "a%2Fb",
        "a%5cb",
        "a\\b",
        "..\\a",
        "a%00b",
        "a%0ab",
        "a\u{0}b",
        "a\nb",
        "a\u{7f}",
        "a%7f",
        "a%c2%85b",
        "a%252e",
        "a%252fb",
        "a%25%32%66b",
        "a%",
        "a%g0",
        "a%2",
        "a%ff",
        "a%c0%af",
        "a?b",
        "a#b",
    ] {
        let refused = parse(&format!("azureml://datastores/d/paths/{path}"));
        assert!(matches!(refused, Err(LocationError::Path(_))), "{path}: {refused:?}");
        let refused = parse(&format!("{WORKSPACE}/datastores/d/paths/{path}"));
        assert!(matches!(refused, Err(LocationError::Path(_))), "{path}: {refused:?}");
    }
    assert!(parse(&format!("azureml://datastores/d/paths/{}", "a".repeat(1025))).is_err());
    assert!(parse(&"a".repeat(9000)).is_err() && parse("").is_err());
}

#[test]
fn what_is_not_kept_here_says_what_to_write() {
    for (text, wanted) in [
        ("azureml:heart:1", LocationError::Asset),
        ("azureml:heart@latest", LocationError::Asset),
        ("azureml://locations/x/workspaces/y/data/heart/versions/1", LocationError::Asset),
        ("azureml://registries/r/data/heart/versions/1", LocationError::Asset),
        (&format!("{WORKSPACE}/data/heart/versions/1"), LocationError::Asset),
        ("./data", LocationError::Local),
        ("/etc/passwd", LocationError::Local),
        ("data/heart.csv", LocationError::Local),
        (r"C:\data", LocationError::Local),
        (r"\\server\share", LocationError::Local),
        ("file:///etc/passwd", LocationError::Scheme("file".to_owned())),
        ("FILE:/etc/passwd", LocationError::Scheme("file".to_owned())),
        ("data:text/csv,a", LocationError::Scheme("data".to_owned())),
        ("s3://bucket/key", LocationError::Scheme("s3".to_owned())),
        ("wasbs://c@a.blob.core.windows.net/x", LocationError::Scheme("wasbs".to_owned())),
        ("abfss://c@a.dfs.core.windows.net/x", LocationError::Scheme("abfss".to_owned())),
        ("ftp://host/x", LocationError::Scheme("ftp".to_owned())),
        ("https:/host/x", LocationError::Scheme("https".to_owned())),
        ("https:host/x", LocationError::Scheme("https".to_owned())),
    ] {
        assert_eq!(parse(text), Err(wanted), "{text}");
    }
    let other = WORKSPACE.replace("ws", "other");
    assert_eq!(parse(&format!("{other}/datastores/d/paths/a")), Err(LocationError::OtherWorkspace));
    for shape in [
        "azureml://datastores/d",
        "azureml://datastores/d/heart",
        "azureml://x",
        "/subscriptions/s1",
        &format!("{WORKSPACE}/jobs/d/paths/a"),
    ] {
        assert!(matches!(parse(shape), Err(LocationError::Shape(_))), "{shape}: {:?}", parse(shape));
    }
    assert!(matches!(parse("azureml://datastores/a b/paths/c"), Err(LocationError::Store(_))));
}

#[test]
fn an_address_is_written_the_plain_way() {
    for good in [
        "https://data.example.com/heart.csv",
        "HTTPS://Data.Example.com/heart.csv",
        "https://data.example.com:443/heart.csv",
        "https://data.example.com:8443/a/b.csv?sig=a%2Fb&x=/../",
        "https://data.example.com/%C3%A4.csv",
        "https://data.example.com",
        "http://data.example.com/a",
        "https://127.0.0.1/a",
        "https://[::1]/a",
    ] {
        assert!(matches!(parse(good), Ok(Location::Https(_))), "{good}: {:?}", parse(good));
    }
    for bad in [
        "https://user@host/a",
        "https://user:pw@host/a",
        "https://@host/a",
        "https://host.",
        "https://host./a",
        "https:///host/a",
        "https://",
        "https://host\\@evil/a",
        "https://host/a\\b",
        "https:\\\\host/a",
        "https://ho st/a",
        "https://host/a b",
        "https://h%6fst/a",
        "https://host%2eevil/a",
        "https://host%00/a",
        "https://host:0x50/a",
        "https://host:99999/a",
        "https://host:/a",
        "https://host:080/a",
        "https://2130706433/a",
        "https://0x7f000001/a",
        "https://0x7f.1/a",
        "https://0177.0.0.1/a",
        "https://127.1/a",
        "https://127.0.1/a",
        "https://127.0.0.1./a",
        "https://127.000.000.001/a",
        "https://[0:0:0:0:0:0:0:1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://[::1%25eth0]/a",
        "https://ｈost/a",
        "https://hоst/a",
        "https://host。evil/a",
        "https://①②⑦.0.0.1/a",
        "https://host/../a",
        "https://host/a/..",
        "https://host/%2e%2e/a",
        "https://host/a%2fb",
        "https://host//a",
        "https://host/a#b",
        "https://host/a%00",
        "https://host/ä",
    ] {
        assert!(parse(bad).is_err(), "{bad}: {:?}", parse(bad));
    }
}

#[test]
fn a_signature_is_never_shown() {
    let Ok(Location::Https(address)) = parse("https://data.example.com/a/heart%20x.csv?sv=1&sig=SECRET")
    else {
        panic!("an address")
    };
    let shown = format!("{address} {address:?} {}", Location::Https(address.clone()));
    assert!(!shown.contains("SECRET") && shown.contains("data.example.com/a/heart%20x.csv"), "{shown}");
    assert_eq!(address.file_name(), "heart x.csv");
    let refused = parse("https://u@data.example.com/a?sig=SECRET").unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("SECRET"));
}
