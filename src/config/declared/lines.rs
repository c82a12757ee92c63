//! In which line of a file something stands that is wrong: read again, only then.

use toml::de::{DeTable, DeValue};

/// The line of a field of the `index`th table of a list, or else of where that table begins. `field` is a path.
pub fn of(text: &str, list: &str, index: usize, field: &str) -> Option<usize> {
    let file = DeTable::parse(text).ok()?;
    let DeValue::Array(items) = file.get_ref().get(list)?.get_ref() else { return None };
    let item = items.get(index)?;
    let DeValue::Table(table) = item.get_ref() else { return None };
    let name = field.split('.').next().unwrap_or(field);
    let own = table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, _)| key.span().start);
    let start = own.unwrap_or(item.span().start);
    Some(text.get(..start)?.matches('\n').count() + 1)
}
