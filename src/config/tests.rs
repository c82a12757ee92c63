//! The configuration, as its users see it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gateway::RegistryAddress;

use super::layers::Layers;
use super::{FlagValue, Loaded, Role, Surroundings, check};

fn around() -> Surroundings {
    Surroundings { data_home: Some(PathBuf::from("/home/u/.local/share/nimgate")), cores: 4 }
}

fn flag(key: &str, flag: &'static str, word: &str) -> FlagValue {
    FlagValue { key: key.to_owned(), flag, words: vec![word.to_owned()] }
}

fn read(
    role: Role,
    file: &str,
    environment: &[(&str, &str)],
    flags: Vec<FlagValue>,
) -> Result<Loaded, Vec<String>> {
    let variable =
        |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
    let layers = Layers::merge(Some((Path::new("/etc/nimgate.toml"), file)), variable, flags);
    check(layers, role, &around()).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn problems(role: Role, file: &str) -> Vec<String> {
    read(role, file, &[], vec![]).err().unwrap_or_default()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let file = "threads = 3\naccess_log = \"stdout\"\n[limits]\nattempts_max = 5\nh2_streams_max = 7";
    let environment = [("NIMGATE_THREADS", "4"), ("NIMGATE_LIMITS_ATTEMPTS_MAX", "6")];
    let loaded = read(Role::Up, file, &environment, vec![flag("threads", "--threads", "5")]).unwrap();
    assert_eq!(loaded.settings.threads.get(), 5);
    assert_eq!(loaded.settings.limits.attempts_max, 6);
    assert_eq!(loaded.settings.limits.h2_streams_max, 7);
    assert_eq!(loaded.settings.limits.header_lines_max, gateway::Limits::default().header_lines_max);
    assert_eq!(loaded.settings.listen, ["127.0.0.1:8080".parse().unwrap()]);
}

#[test]
fn all_errors_are_reported_at_once_each_with_its_key() {
    let file = "listen = [\"nowhere\"]\nthreads = \"many\"\ncolour = 1\nmaster_key_file = \"~/k\"\n\
                [limits]\nhead_bytes_max = 10\nattempts_max = 1000\nhead_byte_max = 4096\n\
                [tls]\nkey = \"k.pem\"\n[egress]\nallow = [\"10.0.0.0/99\"]\n[other]\nx = 1";
    let environment = [("NIMGATE_ACCESS_LOG", "loud")];
    let flags = vec![flag("admin_listen", "--admin-listen", "9080"), flag("limits.no_such", "--set", "1")];
    let found = read(Role::Up, file, &environment, flags).unwrap_err();
    for start in [
        "listen: must be an address and a port",
        "threads: must be a whole number",
        "colour: unknown key",
        "master_key_file: must be a path",
        "limits.head_bytes_max: must be at least 1024 (from /etc/nimgate.toml)",
        "limits.attempts_max: must be at most 20",
        "limits.head_byte_max: unknown key; did you mean limits.head_bytes_max?",
        "tls.certificate: missing",
        "egress.allow: ",
        "other: unknown key",
        "access_log: must be",
        "admin_listen: must be an address and a port, such as 127.0.0.1:8080, not \"9080\" (from --admin-listen)",
        "limits.no_such: unknown key",
    ] {
        assert!(found.iter().any(|line| line.starts_with(start)), "no {start:?} in {found:#?}");
    }
    assert_eq!(found.len(), 13, "{found:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_a_problem_and_not_a_default() {
    let found = problems(Role::Up, "listen = [");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("/etc/nimgate.toml: "), "{found:?}");
}

#[test]
fn a_public_address_needs_a_loud_flag() {
    for (role, file) in [
        (Role::Up, "listen = \"0.0.0.0:8080\""),
        (Role::Gateway, "listen = [\"127.0.0.1:1\", \"[::]:8080\"]"),
        (Role::Up, "admin_listen = \"192.168.0.1:9080\""),
        (Role::Registry, "registry_listen = \"10.0.0.1:8081\""),
    ] {
        let found = problems(role, file);
        assert!(found.len() == 1 && found[0].contains("--insecure-no-auth"), "{file}: {found:?}");
        let accepted = vec![flag("insecure_no_auth", "--insecure-no-auth", "true")];
        assert!(read(role, file, &[], accepted).is_ok());
    }
    for file in ["listen = \"[::1]:1\"", "listen = \"127.9.9.9:1\"", "listen = \"[::ffff:127.0.0.1]:1\""] {
        assert!(problems(Role::Up, file).is_empty(), "{file}");
    }
}

#[test]
fn a_registry_does_not_mind_the_gateways_listener_and_the_other_way_round() {
    assert!(problems(Role::Registry, "listen = \"0.0.0.0:8080\"").is_empty());
    assert!(problems(Role::Gateway, "registry_listen = \"0.0.0.0:8081\"").is_empty());
}

#[test]
fn private_networks_are_open_only_while_every_listener_is_on_loopback() {
    let local = read(Role::Up, "", &[], vec![]).unwrap().settings.egress;
    assert!(local.allow_private && local.allow_plaintext);
    let open = "insecure_no_auth = true\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:2\"]";
    let public = read(Role::Up, open, &[], vec![]).unwrap().settings.egress;
    assert!(!public.allow_private && !public.allow_plaintext);
    let shared = read(Role::Registry, "listen = \"0.0.0.0:2\"", &[], vec![]).unwrap().settings.egress;
    assert!(!shared.allow_private, "a registry takes the listeners of a shared file into account");
    let told = format!("{open}\n[egress]\nallow_private = true\nallow = [\"10.0.0.0/8\"]");
    let told = read(Role::Up, &told, &[], vec![]).unwrap().settings.egress;
    assert!(told.allow_private && told.allow.len() == 1);
}

#[test]
fn the_registry_is_a_socket_in_up_and_an_address_or_a_path_apart() {
    let registry = |role, file: &str| read(role, file, &[], vec![]).unwrap().settings.registry;
    let up = registry(Role::Up, "data_dir = \"/d\"\nregistry = \"http://10.0.0.1:1\"");
    assert_eq!(up, RegistryAddress::Unix("/d/registry.sock".into()));
    assert_eq!(registry(Role::Gateway, ""), RegistryAddress::Tcp("127.0.0.1:8081".parse().unwrap()));
    let url = "registry = \"http://10.0.0.1:7\"";
    assert_eq!(registry(Role::Gateway, url), RegistryAddress::Tcp("10.0.0.1:7".parse().unwrap()));
    let path = "registry = \"/run/r.sock\"";
    assert_eq!(registry(Role::Gateway, path), RegistryAddress::Unix("/run/r.sock".into()));
    assert_eq!(problems(Role::Gateway, "registry = \"https://10.0.0.1\"").len(), 1);
}

#[test]
fn paths_of_the_file_start_at_the_files_folder() {
    let loaded = read(Role::Up, "[tls]\ncertificate = \"c.pem\"\nkey = \"/k.pem\"", &[], vec![]).unwrap();
    let tls = loaded.settings.tls.unwrap();
    assert_eq!((tls.certificate, tls.key), ("/etc/c.pem".into(), "/k.pem".into()));
}

#[test]
fn a_data_folder_too_deep_for_a_socket_is_refused() {
    let file = format!("data_dir = \"/{}\"", "d".repeat(120));
    assert_eq!(problems(Role::Up, &file).len(), 1);
    assert!(problems(Role::Registry, &file).is_empty());
}

#[test]
fn what_check_prints_is_a_file_with_the_same_meaning() {
    let file = "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nthreads = 3\nmaster_key_file = \"k\"\n\
                [egress]\nallow = [\"10.0.0.0/8\", \".corp.example\"]\n[secrets]\naccess = false\n[files]\nfile_bytes_max = 7\n[limits]\ndrain_timeout_ms = 5\n\
                [tls]\ncertificate = \"c\"\nkey = \"k\"\n\
                [[providers]]\nname = \"pp\"\npreset = \"vllm\"\nkey_file = \"keys/pp\"\nextra_body = {a = {b = 1}}\n\
                [[virtual_models]]\nname = \"vv\"\nrouting = {strategy = \"weighted\", providers = [{provider = \"pp\"}]}";
    let first = read(Role::Gateway, file, &[("NIMGATE_ACCESS_LOG", "stderr")], vec![]).unwrap();
    let shown = first.show();
    assert!(shown.contains("# environment variable NIMGATE_ACCESS_LOG"), "{shown}");
    let second = read(Role::Gateway, &shown, &[], vec![]).unwrap();
    assert_eq!(format!("{:?}", first.settings), format!("{:?}", second.settings));
}

#[test]
fn every_file_in_the_config_folder_is_valid_for_its_role() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let role = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("gateway") => Role::Gateway,
            Some("registry-role") => Role::Registry,
            _ => Role::Up,
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let layers = Layers::merge(Some((&path, &text)), |_| None, vec![]);
        let loaded = check(layers, role, &around());
        assert!(loaded.is_ok(), "{}: {loaded:?}", path.display());
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn deployments_have_limits_of_their_own() {
    let defaults = read(Role::Up, "", &[], vec![]).unwrap().settings.deployments;
    assert_eq!((defaults.drain_timeout.as_secs(), defaults.stop_grace.as_secs()), (60, 30));
    assert_eq!((defaults.probe_timeout.as_millis(), defaults.probe_failures), (2_000, 2));
    let file =
        "[deployments]\ndrain_timeout_s = 0\nstop_grace_s = 5\nprobe_timeout_ms = 500\nprobe_failures = 3";
    let set = read(Role::Up, file, &[], vec![]).unwrap().settings.deployments;
    assert_eq!((set.drain_timeout.as_secs(), set.stop_grace.as_secs()), (0, 5));
    assert_eq!((set.probe_timeout.as_millis(), set.probe_failures), (500, 3));
    let refused = problems(Role::Up, "deployments.drain_timeout_s = 86401\ndeployments.probe_failures = 0");
    assert_eq!(refused.len(), 2, "{refused:?}");
}

#[test]
fn logins_of_image_registries_name_a_secret_and_each_host_once() {
    let read = |file: &str| read(Role::Up, file, &[], vec![]);
    let file = "[deployments]\nregistries = [\"ghcr.io me team/key\", \"127.0.0.1:5000 robot team/other\"]";
    let registries = read(file).unwrap().settings.registries;
    assert_eq!(registries.len(), 2);
    assert_eq!((registries[0].server.as_str(), registries[0].username.as_str()), ("ghcr.io", "me"));
    for wrong in
        ["ghcr.io me s3cr3t", "https://ghcr.io me team/key", "ghcr.io me team/key\", \"ghcr.io you team/key"]
    {
        let Err(problems) = read(&format!("[deployments]\nregistries = [\"{wrong}\"]")) else {
            panic!("{wrong}")
        };
        assert!(problems[0].contains("deployments.registries"), "{wrong}: {problems:?}");
    }
}

#[test]
fn plugins_of_deployments_are_refused_unless_they_are_allowed() {
    let plugins = |file: &str| read(Role::Up, file, &[], vec![]).unwrap().settings.tool_call_plugins;
    assert_eq!(plugins(""), registry::ToolCallPlugins::Refused);
    assert_eq!(plugins("[deployments]\ntool_call_plugins = false"), registry::ToolCallPlugins::Refused);
    assert_eq!(plugins("[deployments]\ntool_call_plugins = true"), registry::ToolCallPlugins::Allowed);
}

#[test]
fn reading_secrets_is_for_this_machine_unless_it_is_switched_off() {
    let access = |file: &str| read(Role::Up, file, &[], vec![]).unwrap().settings.secret_access;
    assert_eq!(access(""), registry::SecretAccess::Loopback);
    assert_eq!(access("[secrets]\naccess = true"), registry::SecretAccess::Loopback);
    assert_eq!(access("[secrets]\naccess = false"), registry::SecretAccess::Off);
}
