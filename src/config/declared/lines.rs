//! In which line of a file something stands that is wrong: read again, only then.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line of a field of the `index`th table of a list, or of as much of its path as is there: at least of where the
/// table begins.
pub fn of(text: &str, list: &str, index: usize, field: &str) -> Option<usize> {
    let file = DeTable::parse(text).ok()?;
    let DeValue::Array(items) = file.get_ref().get(list)?.get_ref() else { return None };
    let mut value = items.get(index)?;
    let mut start = value.span().start;
    for name in field.split('.') {
        let Some((at, inner)) = member(value, name) else { break };
        (start, value) = (at, inner);
    }
    Some(text.get(..start)?.matches('\n').count() + 1)
}

/// A member by its name or number, and where it begins.
fn member<'v, 't>(value: &'v Spanned<DeValue<'t>>, name: &str) -> Option<(usize, &'v Spanned<DeValue<'t>>)> {
    match value.get_ref() {
        DeValue::Table(table) => {
            let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
            Some((key.span().start, value))
        }
        DeValue::Array(items) => {
            let value = items.get(name.parse::<usize>().ok()?)?;
            Some((value.span().start, value))
        }
        _ => None,
    }
}
