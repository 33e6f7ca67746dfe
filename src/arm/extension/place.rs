//! Where a data store is, for the kinds that Azure does not have: in YAML fields of the document, in ARM the entry
//! `scoregate.place` of the property bag.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::Fields;
use crate::forms::Form;
use crate::model::datastore::Place;

/// Kinds of data stores, by their words in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container of an Azure Blob account.
    Blob,
    /// A bucket that speaks S3.
    S3,
    /// A directory.
    Directory,
    /// Files below an address.
    Https,
}

/// The words for kinds.
pub const KINDS: [(&str, Kind); 4] = [
    ("azure_blob", Kind::Blob),
    ("s3", Kind::S3),
    ("local_directory", Kind::Directory),
    ("https", Kind::Https),
];

/// The suffix of Azure's storage in the public cloud.
pub const AZURES: &str = "core.windows.net";

/// Reads a place whose kind stands under `key`; a relative directory starts at `base`.
pub fn read(form: &Form<'_>, key: &'static str, base: &Path) -> Option<Place> {
    let kind = form
        .one_of(key, "What the store is.", &KINDS)
        .required("azure_blob, s3, local_directory or https")?;
    match kind {
        Kind::Blob => {
            let account = form.value::<String>("account_name", "The account.");
            let account = account.required("name the storage account");
            let container = form.value::<String>("container_name", "The container.");
            let container = container.required("name the container");
            let endpoint = form.value("endpoint", "Suffix of the cloud, or the service's whole address.");
            let endpoint: String = endpoint.or_else(|| AZURES.to_owned());
            let protocol = form.value("protocol", "https or http.").or_else(|| "https".to_owned());
            let words = ["account_name", "container_name", "endpoint", "protocol"];
            blob(form, words, [&account?, &container?, &endpoint, &protocol])
        }
        Kind::S3 => {
            let region = form.value::<String>("region", "The region.").required("such as eu-central-1");
            let bucket = form.value::<String>("bucket", "The bucket.").required("name the bucket");
            let endpoint =
                form.value::<String>("endpoint", "The service's address; Amazon's of the region if not set.");
            let endpoint =
                endpoint.optional().map(|text| address(form, "endpoint", &text, &["https", "http"]));
            let plain = |text: &str, more: &str| {
                let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
                (1..=63).contains(&text.len()) && text.chars().all(fits)
            };
            let (region, bucket) = (region?, bucket?);
            if !plain(&region, "-") {
                form.wrong("region", format!("`{region}` is no region"), Some("such as eu-central-1"));
            }
            if bucket.len() < 3 || !plain(&bucket, "-.") || bucket.contains("..") {
                let hint = "3 to 63 lower-case letters, digits, dots and dashes";
                form.wrong("bucket", format!("`{bucket}` is no bucket's name"), Some(hint));
            }
            let endpoint = match endpoint {
                Some(endpoint) => Some(endpoint?),
                None => None,
            };
            Some(Place::S3 { endpoint, region, bucket })
        }
        Kind::Directory => {
            let path = form.value::<PathBuf>("path", "The directory.").required("such as /srv/data")?;
            let path = base.join(path);
            let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            if !path.is_absolute() || !path.components().all(plain) {
                let hint = "write an absolute path without `..`";
                form.wrong("path", format!("`{}` has more than one reading", path.display()), Some(hint));
            }
            Some(Place::Directory { path: path.components().collect() })
        }
        Kind::Https => {
            let base = form.value::<String>("base", "The address that paths begin at.");
            let base = base.required("such as https://data.example.com/heart")?;
            Some(Place::Https { base: address(form, "base", &base, &["https"])? })
        }
    }
}

/// Takes the place out of a property bag, if it stands there.
pub fn take(form: &Form<'_>, bag: &mut BTreeMap<String, String>) -> Option<Place> {
    super::take(form, bag, &Fields::new(), |f| {
        let doc = "Where the store is, if it is none of Azure's.";
        f.optional_section("place", doc, |place| read(place, "kind", Path::new("/"))).flatten()
    })
}

/// Puts a place into a property bag.
pub fn put(bag: &mut BTreeMap<String, String>, place: &Place) {
    let fields = [("place".to_owned(), Value::Object(write(place, "kind")))];
    super::put(bag, fields.into_iter().collect(), false);
}

/// A container of an Azure Blob account, by account, container, endpoint and protocol, which have these names in the
/// form. An endpoint is the suffix of a cloud's names, or the whole address of a service that has none such.
pub fn blob(
    form: &Form<'_>,
    [account_key, container_key, endpoint_key, protocol_key]: [&'static str; 4],
    [account, container, endpoint, protocol]: [&str; 4],
) -> Option<Place> {
    let letters = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !(3..=24).contains(&account.len()) || !letters(account) {
        let hint = "3 to 24 lower-case letters and digits";
        form.wrong(account_key, format!("`{account}` is no storage account's name"), Some(hint));
    }
    let plain = container.strip_prefix('$').unwrap_or(container).replace('-', "");
    if !(3..=63).contains(&container.len()) || !letters(&plain) || container.contains("--") {
        let hint = "3 to 63 lower-case letters, digits and single dashes";
        form.wrong(container_key, format!("`{container}` is no container's name"), Some(hint));
    }
    let protocol = protocol.to_ascii_lowercase();
    if !["https", "http"].contains(&protocol.as_str()) {
        form.wrong(protocol_key, format!("`{protocol}` is neither https nor http"), None);
        return None;
    }
    let whole = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("{protocol}://{account}.blob.{endpoint}")
    };
    let service = address(form, endpoint_key, &whole, &["https", "http"])?;
    Some(Place::Blob { service, account: account.to_owned(), container: container.to_owned() })
}

