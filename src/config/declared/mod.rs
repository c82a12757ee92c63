//! The lists of tables in the file: what the registry is to hold.
//!
//! The fields are those of the API, with the shorter names of the command beside them, and are checked as calls are.
//! Absent on purpose: an environment or flag form.

mod lines;
mod providers;
mod virtual_models;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proto_shared::egress::EgressPolicy;
use registry::DeclarationFault;
use serde_json::{Map, Value};
use toml::{Table, Value as Toml};

use super::layers::{Problem, Source};

pub use providers::ProviderEntry;
pub use virtual_models::VirtualModelEntry;

/// Most that one file declares of a kind.
const DECLARED_MAX: usize = 1000;
const WORKSPACE_DEFAULT: &str = "default";
const WORKSPACE: &str = "workspace";

/// What one file lists, as far as it was read.
#[derive(Debug, Default)]
pub struct Lists {
    pub file: PathBuf,
    /// Of the whole file: to find lines in it.
    pub text: String,
    /// By their name in the file.
    pub given: BTreeMap<&'static str, Toml>,
}

/// All that a file declares, in the order in which it is applied.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    pub providers: Vec<ProviderEntry>,
    pub virtual_models: Vec<VirtualModelEntry>,
}

impl Declared {
    /// What is wrong joins `problems`.
    pub fn read(lists: &Lists, egress: &EgressPolicy, problems: &mut Vec<Problem>) -> Self {
        Self {
            providers: read(
                lists,
                providers::LIST,
                |table| providers::entry(table, &lists.file, egress),
                problems,
            ),
            virtual_models: read(lists, virtual_models::LIST, virtual_models::entry, problems),
        }
    }

    /// As it was written, by the names of the lists.
    pub fn written(&self) -> Vec<(&'static str, Vec<&Table>)> {
        let providers = self.providers.iter().map(|entry| &entry.written).collect();
        let virtual_models = self.virtual_models.iter().map(|entry| &entry.written).collect();
        vec![(providers::LIST, providers), (virtual_models::LIST, virtual_models)]
    }
}

/// The names of all lists.
pub const LISTS: [&str; 2] = [providers::LIST, virtual_models::LIST];

/// What is declared, by its workspace and name.
trait Entry {
    fn id(&self) -> (String, String);
}

/// One list. No fault hides another.
fn read<E: Entry>(
    lists: &Lists,
    list: &'static str,
    entry: impl Fn(Table) -> Result<E, Vec<DeclarationFault>>,
    problems: &mut Vec<Problem>,
) -> Vec<E> {
    let mut problem = |index: Option<usize>, key: String, field: &str, message: String| {
        let line = index.and_then(|index| lines::of(&lists.text, list, index, field));
        problems.push(Problem { key, message, source: Some(Source::File(lists.file.clone(), line)) });
    };
    let tables = match lists.given.get(list) {
        None => return Vec::new(),
        Some(Toml::Array(items)) if items.len() <= DECLARED_MAX => items,
        Some(Toml::Array(_)) => {
            problem(None, list.to_owned(), "", format!("must be at most {DECLARED_MAX}"));
            return Vec::new();
        }
        Some(_) => {
            problem(None, list.to_owned(), "", format!("must be a list: write [[{list}]]"));
            return Vec::new();
        }
    };
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(tables.len());
    for (index, item) in tables.iter().enumerate() {
        let Toml::Table(table) = item else {
            problem(None, format!("{list}[{index}]"), "", "must be a table".to_owned());
            continue;
        };
        let name = table.get("name").and_then(Toml::as_str);
        let label = name.map_or_else(|| format!("{list}[{index}]"), |name| format!("{list}.{name}"));
        match entry(table.clone()) {
            Ok(entry) if !seen.insert(entry.id()) => {
                problem(Some(index), label, "name", "is declared twice".to_owned());
            }
            Ok(entry) => entries.push(entry),
            Err(faults) => faults.into_iter().for_each(|fault| {
                let key =
                    if fault.field.is_empty() { label.clone() } else { format!("{label}.{}", fault.field) };
                problem(Some(index), key, &fault.field, fault.message);
            }),
        }
    }
    entries
}

/// How the fields of one list are written.
struct Form {
    /// Name here, and place in the API.
    short: &'static [(&'static str, &'static str)],
    /// Of the API.
    fields: &'static [&'static str],
    /// What is read apart.
    beside: &'static [&'static str],
}

impl Form {
    /// What the API would get.
    fn body(&self, table: &Table, faults: &mut Vec<DeclarationFault>) -> Map<String, Value> {
        let mut body = Map::new();
        for (field, value) in table.iter().filter(|(field, _)| !self.is_beside(field)) {
            let place = self.short.iter().find(|(short, _)| short == field);
            let place = place.map_or(field.as_str(), |(_, place)| *place);
            match serde_json::to_value(value) {
                Err(why) => faults.push(fault(field, why.to_string())),
                Ok(_) if !self.knows(place) => faults.push(fault(field, "unknown key")),
                Ok(value) => {
                    if !put(&mut body, place, value) {
                        faults.push(fault(field, format!("is given twice: it is {place}")));
                    }
                }
            }
        }
        body
    }

    fn is_beside(&self, field: &str) -> bool {
        field == WORKSPACE || self.beside.contains(&field)
    }

    fn knows(&self, place: &str) -> bool {
        let field = place.split('.').next().unwrap_or(place);
        self.fields.contains(&field)
    }

    /// What is most often written by its short name; a fault names both.
    fn in_short(&self, fault: DeclarationFault) -> DeclarationFault {
        match self.short.iter().find(|(_, place)| *place == fault.field) {
            Some((short, place)) => DeclarationFault {
                field: (*short).to_owned(),
                message: format!("{} ({place})", fault.message),
            },
            None => fault,
        }
    }
}

fn workspace_of<'t>(table: &'t Table, faults: &mut Vec<DeclarationFault>) -> &'t str {
    match table.get(WORKSPACE) {
        None => WORKSPACE_DEFAULT,
        Some(Toml::String(name)) => name,
        Some(_) => {
            faults.push(fault(WORKSPACE, "must be a text"));
            WORKSPACE_DEFAULT
        }
    }
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

/// All that a text declares, and what is wrong with it.
#[cfg(test)]
fn all(text: &str) -> (Declared, Vec<String>) {
    let mut table = text.parse::<Table>().unwrap();
    let given = LISTS.into_iter().filter_map(|list| Some((list, table.remove(list)?))).collect();
    let lists = Lists { file: "/etc/nimgate.toml".into(), text: text.to_owned(), given };
    let mut problems = Vec::new();
    let declared = Declared::read(&lists, &EgressPolicy::local(), &mut problems);
    (declared, problems.iter().map(ToString::to_string).collect())
}
