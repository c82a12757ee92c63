//! Every configuration key, with the kind of value it takes. What is not here does not exist.

use super::{deployments, limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Switch,
    /// A list of texts, or one text; separated by commas where it comes as one word.
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
}

pub const LISTEN: &str = "listen";
pub const ADMIN_LISTEN: &str = "admin_listen";
pub const DATA_DIR: &str = "data_dir";
pub const REGISTRY: &str = "registry";
pub const REGISTRY_LISTEN: &str = "registry_listen";
pub const MASTER_KEY_FILE: &str = "master_key_file";
pub const TLS_CERTIFICATE: &str = "tls.certificate";
pub const TLS_KEY: &str = "tls.key";
pub const EGRESS_ALLOW: &str = "egress.allow";
pub const EGRESS_ALLOW_PRIVATE: &str = "egress.allow_private";
pub const EGRESS_ALLOW_PLAINTEXT: &str = "egress.allow_plaintext";
pub const ACCESS_LOG: &str = "access_log";
pub const CORS_ALLOW_ORIGINS: &str = "cors.allow_origins";
pub const UPSTREAM_CA: &str = "upstream_ca";
pub const THREADS: &str = "threads";
pub const SECRETS_ACCESS: &str = "secrets.access";
pub const FILES_FILE_BYTES_MAX: &str = "files.file_bytes_max";
pub const TOOL_CALL_PLUGINS: &str = "deployments.tool_call_plugins";
pub const REGISTRIES: &str = "deployments.registries";
pub const RUNTIME: &str = "runtime";
pub const DOCKER_HOST: &str = "docker.host";
pub const INSECURE_NO_AUTH: &str = "insecure_no_auth";

const PLAIN: &[Key] = &[
    Key { name: LISTEN, kind: Kind::List },
    Key { name: ADMIN_LISTEN, kind: Kind::Text },
    Key { name: DATA_DIR, kind: Kind::Text },
    Key { name: REGISTRY, kind: Kind::Text },
    Key { name: REGISTRY_LISTEN, kind: Kind::Text },
    Key { name: MASTER_KEY_FILE, kind: Kind::Text },
    Key { name: ACCESS_LOG, kind: Kind::Text },
    Key { name: UPSTREAM_CA, kind: Kind::Text },
    Key { name: THREADS, kind: Kind::Number },
    Key { name: RUNTIME, kind: Kind::Text },
    Key { name: INSECURE_NO_AUTH, kind: Kind::Switch },
    Key { name: TLS_CERTIFICATE, kind: Kind::Text },
    Key { name: TLS_KEY, kind: Kind::Text },
    Key { name: CORS_ALLOW_ORIGINS, kind: Kind::List },
    Key { name: EGRESS_ALLOW, kind: Kind::List },
    Key { name: EGRESS_ALLOW_PRIVATE, kind: Kind::Switch },
    Key { name: EGRESS_ALLOW_PLAINTEXT, kind: Kind::Switch },
    Key { name: SECRETS_ACCESS, kind: Kind::Switch },
    Key { name: FILES_FILE_BYTES_MAX, kind: Kind::Number },
    Key { name: TOOL_CALL_PLUGINS, kind: Kind::Switch },
    Key { name: REGISTRIES, kind: Kind::List },
    Key { name: DOCKER_HOST, kind: Kind::Text },
];

/// All keys: those without a section first, as a TOML file needs them.
pub fn all() -> impl Iterator<Item = Key> {
    let rows = deployments::ROWS.iter().map(|row| row.key).chain(limits::ROWS.iter().map(|row| row.key));
    PLAIN.iter().copied().chain(rows.map(|name| Key { name, kind: Kind::Number }))
}

pub fn find(name: &str) -> Option<Key> {
    all().find(|key| key.name == name)
}

/// `limits.head_bytes_max` is `NIMGATE_LIMITS_HEAD_BYTES_MAX` in the environment.
pub fn variable(key: &str) -> String {
    format!("NIMGATE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The known key that was probably meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let distance = |known: &str| edits(name.as_bytes(), known.as_bytes());
    let best = all().map(|key| (distance(key.name), key.name)).min()?;
    (best.0 <= 3 && best.0 * 3 <= name.len()).then_some(best.1)
}

/// Levenshtein distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_name_or_a_variable() {
        let names: BTreeSet<_> = all().map(|key| key.name).collect();
        let variables: BTreeSet<_> = all().map(|key| variable(key.name)).collect();
        assert_eq!(names.len(), all().count());
        assert_eq!(variables.len(), all().count());
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        assert_eq!(nearest("lisen"), Some(LISTEN));
        assert_eq!(nearest("limits.head_byte_max"), Some("limits.head_bytes_max"));
        assert_eq!(nearest("colour"), None);
    }
}
