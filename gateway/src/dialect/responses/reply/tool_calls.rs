//! The machine's part for tool calls: an item for each, opened once its name is known.
//!
//! What must stay true: the item's id and `call_id` never change once they were told; arguments are passed as they
//! came, in the order in which they came.

use serde::de::IgnoredAny;

use super::calls::{Call, Pieces, TOOL_CALLS_MAX};
use super::chat::{FunctionPiece, ToolPiece};
use super::event::Sink;
use super::fault::UpstreamFault;
use super::item::{Item, Kind, Tool};
use super::machine::Machine;
use crate::dialect::responses::signature;
use crate::dialect::responses::turn::ToolName;

impl Machine {
    pub fn tool_piece(
        &mut self,
        piece: &ToolPiece<'_>,
        pieces: Pieces,
        sink: &mut impl Sink,
    ) -> Result<(), UpstreamFault> {
        self.flush(sink)?;
        let unnamed = FunctionPiece::default();
        let function = piece.function.as_ref().unwrap_or(&unnamed);
        let arguments = function.arguments();
        let items = &self.items;
        let at = self
            .calls
            .place(piece, pieces, |call| begins_anew(call, items, piece, &function.name, &arguments));
        let Some(at) = at else {
            let why = format!("the provider sent more than {TOOL_CALLS_MAX} tool calls in one answer");
            return Err(UpstreamFault::server(why));
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if let Some(signature) = piece.thought_signature() {
            call.signature.get_or_insert_with(|| (*signature).into());
        }
        if let Some(item) = call.item {
            return self.add_to(item, &arguments, sink);
        }
        if function.name.is_empty() {
            call.early.push_str(&arguments);
            return self.keep(arguments.len());
        }
        self.open_call(at, &function.name, &arguments, sink)
    }

    fn open_call(
        &mut self,
        at: usize,
        name: &str,
        arguments: &str,
        sink: &mut impl Sink,
    ) -> Result<(), UpstreamFault> {
        self.close_open(sink);
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        call.name = name.into();
        let id: Box<str> = match call.id() {
            Some(id) => id.into(),
            None => self.ids.next("call"),
        };
        let signature = call.signature.as_deref().filter(|_| self.carries_signatures);
        let call_id = signature::join(&id, signature).into();
        let early = std::mem::take(&mut call.early);
        // Counted when it came.
        self.kept_bytes = self.kept_bytes.saturating_sub(early.len());
        let kind = match self.tools.get(name).cloned() {
            Some(ToolName::Custom { namespace, name }) => Kind::Custom(Tool { call_id, namespace, name }),
            Some(ToolName::Function { namespace, name }) => Kind::Function(Tool { call_id, namespace, name }),
            None => Kind::Function(Tool { call_id, namespace: None, name: name.into() }),
        };
        let item = self.open(kind, sink)?;
        if let Some(call) = self.calls.get_mut(at) {
            call.item = Some(item);
        }
        self.add_to(item, &early, sink)?;
        self.add_to(item, arguments, sink)
    }
}

/// Whether a piece that its id does not place can only be the beginning of another call than `call`: it names a
/// function and brings arguments though `call` has all of its own, or it is not numbered and names another function.
fn begins_anew(call: &Call, items: &[Item], piece: &ToolPiece<'_>, name: &str, arguments: &str) -> bool {
    if name.is_empty() || call.name.is_empty() {
        return false;
    }
    if piece.index.0.is_none() && *call.name != *name {
        return true;
    }
    let text = call.item.and_then(|at| items.get(at)).map_or("", |item| &item.text);
    !arguments.trim().is_empty()
        && text.trim_end().ends_with('}')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}
