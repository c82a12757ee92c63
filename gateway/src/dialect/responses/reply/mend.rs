//! JSON with halves of surrogate pairs in its texts, as servers write it that cut text between the two.

const ESCAPE_LEN: usize = "\\u0000".len();

/// The JSON with `\ufffd` in the place of each half; `None` when there is none.
pub fn mended(json: &str) -> Option<String> {
    let mut mended = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(backslash) = memchr::memchr(b'\\', json.as_bytes().get(at..)?).map(|found| at + found) {
        let len = match (unit(json, backslash), unit(json, backslash + ESCAPE_LEN)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 2 * ESCAPE_LEN,
            (Some(0xd800..0xe000), _) => {
                mended.push_str(json.get(copied..backslash)?);
                mended.push_str("\\ufffd");
                copied = backslash + ESCAPE_LEN;
                ESCAPE_LEN
            }
            // Whatever is escaped, a backslash too.
            _ => 2,
        };
        at = backslash + len;
        if at > json.len() {
            break;
        }
    }
    if copied == 0 {
        return None;
    }
    mended.push_str(json.get(copied..)?);
    Some(mended)
}

/// The UTF-16 unit that is spelt at `at`.
fn unit(json: &str, at: usize) -> Option<u32> {
    let digits = json.get(at..at + ESCAPE_LEN)?.strip_prefix("\\u")?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_replaced_and_pairs_stay() {
        for (json, expected) in [
            (r#""a\ud83d""#, Some(r#""a\ufffd""#)),
            (r#""\ude00b\n""#, Some(r#""\ufffdb\n""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83d\n""#, Some(r#""\ufffd\n""#)),
            (r#""\ud83d\ude00""#, None),
            (r#""\\\\ud83d""#, None),
            (r#""\u00e9""#, None),
            (r#""\"#, None),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_only_halves_made_unreadable_can_be_read(
            text in r#"([a-zé]|\\[nu"\\]|\\u[0-9a-f]{4}|\\ud8[0-9]{2}|\\udc[0-9]{2}){0,8}"#,
        ) {
            let json = format!("\"{text}\"");
            let read = |json: &str| serde_json::from_str::<String>(json).is_ok();
            if let Some(mended) = mended(&json) {
                let without = ["8", "9", "a", "b", "c", "d", "e", "f"].iter().fold(json.clone(), |json, digit| {
                    json.replace(&format!("\\ud{digit}"), "\\u00")
                });
                prop_assert!(read(&mended) || !read(&without), "{}", mended);
            }
        }
    }
}
