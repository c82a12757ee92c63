//! JSON strings: what they spell.

use std::borrow::Cow;

/// Bytes of the longest spelling of one character of a JSON string, per byte of its UTF-8 form (`\u006d`).
pub const LONGEST_SPELLING: usize = 6;

/// What the bytes between two quotes spell; `None` for a bad escape, half a surrogate pair, or bytes not UTF-8.
pub fn decode(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(raw).ok()?;
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let (character, after) = unescape(escape)?;
        decoded.push(character);
        rest = after;
    }
    decoded.push_str(rest);
    Some(Cow::Owned(decoded))
}

/// Whether the bytes between two quotes spell `name`, escapes or not.
#[inline]
pub fn spells(raw: &[u8], name: &str) -> bool {
    if raw.len() <= name.len() {
        return raw == name.as_bytes() && !raw.contains(&b'\\');
    }
    raw.len() <= name.len() * LONGEST_SPELLING
        && raw.contains(&b'\\')
        && decode(raw).is_some_and(|text| text == name)
}

/// The character an escape stands for, and the text after it; `text` begins behind the backslash.
fn unescape(text: &str) -> Option<(char, &str)> {
    let mut after = text.chars();
    let character = match after.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unescape_utf16(after.as_str()),
        same @ ('"' | '\\' | '/') => same,
        _ => return None,
    };
    Some((character, after.as_str()))
}

fn unescape_utf16(text: &str) -> Option<(char, &str)> {
    let (first, after) = four_digits(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, after));
    }
    let (second, after) = four_digits(after.strip_prefix("\\u")?)?;
    Some((surrogate_pair(first, second)?, after))
}

fn four_digits(text: &str) -> Option<(u32, &str)> {
    let (digits, after) = text.split_at_checked(4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}

/// The character of two UTF-16 units, if they are a high and a low surrogate.
pub fn surrogate_pair(high: u32, low: u32) -> Option<char> {
    if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(decode(br#"a\n\"\\\/\b\f\r\t"#).unwrap(), "a\n\"\\/\u{8}\u{c}\r\t");
        assert_eq!(decode(br"\u006dodel \ud83d\ude00").unwrap(), "model \u{1f600}");
    }

    #[test]
    fn bad_escapes_and_half_pairs_spell_nothing() {
        for raw in [r"\x", r"\u00g0", r"\u+041", r"\u00", r"\", r"\ud800", r"\ud800\n", r"\ud800A", r"\udc00"]
        {
            assert_eq!(decode(raw.as_bytes()), None, "{raw}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn a_name_is_recognised_in_every_spelling() {
        for raw in ["model", r"\u006dodel", r"m\u006Fdel", r"\u006d\u006f\u0064\u0065\u006c"] {
            assert!(spells(raw.as_bytes(), "model"), "{raw}");
        }
        for raw in ["Model", "mode", "models", r"\model", r"\u006codel", ""] {
            assert!(!spells(raw.as_bytes(), "model"), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn decoding_agrees_with_serde_json(text in r#"([a-z"é]|\\[nu"\\x]|\\u[0-9a-f]{4}|\\ud8[0-9]{2}\\udc[0-9]{2}){0,8}"#) {
            let quoted = format!("\"{text}\"");
            let ours = (!text.replace(r"\\", "").replace(r#"\""#, "").contains('"'))
                .then(|| decode(text.as_bytes()).map(Cow::into_owned))
                .flatten();
            prop_assert_eq!(ours, serde_json::from_str::<String>(&quoted).ok());
        }
    }
}
