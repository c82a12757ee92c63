//! From a server's `/openapi.json` to whether its chat completions can continue a last message: bytes in as they
//! come, a word out.
//!
//! What must stay true: only the schema that the chat path itself refers to counts, since other requests of the same
//! servers (to count tokens, say) have members of that name; nothing is kept of the document but where in it one is
//! and the last text; what is not understood is not known.
//!
//! Absent on purpose: schemas that stand before the paths that refer to them, or that are put together of others. No
//! server is known that writes either.

use std::ops::ControlFlow;

/// The longest text that is compared; longer ones are no names that are looked for.
const TEXT_BYTES_MAX: usize = 256;

const REFERENCE: [&str; 8] =
    ["paths", "/v1/chat/completions", "post", "requestBody", "content", "application/json", "schema", "$ref"];
const SCHEMAS: &str = "#/components/schemas/";
const MEMBER: &str = "continue_final_message";

/// Whether a server can go on with the last message of a chat, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Continues {
    #[default]
    Unknown,
    Yes,
    No,
}

impl Continues {
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Yes => "yes",
            Self::No => "no",
        }
    }
}

/// A document that is being read.
#[derive(Debug)]
pub struct Schema {
    place: Place,
    /// Containers that are open.
    depth: usize,
    /// The last text; a member's name, when a colon follows.
    text: Vec<u8>,
    /// The name of the member whose value comes next.
    name: Option<Vec<u8>>,
    reference: Way,
    /// To the schema of a chat request, once it is known which one that is.
    request: Option<Way>,
    lists_members: bool,
    found: Continues,
}

/// Inside or outside a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Text,
    Escape,
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            place: Place::Outside,
            depth: 0,
            text: Vec::new(),
            name: None,
            reference: Way::to(REFERENCE.map(str::to_owned)),
            request: None,
            lists_members: false,
            found: Continues::Unknown,
        }
    }
}

