//! `[[providers]]` of the file: what each is to be, and where its key is. A key itself has no place here: files like
//! this are copied around.

use std::path::{Path, PathBuf};
use std::{env, fs};

use proto_shared::egress::EgressPolicy;
use proto_shared::secret::SecretString;
use registry::{DeclarationFault, DeclaredProvider};
use serde_json::Value;
use toml::{Table, Value as Toml};

use super::{Entry, Form, fault, workspace_of};

pub const LIST: &str = "providers";

/// Longest key.
const KEY_BYTES_MAX: u64 = 64 * 1024;
const KEY_ENV: &str = "key_env";
const KEY_FILE: &str = "key_file";
const API_KEY: &str = "api_key";

const FORM: Form = Form {
    short: &[
        ("base_url", "host_url"),
        ("model", "pinned_model"),
        ("extra_body", "default_extra_body"),
        ("secret", "api_key_secret_name"),
        ("reasoning_replay", "chat_traits.reasoning_replay"),
    ],
    fields: &DeclaredProvider::FIELDS,
    beside: &[KEY_ENV, KEY_FILE, API_KEY],
};

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

impl Entry for ProviderEntry {
    fn id(&self) -> (String, String) {
        (self.provider.workspace.to_string(), self.provider.name.to_string())
    }
}

pub fn entry(
    mut table: Table,
    file: &Path,
    egress: &EgressPolicy,
) -> Result<ProviderEntry, Vec<DeclarationFault>> {
    let mut faults = Vec::new();
    if table.contains_key(API_KEY) {
        faults.push(fault(API_KEY, "a key has no place here; name its key_env or key_file"));
    }
    let key = key_of(&mut table, file, &mut faults);
    let mut body = FORM.body(&table, &mut faults);
    let workspace = workspace_of(&table, &mut faults);
    if let (Some(_), Some(name), false) = (&key, body.get("name"), body.contains_key("api_key_secret_name")) {
        body.insert("api_key_secret_name".to_owned(), name.clone());
    }
    match DeclaredProvider::parse(workspace, &Value::Object(body), egress) {
        Ok(provider) if faults.is_empty() => Ok(ProviderEntry { provider, key, written: table }),
        Ok(_) => Err(faults),
        Err(more) => {
            Err(faults.into_iter().chain(more.into_iter().map(|fault| FORM.in_short(fault))).collect())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<ProviderEntry>, Vec<String>) {
        let (declared, problems) = super::super::all(text);
        (declared.providers, problems)
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