/// Endpoint and protocol of a container as they are written; what [`blob`] reads.
pub fn written_blob(service: &str, account: &str) -> (String, String) {
    let (protocol, rest) = service.split_once("://").unwrap_or(("https", service));
    let suffix = rest.strip_prefix(account).and_then(|rest| rest.strip_prefix(".blob."));
    (suffix.map_or_else(|| service.to_owned(), str::to_owned), protocol.to_owned())
}

/// An address with one of these schemes, without anything that could hide where it leads, and without a slash at its end.
fn address(form: &Form<'_>, key: &'static str, text: &str, schemes: &[&str]) -> Option<String> {
    let plain = text.trim_end_matches('/');
    let uri: Option<http::Uri> = plain.parse().ok();
    let sound = uri.is_some_and(|uri| {
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
            && !authority.is_empty()
            && !uri.host().unwrap_or_default().ends_with('.')
            && !authority.contains('@')
            && uri.query().is_none()
            && !plain.contains(['#', '\\', '%'])
            && uri.path().split('/').all(|segment| segment != "." && segment != "..")
    });
    if sound {
        return Some(plain.to_owned());
    }
    let shown: String = text.chars().take(120).collect();
    let hint = format!("write {}://host/path without user, query or fragment", schemes.join(":// or "));
    form.wrong(key, format!("`{shown}` is no such address"), Some(&hint));
    None
}

/// A place as it is written, its kind under `key`. The workspace's own store has no path of anybody's concern.
pub fn write(place: &Place, key: &str) -> Fields {
    let fields = match place {
        Place::Directory { path } if path.as_os_str().is_empty() => json!({}),
        Place::Directory { path } => json!({ "path": path }),
        Place::Blob { service, account, container } => {
            let (endpoint, protocol) = written_blob(service, account);
            let mut fields = json!({"account_name": account, "container_name": container});
            if let Value::Object(fields) = &mut fields {
                if endpoint != AZURES {
                    fields.insert("endpoint".to_owned(), json!(endpoint));
                }
                if protocol != "https" {
                    fields.insert("protocol".to_owned(), json!(protocol));
                }
            }
            fields
        }
        Place::S3 { endpoint: Some(endpoint), region, bucket } => {
            json!({"endpoint": endpoint, "region": region, "bucket": bucket})
        }
        Place::S3 { endpoint: None, region, bucket } => json!({"region": region, "bucket": bucket}),
        Place::Https { base } => json!({ "base": base }),
    };
    let mut written = Fields::new();
    written.insert(key.to_owned(), json!(place.kind()));
    if let Value::Object(fields) = fields {
        written.extend(fields);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{Reading, parse_all};

    fn read_text(text: &str) -> Result<Place, String> {
        let nodes = parse_all("f", text).unwrap();
        let reading = Reading::of("f");
        let form = reading.form(nodes.first());
        let place = read(&form, "kind", Path::new("/srv"));
        form.close();
        let mistakes: Vec<String> = reading.finish().iter().map(ToString::to_string).collect();
        if mistakes.is_empty() { Ok(place.unwrap()) } else { Err(mistakes.join("\n")) }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "{kind: azure_blob, account_name: heart, container_name: in-put}",
            "{kind: azure_blob, account_name: heart, container_name: $web, endpoint: core.chinacloudapi.cn}",
            "{kind: azure_blob, account_name: devstoreaccount1, container_name: abc, endpoint: 'http://127.0.0.1:10000/devstoreaccount1', protocol: http}",
            "{kind: azure_blob, account_name: heart, container_name: abc, protocol: http}",
            "{kind: s3, region: eu-central-1, bucket: heart.data}",
            "{kind: s3, endpoint: 'http://127.0.0.1:8333', region: us-east-1, bucket: heart}",
            "{kind: local_directory, path: /srv/data}",
            "{kind: https, base: 'https://data.example.com/heart'}",
        ] {
            let place = read_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let written = Value::Object(write(&place, "kind")).to_string();
            assert_eq!(read_text(&written).as_ref(), Ok(&place), "{written}");
        }
        let blob = read_text("{kind: azure_blob, account_name: heart, container_name: abc}").unwrap();
        let service = "https://heart.blob.core.windows.net".to_owned();
        assert_eq!(blob, Place::Blob { service, account: "heart".into(), container: "abc".into() });
        let beside = read_text("{kind: local_directory, path: data/}").unwrap();
        assert_eq!(beside, Place::Directory { path: "/srv/data".into() });
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        for text in [
            "{}",
            "{kind: azure_file}",
            "{kind: azure_blob}",
            "{kind: azure_blob, account_name: He, container_name: abc}",
            "{kind: azure_blob, account_name: heart, container_name: a--b}",
            "{kind: azure_blob, account_name: heart, container_name: abc, endpoint: 'x/../y'}",
            "{kind: azure_blob, account_name: heart, container_name: abc, endpoint: 'evil.example#'}",
            "{kind: azure_blob, account_name: heart, container_name: abc, protocol: ftp}",
            "{kind: azure_blob, account_name: heart, container_name: abc, bucket: b}",
            "{kind: azure_blob, account_name: heart, container_name: abc, endpoint: ''}",
            "{kind: s3, bucket: heart}",
            "{kind: s3, region: x_y, bucket: heart}",
            "{kind: s3, region: r, bucket: ../heart}",
            "{kind: s3, region: r, bucket: heart, endpoint: 'file:///etc'}",
            "{kind: local_directory}",
            "{kind: local_directory, path: /srv/../etc}",
            "{kind: https, base: 'http://data.example.com'}",
            "{kind: https, base: 'https://user@data.example.com'}",
            "{kind: https, base: 'https://data.example.com/?sig=x'}",
            "{kind: https, base: 'https://data.example.com/a/../b'}",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
