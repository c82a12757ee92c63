//! The effective configuration as a TOML file, each value with where it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use gateway::{AccessLog, RegistryAddress};
use proto_shared::egress::EgressRule;
use registry::{RuntimeChoice, SecretAccess, ToolCallPlugins};

use super::layers::Source;
use super::settings::Settings;
use super::{deployments, keys, limits};

/// A file that, read back, gives the same settings.
pub fn effective(settings: &Settings, sources: &BTreeMap<&'static str, Source>) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in keys::all() {
        let Some(value) = value_of(settings, key.name) else { continue };
        let (prefix, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if prefix != section {
            section = prefix;
            let _ = write!(out, "\n[{section}]\n");
        }
        let source = sources.get(key.name).map_or_else(|| "default".to_owned(), ToString::to_string);
        let _ = writeln!(out, "{:<48} # {source}", format!("{name} = {value}"));
    }
    out.push_str(&declared(settings));
    out
}

/// The lists, as they were written.
fn declared(settings: &Settings) -> String {
    let lists = settings.declared.written().into_iter().filter(|(_, tables)| !tables.is_empty());
    let shown = lists.map(|(list, tables)| {
        let tables = tables.into_iter().map(|table| toml::Value::Table(table.clone())).collect();
        format!("\n{}", toml::Table::from_iter([(list.to_owned(), toml::Value::Array(tables))]))
    });
    shown.collect()
}

fn value_of(settings: &Settings, key: &str) -> Option<toml::Value> {
    let text = |value: String| Some(toml::Value::String(value));
    let path = |path: &Path| Some(toml::Value::String(path.display().to_string()));
    match key {
        keys::LISTEN => Some(list(settings.listen.iter().map(ToString::to_string))),
        keys::ADMIN_LISTEN => text(settings.admin_listen.to_string()),
        keys::DATA_DIR => path(&settings.data_dir),
        keys::REGISTRY => match &settings.registry {
            RegistryAddress::Unix(socket) => path(socket),
            RegistryAddress::Tcp(address) => text(format!("http://{address}")),
        },
        keys::REGISTRY_LISTEN => text(settings.registry_listen.to_string()),
        keys::MASTER_KEY_FILE => path(settings.master_key_file.as_deref()?),
        keys::TLS_CERTIFICATE => path(&settings.tls.as_ref()?.certificate),
        keys::TLS_KEY => path(&settings.tls.as_ref()?.key),
        keys::CORS_ALLOW_ORIGINS => Some(list(settings.cors.0.iter().map(ToString::to_string))),
        keys::EGRESS_ALLOW => Some(list(settings.egress.allow.iter().map(rule_text))),
        keys::EGRESS_ALLOW_PRIVATE => Some(settings.egress.allow_private.into()),
        keys::EGRESS_ALLOW_PLAINTEXT => Some(settings.egress.allow_plaintext.into()),
        keys::ACCESS_LOG => text(access_log_text(settings.access_log).to_owned()),
        keys::UPSTREAM_CA => path(settings.upstream_ca.as_deref()?),
        keys::THREADS => Some(integer(settings.threads.get() as u64)),
        keys::SECRETS_ACCESS => Some((settings.secret_access == SecretAccess::Loopback).into()),
        keys::FILES_FILE_BYTES_MAX => Some(integer(settings.file_bytes_max)),
        keys::TOOL_CALL_PLUGINS => Some((settings.tool_call_plugins == ToolCallPlugins::Allowed).into()),
        keys::REGISTRIES => Some(list(settings.registries.iter().map(ToString::to_string))),
        keys::RUNTIME => text(runtime_text(settings.runtime).to_owned()),
        keys::DOCKER_HOST => text(settings.docker_host.clone()?),
        keys::INSECURE_NO_AUTH => Some(settings.insecure_no_auth.into()),
        _ => {
            let limit = limits::ROWS.iter().find(|row| row.key == key).map(|row| (row.get)(&settings.limits));
            let of_deployments = deployments::ROWS.iter().find(|row| row.key == key);
            limit.or_else(|| of_deployments.map(|row| (row.get)(&settings.deployments))).map(integer)
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> toml::Value {
    toml::Value::Array(items.map(toml::Value::String).collect())
}

fn integer(n: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn rule_text(rule: &EgressRule) -> String {
    match rule {
        EgressRule::Network { address, prefix_bits } => format!("{address}/{prefix_bits}"),
        EgressRule::Name(name) => name.clone(),
    }
}

fn runtime_text(runtime: RuntimeChoice) -> &'static str {
    match runtime {
        RuntimeChoice::Auto | RuntimeChoice::Containers => "auto",
        RuntimeChoice::Docker => "docker",
        RuntimeChoice::Process => "process",
        RuntimeChoice::None => "none",
    }
}

fn access_log_text(log: AccessLog) -> &'static str {
    match log {
        AccessLog::Off => "off",
        AccessLog::Stdout => "stdout",
        AccessLog::Stderr => "stderr",
    }
}
