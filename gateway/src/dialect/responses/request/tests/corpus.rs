//! Each file in `cases/request/` holds cases: `#` a name, `with` the provider's settings, `in` a request, and what
//! becomes of it: `out` the chat request, `name` how a tool's name leads back, `dropped` how many tools were left
//! out, or `error` with code, place and message. `NIMGATE_BLESS=1` writes what becomes of them anew.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::value::RawValue;

use super::Provider;
use crate::dialect::responses::turn::ToolName;

const CASES_AT_LEAST: usize = 120;

#[test]
fn every_request_becomes_what_its_case_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect/responses/cases/request");
    let bless = std::env::var_os("NIMGATE_BLESS").is_some();
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let now: Vec<String> = text.split("\n\n").map(|case| judged(case, &path)).collect();
        count += now.len();
        let now = now.join("\n\n") + "\n";
        if bless {
            std::fs::write(&path, now).unwrap();
            continue;
        }
        for (then, now) in text.split("\n\n").zip(now.split("\n\n")) {
            assert_eq!(
                then.trim(),
                now.trim(),
                "in {}; if that is meant, run NIMGATE_BLESS=1 cargo test -p gateway dialect, and look at the difference",
                path.display()
            );
        }
    }
    assert!(count >= CASES_AT_LEAST, "only {count} cases");
}

/// A case with what becomes of it now.
fn judged(case: &str, path: &Path) -> String {
    let (mut settings, mut request, mut text) = ("{}", None, String::new());
    for line in case.trim().lines() {
        match line.split_once(' ').unwrap_or_else(|| panic!("{}: {line}", path.display())) {
            ("#", _) => {}
            ("with", value) => settings = value,
            ("in", value) => request = Some(value),
            ("out" | "name" | "dropped" | "error", _) => continue,
            (other, _) => panic!("{}: a line begins with {other}", path.display()),
        }
        writeln!(text, "{line}").unwrap();
    }
    let request = request.unwrap_or_else(|| panic!("{}: a case without a request", path.display()));
    match Provider::new(settings).translate(request.as_bytes()) {
        Err(error) => write!(text, "error {} {}", error.code(), error.message()).unwrap(),
        Ok(done) => {
            let body = String::from_utf8(done.body).unwrap();
            serde_json::from_str::<&RawValue>(&body)
                .unwrap_or_else(|error| panic!("{case}\n{body}\n{error}"));
            write!(text, "out {body}").unwrap();
            let mut names: Vec<String> =
                done.turn.tools.iter().map(|(sent, tool)| format!("{sent}: {}", shown(tool))).collect();
            names.sort();
            names.iter().for_each(|name| write!(text, "\nname {name}").unwrap());
            if done.tools_dropped > 0 {
                write!(text, "\ndropped {}", done.tools_dropped).unwrap();
            }
        }
    }
    text
}

fn shown(tool: &ToolName) -> String {
    match tool {
        ToolName::Function { namespace: None, name } => format!("function {name}"),
        ToolName::Function { namespace: Some(namespace), name } => format!("function {name} of {namespace}"),
        ToolName::Custom { namespace: None, name } => format!("custom {name}"),
        ToolName::Custom { namespace: Some(namespace), name } => format!("custom {name} of {namespace}"),
    }
}
