//! The layers a value may come from, merged: flag over environment over file.
//!
//! Invariants: a value that is here belongs to a known key and has that key's kind. Whatever does
//! not is a [`Problem`], and none of them hides another. Absent on purpose: defaults and ranges.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::declared::{self, Lists};
use super::keys::{self, Key, Kind};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// And the line, where it is known.
    File(PathBuf, Option<usize>),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub value: Value,
    pub source: Source,
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub message: String,
    pub source: Option<Source>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.source {
            Some(source) => write!(f, " (from {source})"),
            None => Ok(()),
        }
    }
}

/// A flag as given: the key it sets, its name for messages, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    pub key: String,
    pub flag: &'static str,
    pub words: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Layers {
    pub values: BTreeMap<&'static str, Given>,
    /// The lists of tables in the file.
    pub lists: Lists,
    pub problems: Vec<Problem>,
}

impl Layers {
    pub fn merge(
        file: Option<(&Path, &str)>,
        environment: impl Fn(&str) -> Option<OsString>,
        flags: Vec<FlagValue>,
    ) -> Self {
        let mut layers = Self::default();
        if let Some((path, text)) = file {
            layers.read_file(path, text);
        }
        layers.read_environment(environment);
        for flag in flags {
            layers.read_flag(flag);
        }
        layers
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let source = Source::File(path.to_owned(), None);
        match text.parse::<toml::Table>() {
            Ok(mut table) => {
                let given = declared::LISTS.into_iter().filter_map(|list| Some((list, table.remove(list)?)));
                self.lists = Lists { given: given.collect(), file: path.to_owned(), text: text.to_owned() };
                self.read_table("", table, &source);
            }
            Err(e) => self.problem(path.display().to_string(), e.to_string().trim_end(), None),
        }
    }

    fn read_table(&mut self, prefix: &str, table: toml::Table, source: &Source) {
        for (name, value) in table {
            let full = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match (keys::find(&full), value) {
                (Some(key), value) => self.set(key, from_toml(key.kind, value), source.clone()),
                (None, toml::Value::Table(inner)) if is_section(&full) => {
                    self.read_table(&full, inner, source);
                }
                (None, _) => self.unknown(&full, source.clone()),
            }
        }
    }

    // Variables with our prefix that name no key are left alone: Kubernetes makes some of its own
    // (NIMGATE_SERVICE_HOST, NIMGATE_PORT) for a service of that name. An empty variable is an unset one.
    fn read_environment(&mut self, environment: impl Fn(&str) -> Option<OsString>) {
        for key in keys::all() {
            let name = keys::variable(key.name);
            let Some(text) = environment(&name).filter(|text| !text.is_empty()) else { continue };
            let value = match text.into_string() {
                Ok(text) => from_words(key.kind, &[text]),
                Err(_) => Err("must be UTF-8".to_owned()),
            };
            self.set(key, value, Source::Environment(name));
        }
    }

    fn read_flag(&mut self, flag: FlagValue) {
        let source = Source::Flag(flag.flag);
        match keys::find(&flag.key) {
            Some(key) => self.set(key, from_words(key.kind, &flag.words), source),
            None => self.unknown(&flag.key, source),
        }
    }

    fn set(&mut self, key: Key, value: Result<Value, String>, source: Source) {
        match value {
            Ok(value) => {
                self.values.insert(key.name, Given { value, source });
            }
            Err(message) => self.problem(key.name, &message, Some(source)),
        }
    }

    fn unknown(&mut self, name: &str, source: Source) {
        let message = match keys::nearest(name) {
            Some(known) => format!("unknown key; did you mean {known}?"),
            None => "unknown key".to_owned(),
        };
        self.problem(name, &message, Some(source));
    }

    fn problem(&mut self, key: impl Into<String>, message: &str, source: Option<Source>) {
        self.problems.push(Problem { key: key.into(), message: message.to_owned(), source });
    }
}

fn is_section(name: &str) -> bool {
    keys::all().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn from_toml(kind: Kind, value: toml::Value) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Text, toml::Value::String(text)) => Ok(Value::Text(text)),
        (Kind::Number, toml::Value::Integer(n)) => {
            u64::try_from(n).map(Value::Number).map_err(|_| "must not be negative".to_owned())
        }
        (Kind::Switch, toml::Value::Boolean(on)) => Ok(Value::Switch(on)),
        (Kind::List, toml::Value::String(text)) => Ok(Value::List(vec![text])),
        (Kind::List, toml::Value::Array(items)) => {
            let texts: Option<Vec<String>> =
                items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(Value::List).ok_or_else(|| "must be a list of texts".to_owned())
        }
        (kind, other) => Err(format!("must be {}, not {}", described(kind), other.type_str())),
    }
}

fn from_words(kind: Kind, words: &[String]) -> Result<Value, String> {
    let first = words.first().map(|word| word.trim()).unwrap_or_default();
    match kind {
        Kind::Text => Ok(Value::Text(first.to_owned())),
        Kind::List => {
            let parts = words.iter().flat_map(|word| word.split(',')).map(str::trim);
            Ok(Value::List(parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()))
        }
        Kind::Number => first
            .parse()
            .map(Value::Number)
            .map_err(|_| format!("must be {}, not {first:?}", described(kind))),
        Kind::Switch => match first {
            "true" | "1" => Ok(Value::Switch(true)),
            "false" | "0" => Ok(Value::Switch(false)),
            _ => Err(format!("must be {}, not {first:?}", described(kind))),
        },
    }
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Number => "a whole number",
        Kind::Switch => "true or false",
        Kind::List => "a list of texts",
    }
}
