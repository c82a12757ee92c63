//! A filter as an SQL expression. Text and values from outside are bound, never written into it.

use rusqlite::types::Value;

use crate::domain::filter::{Condition, FieldKind, Filter, Scalar, Test};

/// An expression and the values bound to it, in order of its `?`s.
#[derive(Debug, Default)]
pub struct Expression {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Expression {
    /// Adds a further condition that must hold.
    pub fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    pub fn and_filter(&mut self, filter: &Filter) {
        let mut inner = Self::default();
        inner.push(filter);
        self.and(&inner.sql, inner.values);
    }

    fn push(&mut self, filter: &Filter) {
        match filter {
            Filter::All(parts) => self.join(parts, " AND ", "TRUE"),
            Filter::Any(parts) => self.join(parts, " OR ", "FALSE"),
            Filter::Not(part) => {
                // What is not set is not equal to anything, so its negation holds.
                self.sql.push_str("NOT coalesce((");
                self.push(part);
                self.sql.push_str("), FALSE)");
            }
            Filter::Is(condition) => self.condition(condition),
        }
    }

    fn join(&mut self, parts: &[Filter], word: &str, none: &str) {
        self.sql.push('(');
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.sql.push_str(word);
            }
            self.push(part);
        }
        if parts.is_empty() {
            self.sql.push_str(none);
        }
        self.sql.push(')');
    }

    fn condition(&mut self, condition: &Condition) {
        if condition.field.kind == FieldKind::TextAmong {
            // The column is a query of its own, of rows with one `item` each.
            self.sql.push_str("EXISTS (SELECT 1 FROM (");
            self.sql.push_str(condition.field.column);
            self.sql.push_str(") WHERE ");
            self.test(condition);
            self.sql.push(')');
        } else {
            self.test(condition);
        }
    }

    fn test(&mut self, condition: &Condition) {
        match &condition.test {
            Test::Equals(value) => self.compare(condition, "=", value),
            Test::Greater(value) => self.compare(condition, ">", value),
            Test::GreaterOrEqual(value) => self.compare(condition, ">=", value),
            Test::Less(value) => self.compare(condition, "<", value),
            Test::LessOrEqual(value) => self.compare(condition, "<=", value),
            Test::Like(text) => {
                self.sql.push_str("instr(lower(");
                self.column(condition);
                self.sql.push_str("), ?) > 0");
                self.values.push(Value::Text(text.to_lowercase()));
            }
            Test::OneOf(values) => self.one_of(condition, values),
            Test::NoneOf(values) => {
                self.sql.push_str("NOT coalesce((");
                self.one_of(condition, values);
                self.sql.push_str("), FALSE)");
            }
            Test::IsSet(is_set) => {
                self.column(condition);
                self.sql.push_str(if *is_set { " IS NOT NULL" } else { " IS NULL" });
            }
        }
    }

    fn compare(&mut self, condition: &Condition, sign: &str, value: &Scalar) {
        self.column(condition);
        self.sql.push(' ');
        self.sql.push_str(sign);
        self.sql.push_str(" ?");
        self.values.push(bound(value));
    }

    fn one_of(&mut self, condition: &Condition, values: &[Scalar]) {
        self.column(condition);
        self.sql.push_str(" IN (");
        for (index, value) in values.iter().enumerate() {
            self.sql.push_str(if index > 0 { ", ?" } else { "?" });
            self.values.push(bound(value));
        }
        self.sql.push(')');
    }

    fn column(&mut self, condition: &Condition) {
        if condition.field.kind == FieldKind::Json && !condition.path.is_empty() {
            self.sql.push_str("json_extract(");
            self.sql.push_str(condition.field.column);
            self.sql.push_str(", ?)");
            let path: String = condition.path.split('.').map(|part| format!(".\"{part}\"")).collect();
            self.values.push(Value::Text(format!("${path}")));
        } else if condition.field.kind == FieldKind::TextAmong {
            self.sql.push_str("item");
        } else {
            self.sql.push_str(condition.field.column);
        }
    }
}

fn bound(value: &Scalar) -> Value {
    match value {
        Scalar::Text(text) => Value::Text(text.clone()),
        Scalar::Bool(value) => Value::Integer(i64::from(*value)),
        Scalar::Number(number) => Value::Real(*number),
        Scalar::Time(time, _) => Value::Integer(time.0),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter};

    use super::*;
    use crate::domain::filter::{Field, Fields};

    const FIELDS: Fields = &[
        Field { name: "name", kind: FieldKind::Text, column: "name" },
        Field { name: "created_at", kind: FieldKind::Time, column: "created_us" },
        Field { name: "project", kind: FieldKind::TextOrPresence, column: "project" },
        Field { name: "data", kind: FieldKind::Json, column: "body" },
    ];

    fn found(filter: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (name TEXT, created_us INTEGER, project TEXT, body TEXT) STRICT;
                 INSERT INTO t VALUES ('Alpha', 0, 'x', '{\"n\":1,\"a b\":2}'),
                                      ('beta', 1767225600000000, NULL, '{\"n\":2,\"o\":{\"t\":\"é\"}}')",
            )
            .unwrap();
        let filter = Filter::from_query([("filter", filter)].into_iter(), FIELDS).unwrap().unwrap();
        let mut expression = Expression::default();
        expression.and_filter(&filter);
        let sql = format!("SELECT name FROM t WHERE {} ORDER BY name", expression.sql);
        let mut statement = connection.prepare(&sql).unwrap();
        statement
            .query_map(params_from_iter(expression.values), |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn each_operator_finds_what_it_says() {
        for (filter, wanted) in [
            ("name:Alpha", vec!["Alpha"]),
            ("name:alpha", vec![]),
            ("name~ALP", vec!["Alpha"]),
            ("name~%", vec![]),
            ("name IN (Alpha, beta)", vec!["Alpha", "beta"]),
            ("name NOT IN (Alpha)", vec!["beta"]),
            ("created_at>=2026-01-01", vec!["beta"]),
            ("created_at<2026-01-01T00:00:00", vec!["Alpha"]),
            ("project:true", vec!["Alpha"]),
            ("project:false", vec!["beta"]),
            ("project:x OR name:beta", vec!["Alpha", "beta"]),
            ("-project:x", vec!["beta"]),
            ("project NOT IN (x)", vec!["beta"]),
            (r#"{"data":{"n":{"$gt":1}}}"#, vec!["beta"]),
            (r#"{"data":{"o":{"t":"é"}}}"#, vec!["beta"]),
            (r#"{"data":{"o":{"$exists":false}}}"#, vec!["Alpha"]),
            (r#"{"$and":[]}"#, vec!["Alpha", "beta"]),
            (r#"{"$or":[]}"#, vec![]),
        ] {
            assert_eq!(found(filter), wanted, "{filter}");
        }
    }
}
