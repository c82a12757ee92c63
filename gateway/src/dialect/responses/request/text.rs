//! Strings of a request as they are spelt, and the buffer that they are written to.

use std::borrow::Cow;

use crate::body::decode;

/// What stands between the quotes of a JSON string, escapes as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// `None` when `raw` is not a JSON string.
    pub fn of(raw: &'a str) -> Option<Self> {
        raw.strip_prefix('"')?.strip_suffix('"').map(Self)
    }

    pub fn spelt(self) -> &'a str {
        self.0
    }

    /// What it says; none for half a surrogate pair.
    pub fn read(self) -> Option<Cow<'a, str>> {
        decode(self.0.as_bytes())
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A JSON document that is being written.
#[derive(Debug, Default)]
pub struct Json(Vec<u8>);

impl Json {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Writes JSON, or a part of a string, that is spelt already.
    pub fn put(&mut self, spelt: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(spelt.as_ref());
        self
    }

    /// A comma, unless something just opened.
    pub fn next(&mut self) -> &mut Self {
        if !matches!(self.0.last(), None | Some(b'{' | b'[')) {
            self.0.push(b',');
        }
        self
    }

    /// Begins a member; `name` needs no escapes.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.next().put("\"").put(name).put("\":")
    }

    pub fn text(&mut self, text: Text<'_>) -> &mut Self {
        self.put("\"").put(text.0).put("\"")
    }

    /// A string that is spelt here.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.put("\"").inner(text).put("\"")
    }

    /// The same, without its quotes.
    pub fn inner(&mut self, text: &str) -> &mut Self {
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 => "",
                _ => continue,
            };
            self.put(text.get(plain..at).unwrap_or_default()).put(escape);
            if escape.is_empty() {
                self.put(format!("\\u{byte:04x}"));
            }
            plain = at + 1;
        }
        self.put(text.get(plain..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_spelt_here_says_the_same(text in "\\PC{0,8}[\"\\\\\\x00-\\x1f\\x7f]{0,4}\\PC{0,8}") {
            let mut json = Json::default();
            json.string(&text);
            prop_assert_eq!(serde_json::from_slice::<String>(json.as_bytes()).unwrap(), text);
        }
    }

    #[test]
    fn commas_stand_between_members_only() {
        let mut json = Json::default();
        json.put("{").key("a").put("1").key("b").put("[").next().put("2").next().put("3").put("]}");
        assert_eq!(json.as_bytes(), br#"{"a":1,"b":[2,3]}"#);
    }
}
