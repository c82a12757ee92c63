//! Values of a request where they stand, read one level at a time.
//!
//! What must stay true: whatever is refused is named by its place; what is only passed on stays as it was spelt.
//! Lists are walked, never collected, so nothing here grows with what a client repeats.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
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

    /// The text of an object.
    pub fn braces(&self) -> Result<&'a str, BadRequest> {
        if self.is_object() { Ok(self.raw()) } else { Err(self.bad(Problem::MustBe("an object"))) }
    }

    /// An object; of a document that was found to be JSON, only members that are repeated can be wrong in it.
    pub fn object<T: Deserialize<'a>>(&self) -> Result<Object<'p, T>, BadRequest> {
        let has = serde_json::from_str(self.braces()?).map_err(|_| self.bad(Problem::Repeats))?;
        Ok(Object { place: self.place, has })
    }

    /// Shows each element, which must be an object, to `visit`, up to the first that it refuses.
    pub fn objects<T: Deserialize<'a>>(
        &self,
        mut visit: impl FnMut(&Object<'_, T>) -> Result<(), BadRequest>,
    ) -> Result<(), BadRequest> {
        let mut count = 0;
        let outcome = self.elements(|place, Braced(has)| {
            count += 1;
            visit(&Object { place, has })
        })?;
        let Err(_) = outcome else { return Ok(()) };
        // Something in the list is no such object: it is looked for once more, to name it.
        let mut index = 0;
        self.each(|node| {
            index += 1;
            if index > count { node.object::<T>().map(drop) } else { Ok(()) }
        })?;
        Err(self.bad(Problem::MustBe("a list of objects")))
    }

    /// Shows each element to `visit`, up to the first that it refuses.
    pub fn each(
        &self,
        mut visit: impl FnMut(Node<'a, '_>) -> Result<(), BadRequest>,
    ) -> Result<(), BadRequest> {
        self.elements(|place, raw| visit(Node { raw, place }))?
            .map_err(|_| self.bad(Problem::MustBe("a list")))
    }

    fn elements<T: Deserialize<'a>>(
        &self,
        visit: impl FnMut(Place<'_>, T) -> Result<(), BadRequest>,
    ) -> Result<Result<(), serde_json::Error>, BadRequest> {
        if !self.is_list() {
            return Err(self.bad(Problem::MustBe("a list")));
        }
        let mut refused = None;
        let elements = Elements { place: &self.place, visit, refused: &mut refused, of: PhantomData };
        let outcome = serde_json::Deserializer::from_str(self.raw()).deserialize_seq(elements);
        refused.map_or(Ok(outcome), Err)
    }

    pub fn bad(&self, problem: Problem) -> BadRequest {
        BadRequest::at(&self.place, problem)
    }
}

/// The members of an object that matter, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Object<'p, T> {
    place: Place<'p>,
    pub has: T,
}

impl<T> Object<'_, T> {
    pub fn get<'a, 'c>(&'c self, name: &'static str, raw: Option<&'a RawValue>) -> Option<Node<'a, 'c>> {
        raw.map(|raw| Node { raw, place: Place { above: Some(&self.place), step: Step::Member(name) } })
    }

    pub fn need<'a, 'c>(
        &'c self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Node<'a, 'c>, BadRequest> {
        self.get(name, raw).ok_or_else(|| self.bad(Problem::Lacks(name)))
    }

    /// The text of a member that may be absent.
    pub fn text_of<'a>(
        &self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Option<Text<'a>>, BadRequest> {
        self.get(name, raw).map(|node| node.text()).transpose()
    }

    /// The text of a member that must be there.
    pub fn need_text<'a>(
        &self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Text<'a>, BadRequest> {
        self.need(name, raw)?.text()
    }

    pub fn bad(&self, problem: Problem) -> BadRequest {
        BadRequest::at(&self.place, problem)
    }
}

struct Elements<'e, V, T> {
    place: &'e Place<'e>,
    visit: V,
    refused: &'e mut Option<BadRequest>,
    of: PhantomData<T>,
}

impl<'a, V, T> Visitor<'a> for Elements<'_, V, T>
where
    V: FnMut(Place<'_>, T) -> Result<(), BadRequest>,
    T: Deserialize<'a>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = elements.next_element()? {
            let place = Place { above: Some(self.place), step: Step::Index(index) };
            if let Err(refused) = (self.visit)(place, element) {
                *self.refused = Some(refused);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

/// Members of an object; the derived readers alone would take a list for one.
pub struct Braced<T>(pub T);

impl<'a, T: Deserialize<'a>> Deserialize<'a> for Braced<T> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BracedVisitor(PhantomData))
    }
}

struct BracedVisitor<T>(PhantomData<T>);

impl<'a, T: Deserialize<'a>> Visitor<'a> for BracedVisitor<T> {
    type Value = Braced<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, members: A) -> Result<Braced<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Braced)
    }
}
