//! `[[providers]]` of the file: what each is to be, and where its key is.
//!
//! The fields are those of the API, with the shorter names of the command beside them. A key itself has no place
//! here: files like this are copied around. Absent on purpose: an environment or flag form.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use proto_shared::egress::EgressPolicy;
use proto_shared::secret::SecretString;
use registry::{DeclarationFault, DeclaredProvider};
use serde_json::{Map, Value};
use toml::{Table, Value as Toml};

use super::layers::{Problem, Source};

/// Most providers that one file declares.
const DECLARED_MAX: usize = 1000;
/// Longest key.
const KEY_BYTES_MAX: u64 = 64 * 1024;
const WORKSPACE_DEFAULT: &str = "default";
/// Name here, and place in the API.
const SHORT: [(&str, &str); 5] = [
    ("base_url", "host_url"),
    ("model", "pinned_model"),
    ("extra_body", "default_extra_body"),
    ("secret", "api_key_secret_name"),
    ("reasoning_replay", "chat_traits.reasoning_replay"),
];
const KEY_ENV: &str = "key_env";
const KEY_FILE: &str = "key_file";
const WORKSPACE: &str = "workspace";

/// One provider of the file.
#[derive(Debug, Clone)]
pub struct ProviderEntry {
    pub provider: DeclaredProvider,
    pub key: Option<KeyFrom>,
    /// As it was written, with paths that start at the root.
    pub written: Table,
}

/// Where a key is when the process starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    Environment(String),
    File(PathBuf),
}

impl KeyFrom {
    /// The key, or why there is none.
    pub fn read(&self) -> Result<SecretString, String> {
        let text = match self {
            Self::Environment(name) => env::var(name).map_err(|_| format!("{name} is not set"))?,
            Self::File(path) => read_key_file(path).map_err(|why| format!("{}: {why}", path.display()))?,
        };
        match text.trim() {
            "" => Err(match self {
                Self::Environment(name) => format!("{name} is empty"),
                Self::File(path) => format!("{} is empty", path.display()),
            }),
            key => Ok(key.to_owned().into()),
        }
    }
}

