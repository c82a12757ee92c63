//! Values of a request where they stand, read one level at a time.
//!
//! What must stay true: whatever is refused is named by its place; what is only passed on stays as it was spelt.
//! Lists are walked, never collected, so nothing here grows with what a client repeats.

use std::fmt;

use serde::de::{Deserialize, Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{BadRequest, Problem};
use super::text::Text;

/// The members of an object that matter, each as it was sent. Null counts as absent.
macro_rules! members {
    ($(#[$meta:meta])* $name:ident { $($field:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(serde::Deserialize)]
        pub struct $name<'a> {
            $(#[serde(borrow)] pub $field: Option<&'a serde_json::value::RawValue>,)*
        }
    };
}
pub(in crate::dialect) use members;

/// Where a value stands: `input[3].content[0]`.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    above: Option<&'p Place<'p>>,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Member(&'static str),
    Index(usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::Member(name) if self.above.is_some() => write!(f, ".{name}"),
            Step::Member(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a, 'p> {
    raw: &'a RawValue,
    place: Place<'p>,
}

impl<'a> Node<'a, 'static> {
    /// A member of the request itself.
    pub fn top(name: &'static str, raw: &'a RawValue) -> Self {
        Self { raw, place: Place { above: None, step: Step::Member(name) } }
    }
}

impl<'a, 'p> Node<'a, 'p> {
    pub fn raw(&self) -> &'a str {
        self.raw.get()
    }

    pub fn member<'c>(&'c self, name: &'static str, raw: &'a RawValue) -> Node<'a, 'c> {
        Node { raw, place: Place { above: Some(&self.place), step: Step::Member(name) } }
    }

    pub fn get<'c>(&'c self, name: &'static str, raw: Option<&'a RawValue>) -> Option<Node<'a, 'c>> {
        raw.map(|raw| self.member(name, raw))
    }

    pub fn need<'c>(
        &'c self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Node<'a, 'c>, BadRequest> {
        self.get(name, raw).ok_or_else(|| self.bad(Problem::Lacks(name)))
    }

    /// The text of a member that may be absent.
    pub fn text_of(
        &self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Option<Text<'a>>, BadRequest> {
        self.get(name, raw).map(|node| node.text()).transpose()
    }

    /// The text of a member that must be there.
    pub fn need_text(&self, name: &'static str, raw: Option<&'a RawValue>) -> Result<Text<'a>, BadRequest> {
        self.need(name, raw)?.text()
    }

    pub fn is_text(&self) -> bool {
        self.raw().starts_with('"')
    }

    pub fn is_list(&self) -> bool {
        self.raw().starts_with('[')
    }

    pub fn is_object(&self) -> bool {
        self.raw().starts_with('{')
    }

    pub fn text(&self) -> Result<Text<'a>, BadRequest> {
        Text::of(self.raw()).ok_or_else(|| self.bad(Problem::MustBe("a string")))
    }

    pub fn boolean(&self) -> Result<bool, BadRequest> {
        match self.raw() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.bad(Problem::MustBe("true or false"))),
        }
    }

    pub fn number(&self) -> Result<&'a str, BadRequest> {
        if self.raw().starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Ok(self.raw());
        }
        Err(self.bad(Problem::MustBe("a number")))
    }

    pub fn object(&self) -> Result<&'a str, BadRequest> {
        if self.is_object() { Ok(self.raw()) } else { Err(self.bad(Problem::MustBe("an object"))) }
    }

    /// The members that matter; of a document that was found to be JSON, only repeated ones can be wrong.
    pub fn members<T: Deserialize<'a>>(&self) -> Result<T, BadRequest> {
        serde_json::from_str(self.object()?).map_err(|_| self.bad(Problem::Repeats))
    }

    /// Shows each element to `visit`, up to the first that it refuses.
    pub fn each(&self, visit: impl FnMut(Node<'a, '_>) -> Result<(), BadRequest>) -> Result<(), BadRequest> {
        if !self.is_list() {
            return Err(self.bad(Problem::MustBe("a list")));
        }
        let mut refused = None;
        let elements = Elements { place: &self.place, visit, refused: &mut refused };
        let outcome = serde_json::Deserializer::from_str(self.raw()).deserialize_seq(elements);
        match refused {
            Some(refused) => Err(refused),
            None => outcome.map_err(|_| self.bad(Problem::MustBe("a list"))),
        }
    }

    pub fn bad(&self, problem: Problem) -> BadRequest {
        BadRequest::at(&self.place, problem)
    }
}

struct Elements<'e, V> {
    place: &'e Place<'e>,
    visit: V,
    refused: &'e mut Option<BadRequest>,
}

impl<'a, V: FnMut(Node<'a, '_>) -> Result<(), BadRequest>> Visitor<'a> for Elements<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(raw) = elements.next_element::<&RawValue>()? {
            let place = Place { above: Some(self.place), step: Step::Index(index) };
            if let Err(refused) = (self.visit)(Node { raw, place }) {
                *self.refused = Some(refused);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}
