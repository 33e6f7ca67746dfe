//! What a running gateway cannot change: sockets, threads, the store, and what was made once from a limit.

use super::Settings;

/// What ends the description of such a field in the schema.
#[cfg(test)]
const SAID: &str = "Needs a restart.";

impl Settings {
    /// The fields of another configuration that differ and that need a restart.
    pub fn needs_restart(&self, next: &Settings) -> Vec<&'static str> {
        let pairs = self.fixed().into_iter().zip(next.fixed());
        pairs.filter(|(now, next)| now != next).map(|((name, _), _)| name).collect()
    }

    fn fixed(&self) -> Vec<(&'static str, String)> {
        macro_rules! fields {
            ($($name:literal: $value:expr,)*) => { vec![$(($name, format!("{:?}", $value)),)*] };
        }
        fields! {
            "data_plane.listen": self.data_plane.listen,
            "data_plane.layout": self.data_plane.layout,
            "data_plane.workers": self.data_plane.workers,
            "control_plane.listen": self.control_plane.listen,
            "control_plane.public_url": self.control_plane.public_url,
            "control_plane.tls": self.control_plane.tls,
            "admin.listen": self.admin,
            "store": self.store.whole(),
            "data_directory": self.data_directory,
            "master_key.file": self.master_key,
            "limits.requests_per_endpoint": self.limits.requests_per_endpoint,
            "limits.eject_window": self.limits.eject_window,
            "limits.dns_refresh": self.limits.dns_refresh,
            "limits.restart_pause": self.limits.restart_pause,
            "limits.restart_pause_max": self.limits.restart_pause_max,
            "limits.process_stop": self.limits.process_stop,
            "limits.instance_output": self.limits.instance_output,
            "limits.store_connections": self.limits.store_connections,
            "limits.store_time": self.limits.store_time,
            "limits.snapshot_max_age": self.limits.snapshot_max_age,
            "limits.explained_requests": self.limits.explained_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn parse(text: &str) -> Settings {
        let text = format!("data_plane: {{ listen: '127.0.0.1:1', workers: 1 }}\n{text}");
        Settings::parse("f", &text, Path::new("/"), std::iter::empty()).unwrap()
    }

    /// Every field whose description says so.
    fn said(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        if schema["description"].as_str().is_some_and(|text| text.ends_with(SAID)) {
            found.insert(path.trim_start_matches('.').to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            said(field, &format!("{path}.{name}"), found);
        }
    }

    #[test]
    fn the_schema_says_which_fields_need_a_restart() {
        let mut found = BTreeSet::new();
        said(&Settings::schema(), "", &mut found);
        let fixed: BTreeSet<_> = parse("").fixed().into_iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(found, fixed);
    }

    #[test]
    fn only_what_differs_is_told() {
        let now = parse("limits: { dns_refresh: 5s, drain: 1s }");
        assert_eq!(now.needs_restart(&now), [""; 0]);
        assert_eq!(now.needs_restart(&parse("limits: { dns_refresh: 5s, drain: 2s }")), [""; 0]);
        let next = parse("limits: { dns_refresh: 2s }\nstore: memory\nadmin: { listen: '127.0.0.1:5' }");
        assert_eq!(now.needs_restart(&next), ["admin.listen", "store", "limits.dns_refresh"]);
        let postgres = |password: &str| {
            parse(&format!("store: 'postgres://me:{password}@db/gate'\nmaster_key: {{ file: m.key }}"))
        };
        assert_eq!(postgres("a").needs_restart(&postgres("b")), ["store"]);
        let next = parse("control_plane: { tls: { certificate: a, private_key: b } }");
        assert_eq!(now.needs_restart(&next), ["control_plane.tls", "limits.dns_refresh"][..1]);
    }
}