impl Schema {
    /// Reads on, until it has seen enough.
    pub fn feed(&mut self, piece: &[u8]) -> ControlFlow<()> {
        for byte in piece {
            match (self.place, *byte) {
                (Place::Text, b'"') => self.text_ended(),
                (Place::Text, b'\\') => self.place = Place::Escape,
                (Place::Text, byte) => self.keep(byte),
                (Place::Escape, byte) => {
                    self.keep(byte);
                    self.place = Place::Text;
                }
                (Place::Outside, b'"') => {
                    self.place = Place::Text;
                    self.text.clear();
                }
                (Place::Outside, b':') => self.named(),
                (Place::Outside, b'{' | b'[') => self.opened(),
                (Place::Outside, b'}' | b']') => self.closed(),
                (Place::Outside, b',') => self.name = None,
                (Place::Outside, _) => {}
            }
            if self.found != Continues::Unknown {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// What it says, as far as it was read.
    pub fn says(&self) -> Continues {
        self.found
    }

    /// One byte more than is compared, so that what is longer equals nothing.
    fn keep(&mut self, byte: u8) {
        if self.text.len() <= TEXT_BYTES_MAX {
            self.text.push(byte);
        }
    }

    fn text_ended(&mut self) {
        self.place = Place::Outside;
        let Some(name) = self.name.take() else { return };
        if self.request.is_none() && self.reference.ends_at(self.depth, &name) {
            let text = std::str::from_utf8(&self.text).ok();
            self.request = text.and_then(|text| text.strip_prefix(SCHEMAS)).map(|schema| {
                Way::to(["components", "schemas", schema, "properties", MEMBER].map(str::to_owned))
            });
        }
    }

    /// The text before the colon is a name.
    fn named(&mut self) {
        let name = std::mem::take(&mut self.text);
        if self.request.as_ref().is_some_and(|way| way.ends_at(self.depth, &name)) {
            self.found = Continues::Yes;
        }
        self.name = Some(name);
    }

    fn opened(&mut self) {
        if let Some(name) = self.name.take() {
            self.reference.goes_into(self.depth, &name);
            if let Some(way) = &mut self.request {
                way.goes_into(self.depth, &name);
                self.lists_members |= way.left() == 1;
            }
        }
        self.depth += 1;
    }

    fn closed(&mut self) {
        self.name = None;
        self.depth = self.depth.saturating_sub(1);
        self.reference.comes_out(self.depth);
        if let Some(way) = &mut self.request {
            way.comes_out(self.depth);
            if self.lists_members && way.left() > 1 {
                self.found = Continues::No;
            }
        }
    }
}

/// The names of members inside each other, and how many of them enclose the present place.
#[derive(Debug)]
struct Way {
    names: Vec<String>,
    gone: usize,
}

impl Way {
    fn to(names: impl Into<Vec<String>>) -> Self {
        Self { names: names.into(), gone: 0 }
    }

    fn left(&self) -> usize {
        self.names.len() - self.gone
    }

    /// Whether the member of this name, of the object at this depth, is the next on the way.
    fn has_next(&self, depth: usize, name: &[u8]) -> bool {
        depth == self.gone + 1 && self.names.get(self.gone).is_some_and(|next| next.as_bytes() == name)
    }

    fn ends_at(&self, depth: usize, name: &[u8]) -> bool {
        self.left() == 1 && self.has_next(depth, name)
    }

    fn goes_into(&mut self, depth: usize, name: &[u8]) {
        if self.left() > 1 && self.has_next(depth, name) {
            self.gone += 1;
        }
    }

    fn comes_out(&mut self, depth: usize) {
        self.gone = self.gone.min(depth.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn document(chat: Value, schemas: Value) -> String {
        let body = json!({ "content": { "application/json": { "schema": chat } }, "required": true });
        let mut document = Map::new();
        document.insert("info".into(), json!({ "title": "a \"server\\\": {", "n": [1, "x:y", {}] }));
        document.insert(
            "paths".into(),
            json!({
                "/tokenize": { "post": { "requestBody": { "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Tokenize" } } } } } },
                "/v1/chat/completions": { "post": { "requestBody": body } },
            }),
        );
        let text = Value::Object(document).to_string();
        // Members of a `Value` are sorted; servers write the schemas last.
        format!("{},\"components\":{{\"schemas\":{schemas}}}}}", text.strip_suffix('}').unwrap())
    }

    fn reference(name: &str) -> Value {
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn says(document: &str) -> Continues {
        let mut schema = Schema::default();
        let _ = schema.feed(document.as_bytes());
        schema.says()
    }

    fn knows() -> Value {
        json!({ "properties": { "messages": {}, "continue_final_message": { "type": "boolean" } } })
    }

    fn knows_not() -> Value {
        json!({ "properties": { "messages": { "title": "continue_final_message" }, "stream": {} } })
    }

    #[test]
    fn the_schema_that_the_chat_path_refers_to_says_it_and_no_other() {
        let both = |chat: Value, tokenize: Value| json!({ "Chat": chat, "Tokenize": tokenize });
        assert_eq!(says(&document(reference("Chat"), both(knows(), knows_not()))), Continues::Yes);
        assert_eq!(says(&document(reference("Chat"), both(knows_not(), knows()))), Continues::No);
        assert_eq!(says(&document(reference("Tokenize"), both(knows_not(), knows()))), Continues::Yes);
    }

    #[test]
    fn what_is_deeper_or_beside_the_members_is_none_of_them() {
        let inside = json!({ "Chat": { "properties": { "a": knows(), "b": [knows()] }, "x": knows() } });
        assert_eq!(says(&document(reference("Chat"), inside)), Continues::No);
        let apart = json!({ "Chat": { "description": "x", "continue_final_message": true } });
        assert_eq!(says(&document(reference("Chat"), apart)), Continues::Unknown, "it lists no members");
    }

    #[test]
    fn what_is_not_understood_is_not_known() {
        let whole = document(reference("Chat"), json!({ "Chat": knows() }));
        let end = whole.find("continue_final_message").unwrap();
        for text in ["", "[]", "{}", "}}}}", "not found", "\u{0}", &whole[..end], &whole.replace("$ref", "x")]
        {
            assert_eq!(says(text), Continues::Unknown, "{text}");
        }
        assert_eq!(says(&document(reference("Gone"), json!({ "Chat": knows() }))), Continues::Unknown);
        assert_eq!(says(&document(knows(), json!({ "Chat": knows() }))), Continues::Unknown);
        assert_eq!(says(&whole.replace("Chat", &"x".repeat(300))), Continues::Unknown);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_document_is_cut(cuts in proptest::collection::vec(1..90usize, 1..9)) {
            for (schema, expected) in [(knows(), Continues::Yes), (knows_not(), Continues::No)] {
                let text = document(reference("Chat"), json!({ "A": {}, "Chat": schema }));
                let (mut schema, mut rest) = (Schema::default(), text.as_bytes());
                for cut in cuts.iter().cycle() {
                    let (piece, after) = rest.split_at(rest.len().min(*cut));
                    if piece.is_empty() || schema.feed(piece).is_break() {
                        break;
                    }
                    rest = after;
                }
                prop_assert_eq!(schema.says(), expected);
            }
        }

        #[test]
        fn no_document_makes_it_grow(bytes in proptest::collection::vec(proptest::sample::select(
            b"{}[]\":,\\a".to_vec()), 0..2_000)) {
            let mut schema = Schema::default();
            let _ = schema.feed(&bytes);
            prop_assert!(schema.text.len() <= TEXT_BYTES_MAX + 1);
        }
    }
}
