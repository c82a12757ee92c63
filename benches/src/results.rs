//! Where raw results go, and on what they were measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::error::BenchError;

const FOLDER: &str = "benches/results";

/// The circumstances of a set of runs.
#[derive(Debug, Clone, Serialize)]
pub struct Circumstances {
    pub date: String,
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    pub commit: String,
    pub program: String,
    pub program_built: String,
}

impl Circumstances {
    pub fn now(program: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let built = fs::metadata(program).and_then(|data| data.modified());
        Self {
            date: timestamp(OffsetDateTime::now_utc()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor.map_or_else(String::new, |(_, name)| name.to_owned()),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            commit: output_of("git", &["describe", "--always", "--dirty"]),
            program: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            program_built: built.map_or_else(|_| String::new(), |at| timestamp(at.into())),
        }
    }
}

fn timestamp(at: OffsetDateTime) -> String {
    at.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC")).unwrap_or_default()
}

/// The first line a command says; nothing when it can't be run.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `benches/results/DATE-WHAT.json`, unless a path was given.
pub fn path(given: Option<PathBuf>, what: &str) -> PathBuf {
    given.unwrap_or_else(|| {
        let date = OffsetDateTime::now_utc().date();
        Path::new(FOLDER).join(format!("{date}-{what}.json"))
    })
}

pub fn save(path: &Path, results: &impl Serialize) -> Result<(), BenchError> {
    let failed = || format!("can't write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(BenchError::io(failed()))?;
    }
    let text = render(results).map_err(|error| BenchError::Setup(format!("{}: {error}", failed())))?;
    fs::write(path, text).map_err(BenchError::io(failed()))
}

/// One line for each field, and for each element of a list: readable, and good to compare.
fn render(results: &impl Serialize) -> serde_json::Result<String> {
    let value = rounded(serde_json::to_value(results)?);
    let Some(fields) = value.as_object() else { return Ok(format!("{value}\n")) };
    let field = |(name, value): (&String, &Value)| match value.as_array() {
        Some(items) if !items.is_empty() => {
            let lines: Vec<_> = items.iter().map(|item| format!("    {item}")).collect();
            format!("  \"{name}\": [\n{}\n  ]", lines.join(",\n"))
        }
        _ => format!("  \"{name}\": {value}"),
    };
    let lines: Vec<_> = fields.iter().map(field).collect();
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

/// Fractions with three digits: more is noise, and hard to read.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            Value::from(number.as_f64().map(|number| (number * 1e3).round() / 1e3))
        }
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_json_with_a_line_for_each_run() {
        let results = json!({"date": "today", "runs": [{"a": 1}, {"a": 2.00049}], "memory": []});
        let text = render(&results).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({"date": "today", "runs": [{"a": 1}, {"a": 2.0}], "memory": []}));
        assert_eq!(text.lines().count(), 8);
    }
}
