//! How answers are shown: aligned tables and outlines for people, JSON and YAML for programs.

mod age;
mod outline;
mod table;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::error::ClientError;
use crate::cli::Output;

pub use age::age;
pub use outline::outline;
pub use table::Table;

/// Writes a line to standard output.
pub fn say(line: &str) -> Result<(), ClientError> {
    push(&format!("{line}\n"))
}

/// Writes text as it is and shows it at once.
pub fn push(text: &str) -> Result<(), ClientError> {
    push_bytes(text.as_bytes())
}

/// The same for what need not be text.
pub fn push_bytes(bytes: &[u8]) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Shows an answer as data, or to people as `words` does.
pub fn show<T: Serialize + ?Sized>(
    form: Output,
    value: &T,
    words: impl FnOnce() -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let unwritable = |why: String| ClientError::Said(format!("the answer can't be written: {why}"));
    let text = match form {
        Output::Table => return words(),
        Output::Json => serde_json::to_string_pretty(value).map_err(|e| unwritable(e.to_string()))? + "\n",
        Output::Yaml => yaml_serde::to_string(value).map_err(|e| unwritable(e.to_string()))?,
    };
    push(&if terminal() { plain(&text) } else { text })
}

/// How long a line may be: what goes elsewhere than to a terminal is never cut.
pub fn columns() -> usize {
    let shown = if terminal() { console::Term::stdout().size_checked() } else { None };
    shown.map_or(usize::MAX, |(_, columns)| usize::from(columns))
}

/// Text of others without what a terminal would act on.
pub fn plain(text: &str) -> String {
    let kept = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(kept).collect()
}

/// The same on one line.
pub fn line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

/// A sign that something is waited for. Draws nothing where standard error is no terminal.
pub fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

pub fn terminal() -> bool {
    io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_wrote_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{9b}c\td"), "a[2Jb\nc\td");
        assert_eq!(line("a\nb"), "a b");
    }
}
