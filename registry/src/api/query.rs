//! The query of a list: which page, in which order.

use serde_json::{Value, json};

use crate::domain::filter::Filter;
use crate::domain::page::{ListRules, PageRequest, Sort};
use crate::error::{Error, Issue};

pub type Pairs = Vec<(String, String)>;

/// Reads `page`, `page_size`, `sort` and `filter`; the last of a repeated key counts.
pub fn page_request(pairs: &Pairs, rules: &ListRules) -> Result<PageRequest, Error> {
    let mut issues = Vec::new();
    let find = |name: &str| last(pairs, name);
    let page = number("page", find("page"), 1, u32::MAX, &mut issues);
    let page_size = number("page_size", find("page_size"), rules.default_size, rules.size_max, &mut issues);
    let sort = match find("sort") {
        None | Some("") => rules.default_sort,
        Some(text) => Sort::parse(text, rules.keys).unwrap_or_else(|| {
            let keys: Vec<_> = rules.keys.iter().map(|k| format!("'{0}', '-{0}'", k.as_str())).collect();
            issues.push(issue("sort", "enum", format!("Input should be {}", keys.join(", ")), text));
            rules.default_sort
        }),
    };
    if !issues.is_empty() {
        return Err(Error::Invalid(issues));
    }
    let given = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let filter = Filter::from_query(given, rules.filters)?;
    Ok(PageRequest { page, page_size, sort, filter })
}

/// The value of a parameter; the last of a repeated one counts.
pub fn last<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p str> {
    pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The number of a version, as a path or a query has it. Whether there is such a version is for others.
pub fn version(text: &str) -> Result<i64, Error> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let text: String = text.chars().take(64).collect();
        let reason = format!("Invalid version '{text}': must be a positive integer");
        return Err(Error::refused("version", reason));
    }
    Ok(text.parse().unwrap_or(i64::MAX))
}

/// A parameter that is on or off; off when left out.
pub fn switch(pairs: &Pairs, name: &str) -> Result<bool, Error> {
    let Some((_, text)) = pairs.iter().rev().find(|(key, _)| key == name) else { return Ok(false) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(Error::Invalid(vec![issue(
            name,
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input".into(),
            text,
        )])),
    }
}

fn number(name: &str, text: Option<&str>, default: u32, max: u32, issues: &mut Vec<Issue>) -> u32 {
    let Some(text) = text else { return default };
    let (kind, msg) = match text.trim().parse::<i64>() {
        Err(_) => {
            ("int_parsing", "Input should be a valid integer, unable to parse string as an integer".into())
        }
        Ok(number) if number < 1 => {
            ("greater_than_equal", "Input should be greater than or equal to 1".to_owned())
        }
        Ok(number) => match u32::try_from(number) {
            Ok(number) if number <= max => return number,
            _ => ("less_than_equal", format!("Input should be less than or equal to {max}")),
        },
    };
    issues.push(issue(name, kind, msg, text));
    default
}

fn issue(name: &str, kind: &'static str, msg: String, input: &str) -> Issue {
    let input: Value = if input.len() <= 64 { json!(input) } else { Value::Null };
    Issue { kind, loc: vec![json!("query"), json!(name)], msg, input }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[(&str, &str)]) -> Result<PageRequest, Error> {
        let pairs = text.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        page_request(&pairs, &crate::store::providers::LIST)
    }

    #[test]
    fn an_empty_query_gives_the_defaults() {
        let request = read(&[]).unwrap();
        assert_eq!((request.page, request.page_size, request.sort), (1, 100, Sort::OLDEST_FIRST));
    }

    #[test]
    fn numbers_and_sorts_out_of_range_are_named() {
        for (key, value) in [
            ("page", "0"),
            ("page", "-1"),
            ("page", "x"),
            ("page", "99999999999999999999"),
            ("page_size", "0"),
            ("page_size", "1001"),
            ("sort", "host_url"),
            ("sort", "--name"),
        ] {
            let Err(Error::Invalid(issues)) = read(&[(key, value)]) else { panic!("{key}={value} accepted") };
            assert_eq!(issues[0].loc, [json!("query"), json!(key)]);
        }
    }

    #[test]
    fn a_flag_is_true_or_false_and_nothing_else() {
        let read = |text: &str| switch(&vec![("verbose".into(), text.into())], "verbose");
        assert!(read("true").unwrap() && read("1").unwrap());
        assert!(!read("False").unwrap() && !switch(&vec![], "verbose").unwrap());
        assert!(matches!(read("maybe"), Err(Error::Invalid(_))));
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused_rather_than_ignored() {
        assert!(matches!(read(&[("filter[zzz]", "x")]), Err(Error::Filter(_))));
        assert!(read(&[("filter[name]", "x")]).unwrap().filter.is_some());
    }
}
