//! The text spelling: `name:"fake" AND (created_at>2026-01-01 OR -status IN (ERROR, LOST))`.
//!
//! Grammar: `any := all (OR all)*`, `all := one (AND one)*`, `one := -one | (any) | field operator value`.
//! Operators: `:` equal, `~` part of, `>` `>=` `<` `<=`, `IN (…)`, `NOT IN (…)`.

use serde_json::Value;

use super::{Condition, FILTER_DEPTH_MAX, Fields, Filter, FilterError};

pub fn parse(text: &str, fields: Fields) -> Result<Filter, FilterError> {
    let mut parser = Parser { rest: text, fields, depth: 0 };
    let filter = parser.any()?;
    parser.skip_space();
    if parser.rest.is_empty() { Ok(filter) } else { Err(parser.expected("AND, OR or the end")) }
}

struct Parser<'t> {
    rest: &'t str,
    fields: Fields,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn any(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.all()?];
        while self.word("OR") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self) -> Result<Filter, FilterError> {
        let mut parts = vec![self.one()?];
        while self.word("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Filter::All(parts) })
    }

    fn one(&mut self) -> Result<Filter, FilterError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(FilterError::TooLarge);
        }
        let filter = if self.sign("-") {
            Filter::Not(Box::new(self.one()?))
        } else if self.sign("(") {
            let inner = self.any()?;
            if !self.sign(")") {
                return Err(self.expected("a closing parenthesis"));
            }
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn condition(&mut self) -> Result<Filter, FilterError> {
        let name = self.name();
        if name.is_empty() {
            return Err(self.expected("a field"));
        }
        for (sign, operator) in
            [(">=", "$gte"), ("<=", "$lte"), (">", "$gt"), ("<", "$lt"), (":", "$eq"), ("~", "$like")]
        {
            if self.sign(sign) {
                let value = self.value()?;
                return Condition::read(name, operator, &Value::from(value), self.fields);
            }
        }
        let operator = match (self.word("NOT"), self.word("IN")) {
            (false, true) => "$in",
            (true, true) => "$nin",
            _ => return Err(self.expected("one of : ~ > >= < <= IN, NOT IN")),
        };
        let values = self.list()?;
        Condition::read(name, operator, &Value::from(values), self.fields)
    }

    fn list(&mut self) -> Result<Vec<String>, FilterError> {
        let close = match (self.sign("("), self.sign("[")) {
            (true, _) => ")",
            (_, true) => "]",
            _ => return Err(self.expected("a list in parentheses")),
        };
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        if self.sign(close) { Ok(values) } else { Err(self.expected(close)) }
    }

    fn value(&mut self) -> Result<String, FilterError> {
        self.skip_space();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else {
            let end = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | ',');
            let (value, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
            if value.is_empty() {
                return Err(self.expected("a value"));
            }
            self.rest = rest;
            return Ok(value.to_owned());
        };
        let mut value = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Ok(value);
                }
                c => value.push(c),
            }
        }
        Err(FilterError::Syntax("a quote is not closed".into()))
    }

    fn name(&mut self) -> &'t str {
        self.skip_space();
        let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        let (name, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        true
    }

    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        match self.rest.get(..word.len()).zip(self.rest.get(word.len()..)) {
            Some((head, rest)) if head.eq_ignore_ascii_case(word) && ends(rest) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn expected(&self, what: &str) -> FilterError {
        let at: String = self.rest.chars().take(20).collect();
        FilterError::Syntax(format!("expected {what} at '{at}'"))
    }
}
