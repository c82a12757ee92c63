//! The columns of lists.

use serde_json::Value;

use crate::client::output::age;

/// A heading and what stands below it.
pub struct Column(pub &'static str, pub Cell);

/// Where a cell comes from. Texts are JSON pointers.
pub enum Cell {
    Text(&'static str),
    /// How many things a list has.
    Count(&'static str),
    Age(&'static str),
    Of(fn(&Value) -> String),
}

impl Column {
    pub fn cell(&self, value: &Value) -> String {
        let at = |pointer| value.pointer(pointer).unwrap_or(&Value::Null);
        match self.1 {
            Cell::Text(pointer) => text(at(pointer)),
            Cell::Count(pointer) => at(pointer).as_array().map_or(0, Vec::len).to_string(),
            Cell::Age(pointer) => age(&text(at(pointer))),
            Cell::Of(cell) => cell(value),
        }
    }
}

/// A value as one text; lists with commas.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_shows_what_is_there_and_nothing_for_what_is_not() {
        let value = json!({"name": "a", "spec": {"gpu": 2, "on": true}, "models": ["x", "y"]});
        for (cell, shown) in [
            (Cell::Text("/name"), "a"),
            (Cell::Text("/spec/gpu"), "2"),
            (Cell::Text("/spec/on"), "yes"),
            (Cell::Text("/models"), "x, y"),
            (Cell::Text("/absent/deep"), ""),
            (Cell::Count("/models"), "2"),
            (Cell::Count("/absent"), "0"),
            (Cell::Age("/absent"), ""),
            (Cell::Of(|value| text(&value["name"]).repeat(2)), "aa"),
        ] {
            assert_eq!(Column("X", cell).cell(&value), shown);
        }
    }
}
