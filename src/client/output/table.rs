//! Rows under headings, columns as wide as their longest cell.
//!
//! On a terminal wide cells are cut so that a row is one line. What goes elsewhere is never cut.

use console::{measure_text_width, truncate_str};

use super::{columns, line, push};
use crate::client::error::ClientError;

/// A column that is cut keeps at least this much.
const CUT_WIDTH_MIN: usize = 8;
const GAP: usize = 2;

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()] }
    }

    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.rows.push(cells.iter().map(|cell| line(cell.as_ref())).collect());
    }

    pub fn print(&self) -> Result<(), ClientError> {
        push(&self.text(columns()))
    }

    /// With lines of at most so many columns.
    pub fn text(&self, available: usize) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        };
        let widths = fitted((0..columns).map(width).collect(), available);
        let mut out = String::new();
        for row in &self.rows {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = truncate_str(cell, *width, "…");
                let padding = (width + GAP).saturating_sub(measure_text_width(&cell));
                text.push_str(&cell);
                text.extend(std::iter::repeat_n(' ', padding));
            }
            out.push_str(&truncate_str(text.trim_end(), available, "…"));
            out.push('\n');
        }
        out
    }
}

/// Widths whose sum fits, taken from the widest columns first.
fn fitted(mut widths: Vec<usize>, available: usize) -> Vec<usize> {
    let gaps = widths.len().saturating_sub(1) * GAP;
    loop {
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(available);
        let mut order: Vec<usize> = (0..widths.len()).collect();
        order.sort_by_key(|column| widths[*column]);
        let Some((widest, others)) = order.split_last() else { return widths };
        let next = others.last().map_or(0, |column| widths[*column]).max(CUT_WIDTH_MIN);
        let width = widths[*widest];
        if excess == 0 || width <= CUT_WIDTH_MIN {
            return widths;
        }
        // Down to the second widest at most, so that columns that are alike shrink alike.
        let step = excess.min(width.saturating_sub(next).max(1));
        widths[*widest] = width - step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATUS", "MESSAGE"]);
        table.row(&["a-long-name", "READY", ""]);
        table.row(&["b", "ERROR", "the key was refused by the provider (401)"]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        let text = table().text(usize::MAX);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NAME         STATUS  MESSAGE");
        assert_eq!(lines[1], "a-long-name  READY");
        assert_eq!(lines[2], "b            ERROR   the key was refused by the provider (401)");
    }

    #[test]
    fn wide_cells_count_as_wide_as_they_are_shown() {
        let mut table = Table::new(&["A", "B"]);
        table.row(&["日本", "x"]);
        assert_eq!(table.text(usize::MAX), "A     B\n日本  x\n");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        let text = table().text(40);
        assert!(text.lines().all(|line| measure_text_width(line) <= 40), "{text}");
        assert!(text.contains("a-long-name  READY") && text.contains("the key was refu"), "{text}");
        assert!(text.contains('…'), "{text}");
    }

    #[test]
    fn no_terminal_is_too_narrow() {
        for available in 0..40 {
            let text = table().text(available);
            assert!(
                text.lines().all(|line| measure_text_width(line) <= available.max(1)),
                "{available}: {text}"
            );
        }
    }
}
