//! Which tool call a piece of one belongs to.
//!
//! Providers number calls, name them by id, do neither, number all of them 0, or repeat the id in each piece.

use super::chat::ToolPiece;

/// Most tool calls of one answer.
pub const TOOL_CALLS_MAX: usize = 256;

/// A call as far as its pieces tell.
#[derive(Debug, Default)]
pub struct Call {
    /// The provider's id. Empty: not known.
    id: Box<str>,
    index: Option<u64>,
    /// The name it went by upstream. Empty: not known.
    pub name: Box<str>,
    pub signature: Option<Box<str>>,
    /// Arguments that came before the name.
    pub early: String,
    /// The item that was opened for it, once its name was known.
    pub item: Option<usize>,
}

impl Call {
    pub fn id(&self) -> Option<&str> {
        Some(&*self.id).filter(|id| !id.is_empty())
    }
}

/// How pieces are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    /// Of a stream: a call comes in any number of them.
    Parts,
    /// Of a whole answer: each is a call.
    Calls,
}

#[derive(Debug, Default)]
pub struct Calls(Vec<Call>);

impl Calls {
    pub fn get_mut(&mut self, at: usize) -> Option<&mut Call> {
        self.0.get_mut(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.0.iter()
    }

    /// The call a piece belongs to, which may be a new one. `begins_anew` says of a call whether the piece, though its
    /// id does not tell, can only be the beginning of another. `None`: there are too many calls.
    pub fn place(
        &mut self,
        piece: &ToolPiece<'_>,
        pieces: Pieces,
        begins_anew: impl Fn(&Call) -> bool,
    ) -> Option<usize> {
        let known = match pieces {
            Pieces::Parts => self.find(piece, begins_anew),
            Pieces::Calls => None,
        };
        let at = known.unwrap_or(self.0.len());
        if at == self.0.len() {
            if at == TOOL_CALLS_MAX {
                return None;
            }
            self.0.push(Call::default());
        }
        let call = self.0.get_mut(at)?;
        if call.id.is_empty() {
            call.id = (*piece.id).into();
        }
        call.index = call.index.or(piece.index.0);
        Some(at)
    }

    fn find(&self, piece: &ToolPiece<'_>, begins_anew: impl Fn(&Call) -> bool) -> Option<usize> {
        let numbered = |index| self.0.iter().rposition(|call| call.index == Some(index));
        if !piece.id.is_empty() {
            if let Some(at) = self.0.iter().rposition(|call| *call.id == *piece.id) {
                return Some(at);
            }
            let at = numbered(piece.index.0?)?;
            let call = self.0.get(at)?;
            return (call.id.is_empty() && !begins_anew(call)).then_some(at);
        }
        let last = self.0.len().checked_sub(1)?;
        let at = match piece.index.0 {
            None => last,
            Some(index) => numbered(index).or_else(|| self.0.get(last)?.index.is_none().then_some(last))?,
        };
        (!begins_anew(self.0.get(at)?)).then_some(at)
    }
}
