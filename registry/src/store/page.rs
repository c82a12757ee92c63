//! Lists in pages. Order and limits come from checked values, never from text.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::filter::Expression;
use crate::domain::{Direction, Page, PageRequest, Sort, SortKey};
use crate::error::Error;

/// The `ORDER BY` of a sort: always total, and creation is by number, not by clock.
fn order_by(sort: Sort) -> &'static str {
    match (sort.key, sort.direction) {
        (SortKey::Name, Direction::Up) => "name, seq",
        (SortKey::Name, Direction::Down) => "name DESC, seq DESC",
        (SortKey::CreatedAt, Direction::Up) => "seq",
        (SortKey::CreatedAt, Direction::Down) => "seq DESC",
        (SortKey::UpdatedAt, Direction::Up) => "updated_us, seq",
        (SortKey::UpdatedAt, Direction::Down) => "updated_us DESC, seq DESC",
        (SortKey::Status, Direction::Up) => "shown_status, seq",
        (SortKey::Status, Direction::Down) => "shown_status DESC, seq DESC",
    }
}

/// Where the rows of a list are.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// A table, or a query in parentheses with a name.
    pub from: &'static str,
    pub columns: &'static str,
    /// Whether rows belong to a workspace.
    pub has_workspace: bool,
}

/// One page of `source`, of one workspace or (`None`) of all. A filter on the workspace wins.
pub fn list<T>(
    connection: &Connection,
    source: Source,
    workspace: Option<&str>,
    request: &PageRequest,
    decode: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Page<T>, Error> {
    let mut holds = Expression::default();
    let says_workspace = request.filter.as_ref().is_some_and(|filter| filter.mentions("workspace"));
    if let Some(workspace) = workspace.filter(|_| source.has_workspace && !says_workspace) {
        holds.and("workspace = ?", [Value::Text(workspace.to_owned())]);
    }
    if let Some(filter) = &request.filter {
        holds.and_filter(filter);
    }
    let Source { from, columns, .. } = source;
    let Expression { sql, mut values } = holds;
    let holds = if sql.is_empty() { String::new() } else { format!("WHERE {sql}") };
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM {from} {holds}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    values.extend([Value::Integer(request.page_size.into()), Value::Integer(request.offset())]);
    let order = order_by(request.sort);
    // Rows are sorted by number and then read, so that a late page costs no more than an early one.
    let page = format!("SELECT seq FROM {from} {holds} ORDER BY {order} LIMIT ? OFFSET ?");
    let rows = connection
        .prepare_cached(&format!("SELECT {columns} FROM {from} WHERE seq IN ({page}) ORDER BY {order}"))?
        .query_map(params_from_iter(&values), decode)?
        .collect::<Result<Vec<T>, _>>()?;
    Ok(Page { rows, total: u64::try_from(total).unwrap_or_default() })
}

/// A column that must parse; a damaged one is an error, not a panic.
pub fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: TryFrom<String>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(row.get(index)?).map_err(|error| conversion_failure(index, error))
}

/// A JSON column.
pub fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    serde_json::from_str(text).map_err(|error| conversion_failure(index, error))
}

/// A JSON column that may be null.
pub fn json_or_null<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(index)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|error| conversion_failure(index, error)),
    }
}

/// The text of a JSON column.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::from(rusqlite::Error::ToSqlConversionFailure(Box::new(error))))
}

/// The text of a JSON column that may be null.
pub fn to_json_or_null<T: serde::Serialize>(value: &Option<T>) -> Result<Option<String>, Error> {
    value.as_ref().map(to_json).transpose()
}

fn conversion_failure(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}
