//! JSON as indented lines, without its punctuation.

use serde_json::Value;

use super::line;

pub fn outline(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, 0, value);
    out
}

fn write_value(out: &mut String, depth: usize, value: &Value) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            let width =
                fields.iter().filter(|(_, v)| flat(v).is_some()).map(|(k, _)| k.len()).max().unwrap_or(0);
            for (name, inner) in fields {
                match flat(inner) {
                    Some(text) => {
                        out.push_str(&format!("{indent}{name:<width$}  {text}\n", name = line(name)))
                    }
                    None => {
                        out.push_str(&format!("{indent}{}\n", line(name)));
                        write_value(out, depth + 1, inner);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match flat(item) {
                    Some(text) => out.push_str(&format!("{indent}- {text}\n")),
                    None => {
                        let mut block = String::new();
                        write_value(&mut block, depth + 1, item);
                        let body = block.get(indent.len() + 2..).unwrap_or_default();
                        out.push_str(&format!("{indent}- {body}"));
                    }
                }
            }
        }
        other => out.push_str(&format!("{indent}{}\n", flat(other).unwrap_or_default())),
    }
}

/// The value on one line, when it fits there.
fn flat(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("-".to_owned()),
        Value::String(text) => Some(line(text)),
        Value::Array(items) if items.is_empty() => Some("none".to_owned()),
        Value::Object(fields) if fields.is_empty() => Some("none".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_outlined() {
        let value = json!({"generation": 7, "models": [{"name": "a", "candidates": ["x", "y"]}, {"name": "b"}],
                           "refusal": null, "providers": []});
        let expected = "generation  7\nmodels\n  - name  a\n    candidates\n      - x\n      - y\n  - name  b\n\
                        refusal     -\nproviders   none\n";
        assert_eq!(outline(&value), expected);
    }
}
