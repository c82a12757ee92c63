//! How answers are shown: aligned tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::error::ClientError;

/// Writes a line to standard output.
pub fn say(line: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes text as it is and shows it at once.
pub fn push(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

pub fn json(value: &Value) -> Result<(), ClientError> {
    say(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()))
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

pub fn terminal() -> bool {
    io::stdout().is_terminal()
}

/// Rows under headings, columns as wide as their longest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| line(cell)).collect());
    }

    pub fn print(&self) -> Result<(), ClientError> {
        push(&self.text())
    }

    fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(&["a-long-name", "READY"]);
        table.row(&["b", ""]);
        assert_eq!(table.text(), "NAME         STATUS\na-long-name  READY\nb\n");
    }

    #[test]
    fn what_a_server_wrote_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{9b}c\td"), "a[2Jb\nc\td");
        assert_eq!(line("a\nb"), "a b");
    }
}