fn read_key_file(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > KEY_BYTES_MAX {
        return Err(format!("longer than {KEY_BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Reads all of them; what is wrong joins `problems`.
pub fn read(
    given: (Toml, PathBuf),
    egress: &EgressPolicy,
    problems: &mut Vec<Problem>,
) -> Vec<ProviderEntry> {
    let (given, file) = given;
    let mut problem = |key: String, message: String| {
        problems.push(Problem { key, message, source: Some(Source::File(file.clone())) });
    };
    let tables = match given {
        Toml::Array(items) if items.len() <= DECLARED_MAX => items,
        Toml::Array(_) => {
            problem("providers".to_owned(), format!("must be at most {DECLARED_MAX}"));
            return Vec::new();
        }
        _ => {
            problem("providers".to_owned(), "must be a list: write [[providers]]".to_owned());
            return Vec::new();
        }
    };
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(tables.len());
    for (index, item) in tables.into_iter().enumerate() {
        let Toml::Table(table) = item else {
            problem(format!("providers[{index}]"), "must be a table".to_owned());
            continue;
        };
        let name = table.get("name").and_then(Toml::as_str);
        let label = name.map_or_else(|| format!("providers[{index}]"), |name| format!("providers.{name}"));
        match entry(table, &file, egress) {
            Ok(entry) if !seen.insert((entry.provider.workspace.clone(), entry.provider.name.clone())) => {
                problem(label, "is declared twice".to_owned());
            }
            Ok(entry) => entries.push(entry),
            Err(faults) => faults.into_iter().for_each(|fault| {
                let key =
                    if fault.field.is_empty() { label.clone() } else { format!("{label}.{}", fault.field) };
                problem(key, fault.message);
            }),
        }
    }
    entries
}

fn entry(
    mut table: Table,
    file: &Path,
    egress: &EgressPolicy,
) -> Result<ProviderEntry, Vec<DeclarationFault>> {
    let mut faults = Vec::new();
    let key = key_of(&mut table, file, &mut faults);
    let mut body = Map::new();
    for (field, value) in &table {
        let place =
            SHORT.iter().find(|(short, _)| short == field).map_or(field.as_str(), |(_, place)| *place);
        let value = match serde_json::to_value(value) {
            Ok(value) => value,
            Err(why) => {
                faults.push(fault(field, why.to_string()));
                continue;
            }
        };
        match field.as_str() {
            WORKSPACE | KEY_ENV | KEY_FILE => {}
            "api_key" => faults.push(fault(field, "a key has no place here; name its key_env or key_file")),
            _ if !is_known(place) => faults.push(fault(field, "unknown key")),
            _ if !put(&mut body, place, value) => {
                faults.push(fault(field, format!("is given twice: it is {place}")));
            }
            _ => {}
        }
    }
    let workspace = match table.get(WORKSPACE) {
        None => WORKSPACE_DEFAULT,
        Some(Toml::String(name)) => name,
        Some(_) => {
            faults.push(fault(WORKSPACE, "must be a text"));
            WORKSPACE_DEFAULT
        }
    };
    if let (Some(_), Some(name), false) = (&key, body.get("name"), body.contains_key("api_key_secret_name")) {
        body.insert("api_key_secret_name".to_owned(), name.clone());
    }
    match DeclaredProvider::parse(workspace, &Value::Object(body), egress) {
        Ok(provider) if faults.is_empty() => Ok(ProviderEntry { provider, key, written: table }),
        Ok(_) => Err(faults),
        Err(more) => Err(faults.into_iter().chain(more.into_iter().map(in_short)).collect()),
    }
}

/// Paths start at the file's folder.
fn key_of(table: &mut Table, file: &Path, faults: &mut Vec<DeclarationFault>) -> Option<KeyFrom> {
    match (table.get(KEY_ENV), table.get(KEY_FILE)) {
        (None, None) => None,
        (Some(Toml::String(name)), None) => Some(KeyFrom::Environment(name.clone())),
        (None, Some(Toml::String(path))) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            table.insert(KEY_FILE.to_owned(), Toml::String(path.display().to_string()));
            Some(KeyFrom::File(path))
        }
        (Some(_), Some(_)) => {
            faults.push(fault(KEY_FILE, "give key_env or key_file, not both"));
            None
        }
        (Some(_), None) => {
            faults.push(fault(KEY_ENV, "must be the name of a variable"));
            None
        }
        (None, Some(_)) => {
            faults.push(fault(KEY_FILE, "must be a path"));
            None
        }
    }
}

fn is_known(place: &str) -> bool {
    let field = place.split('.').next().unwrap_or(place);
    DeclaredProvider::FIELDS.contains(&field)
}

/// False: something is there already.
fn put(body: &mut Map<String, Value>, place: &str, value: Value) -> bool {
    let Some((outer, inner)) = place.split_once('.') else {
        // Members that came by their short names stay.
        return match (body.get_mut(place), value) {
            (None, value) => body.insert(place.to_owned(), value).is_none(),
            (Some(Value::Object(there)), Value::Object(more)) => {
                more.into_iter().all(|(name, value)| there.insert(name, value).is_none())
            }
            _ => false,
        };
    };
    let members = body.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    members.as_object_mut().is_some_and(|members| members.insert(inner.to_owned(), value).is_none())
}

fn fault(field: &str, message: impl Into<String>) -> DeclarationFault {
    DeclarationFault { field: field.to_owned(), message: message.into() }
}

/// `host_url` is most often written `base_url`; a fault names both.
fn in_short(fault: DeclarationFault) -> DeclarationFault {
    match SHORT.iter().find(|(_, place)| *place == fault.field) {
        Some((short, place)) => {
            DeclarationFault { field: (*short).to_owned(), message: format!("{} ({place})", fault.message) }
        }
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<ProviderEntry>, Vec<String>) {
        let mut problems = Vec::new();
        let given = text.parse::<Table>().unwrap().remove("providers").unwrap();
        let entries = read((given, "/etc/nimgate.toml".into()), &EgressPolicy::local(), &mut problems);
        (entries, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_names_of_the_command_and_of_the_api_mean_the_same() {
        let short = "[[providers]]\nname = 'pp'\nbase_url = 'http://h'\nmodel = 'm'\nextra_body = {a = 1}\n\
                     secret = 's1'\nreasoning_replay = 'drop'\nchat_traits = {takes_files = false}\n";
        let long = "[[providers]]\nname = 'pp'\nhost_url = 'http://h'\npinned_model = 'm'\nworkspace = 'default'\n\
                    default_extra_body = {a = 1}\napi_key_secret_name = 's1'\n\
                    chat_traits = {takes_files = false, reasoning_replay = 'drop'}\n";
        let [short, long] = [all(short), all(long)];
        assert!(short.1.is_empty() && long.1.is_empty(), "{:?} {:?}", short.1, long.1);
        assert_eq!(format!("{:?}", short.0[0].provider), format!("{:?}", long.0[0].provider));
    }

    #[test]
    fn a_key_is_named_by_variable_or_by_a_file_beside_this_one() {
        let text = "[[providers]]\nname = 'one'\npreset = 'vllm'\nkey_env = 'K'\n\
                    [[providers]]\nname = 'two'\npreset = 'vllm'\nkey_file = 'keys/two'\n";
        let (entries, problems) = all(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(entries[0].key, Some(KeyFrom::Environment("K".into())));
        assert_eq!(entries[1].key, Some(KeyFrom::File("/etc/keys/two".into())));
        assert!(format!("{:?}", entries[0].provider).contains("api_key_secret_name: Some"));
    }

    #[test]
    fn all_faults_are_told_with_the_provider_and_no_value_of_a_key() {
        let text = "[[providers]]\nname = 'one'\npreset = 'tugether'\n\
                    [[providers]]\nname = 'two'\npreset = 'vllm'\napi_key = 'sk-5'\ncolour = 1\nkey_env = 3\n\
                    num_concurrent_requests = 0\nmodel = 'a'\npinned_model = 'b'\n\
                    [[providers]]\npreset = 'vllm'\n\
                    [[providers]]\nname = 'four'\n\
                    [[providers]]\nname = 'five'\npreset = 'vllm'\n[[providers]]\nname = 'five'\npreset = 'vllm'\n";
        let (entries, problems) = all(text);
        assert_eq!(entries.len(), 1);
        for start in [
            "providers.one.preset: there is no such preset",
            "providers.two.api_key: a key has no place here",
            "providers.two.colour: unknown key",
            "providers.two.key_env: must be the name of a variable",
            "providers.two.num_concurrent_requests: ",
            "providers.two.pinned_model: is given twice",
            "providers[2].name: Field required",
            "providers.four.base_url: Field required (host_url)",
            "providers.five: is declared twice",
        ] {
            assert!(problems.iter().any(|line| line.starts_with(start)), "no {start:?} in {problems:#?}");
        }
        assert!(!problems.concat().contains("sk-5"));
        assert!(all("providers = 3").1[0].contains("[[providers]]"));
    }

    #[test]
    fn a_key_that_is_not_there_says_where_it_should_be() {
        let absent = KeyFrom::Environment("NIMGATE_NO_SUCH_KEY".into()).read();
        assert_eq!(absent.unwrap_err(), "NIMGATE_NO_SUCH_KEY is not set");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "\n").unwrap();
        assert!(KeyFrom::File(file.clone()).read().unwrap_err().ends_with("is empty"));
        fs::write(&file, "x".repeat(KEY_BYTES_MAX as usize + 1)).unwrap();
        assert!(KeyFrom::File(file).read().unwrap_err().contains("longer than"));
    }
}
