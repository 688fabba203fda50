//! What a re-read configuration changes.

use super::Config;
use serde_json::Value;

/// Sections that a running daemon takes over.
const LIVE: [&str; 5] = ["ipvs", "log", "next_hop", "local_address", "mark"];

/// The difference between the configuration in force and a newly read one. Keys are written with their section:
/// `ipvs.drop_entry`, `nic_port[1].mtu`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReloadDiff {
    /// Changed keys that a SIGHUP puts in force.
    pub live: Vec<String>,
    /// Changed keys that wait for a restart.
    pub needs_restart: Vec<String>,
}

impl Config {
    /// What differs from `old`.
    #[must_use]
    pub fn reload_diff(&self, old: &Config) -> ReloadDiff {
        let mut diff = ReloadDiff::default();
        let sections = |config: &Config| match serde_json::to_value(config) {
            Ok(Value::Object(sections)) => sections,
            _ => serde_json::Map::new(),
        };
        let (new, old) = (sections(self), sections(old));
        for (name, section) in &new {
            let keys = if LIVE.contains(&name.as_str()) { &mut diff.live } else { &mut diff.needs_restart };
            compare(name, old.get(name).unwrap_or(&Value::Null), section, keys);
        }
        diff
    }
}

fn compare(path: &str, old: &Value, new: &Value, changed: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                compare(&format!("{path}.{key}"), old.get(key).unwrap_or(&Value::Null), value, changed);
            }
        }
        // Tables of an array are compared one by one; lists of plain values as a whole.
        (Value::Array(old), Value::Array(new))
            if old.iter().chain(new).all(Value::is_object) && old.len() == new.len() =>
        {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{}]", index + 1), old, new, changed);
            }
        }
        _ if old != new => changed.push(path.to_owned()),
        _ => {}
    }
}
