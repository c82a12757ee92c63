//! From pieces of a chat answer to items: the one state machine for streams and whole answers.
//!
//! What must stay true: items are numbered in the order they are opened; what was added to an item is its text; nothing
//! is added to a closed one. A message or reasoning is closed when something else begins; calls are closed at the
//! end, all together, because clients run a call as soon as it is closed. A failure closes nothing.

use super::calls::{Calls, Pieces};
use super::chat::{Chunk, Message, ToolPiece};
use super::event::{Event, Sink};
use super::fault::UpstreamFault;
use super::ids::Ids;
use super::item::{Item, Kind, Status};
use super::mend;
use super::think::{Part, Splitter};
use super::usage::Usage;
use crate::dialect::responses::turn::ToolNames;

/// Most bytes that are kept of one answer, to be repeated at its end.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an item counts for beside its text.
const ITEM_BYTES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Completed,
    MaxOutputTokens,
    ContentFilter,
}

impl Finish {
    fn of(reason: &str) -> Self {
        match reason {
            "length" | "incomplete" | "max_tokens" => Self::MaxOutputTokens,
            "content_filter" => Self::ContentFilter,
            _ => Self::Completed,
        }
    }
}

#[derive(Debug)]
pub struct Machine {
    pub(super) tools: ToolNames,
    /// Present when reasoning is told apart.
    splitter: Option<Splitter>,
    /// Thought signatures travel with the client.
    pub(super) carries_signatures: bool,
    pub ids: Ids,
    pub items: Vec<Item>,
    /// The message, refusal or reasoning that is being added to.
    open: Option<usize>,
    pub(super) calls: Calls,
    finish: Option<Finish>,
    /// Something was added after a reason to finish: such a reason is no sign of the end.
    finish_is_no_end: bool,
    pub usage: Option<Usage>,
    pub(super) kept_bytes: usize,
}

impl Machine {
    pub fn new(tools: ToolNames, reasoning: bool, carries_signatures: bool, ids: Ids) -> Self {
        Self {
            tools,
            splitter: reasoning.then(Splitter::default),
            carries_signatures,
            ids,
            items: Vec::new(),
            open: None,
            calls: Calls::default(),
            finish: None,
            finish_is_no_end: false,
            usage: None,
            kept_bytes: 0,
        }
    }

    /// Takes an event of a stream, or a whole answer. False when there is no choice in it.
    pub fn take(&mut self, json: &str, pieces: Pieces, sink: &mut impl Sink) -> Result<bool, UpstreamFault> {
        let mended;
        let chunk = match Chunk::read(json) {
            Some(chunk) => chunk,
            None => {
                mended = mend::mended(json).ok_or_else(no_answer)?;
                Chunk::read(&mended).ok_or_else(no_answer)?
            }
        };
        if let Some(usage) = chunk.usage().and_then(Usage::of) {
            self.usage = Some(usage);
        }
        if chunk.is_error() {
            return Err(UpstreamFault::in_answer(json.as_bytes()));
        }
        let Some(choice) = chunk.into_choice() else { return Ok(false) };
        if choice.error().is_some() || &*choice.finish_reason == "error" {
            let error = choice.error().map_or("", |error| error.get());
            return Err(UpstreamFault::in_answer(error.as_bytes()));
        }
        let finish = Some(&*choice.finish_reason).filter(|reason| !reason.is_empty()).map(Finish::of);
        let kept_bytes = self.kept_bytes;
        self.message(&mut choice.into_message(), pieces, sink)?;
        self.finish_is_no_end |= self.finish.is_some() && self.kept_bytes > kept_bytes;
        self.finish = finish.or(self.finish);
        Ok(true)
    }

    /// Whether a stream that is cut here has lost nothing.
    pub fn has_come_to_its_end(&self) -> bool {
        self.finish.is_some() && !self.finish_is_no_end
    }

    pub fn has_finish(&self) -> bool {
        self.finish.is_some()
    }

    /// Closes everything: nothing more will come.
    pub fn close(&mut self, sink: &mut impl Sink) -> Result<Finish, UpstreamFault> {
        self.flush(sink)?;
        if self.calls.iter().any(|call| call.item.is_none() && !call.early.is_empty()) {
            return Err(UpstreamFault::server("the provider sent a tool call without a name"));
        }
        if self.items.is_empty() {
            self.open(Kind::Message, sink)?;
        }
        let finish = self.finish.unwrap_or(Finish::Completed);
        let last = self.items.len().saturating_sub(1);
        for at in 0..self.items.len() {
            let status = match finish {
                Finish::MaxOutputTokens | Finish::ContentFilter if at == last => Status::Incomplete,
                _ => Status::Completed,
            };
            self.close_item(at, status, sink);
        }
        Ok(finish)
    }

    fn message(
        &mut self,
        message: &mut Message<'_>,
        pieces: Pieces,
        sink: &mut impl Sink,
    ) -> Result<(), UpstreamFault> {
        if self.splitter.is_some() && !message.reasoning().is_empty() {
            self.flush(sink)?;
            self.add(Kind::Reasoning, message.reasoning(), sink)?;
        }
        if !message.content.is_empty() {
            self.content(&message.content, sink)?;
        }
        if !message.refusal.is_empty() {
            self.flush(sink)?;
            self.add(Kind::Refusal, &message.refusal, sink)?;
        }
        for piece in message.tool_calls.take().into_iter().flatten() {
            self.tool_piece(&piece, pieces, sink)?;
        }
        match message.function_call.take() {
            Some(function) => self.tool_piece(&ToolPiece::of(function), pieces, sink),
            None => Ok(()),
        }
    }

    fn content(&mut self, text: &str, sink: &mut impl Sink) -> Result<(), UpstreamFault> {
        let Some(mut splitter) = self.splitter.take() else {
            return self.add(Kind::Message, text, sink);
        };
        let mut outcome = Ok(());
        splitter.feed(text, |part, text| {
            if outcome.is_ok() {
                outcome = self.add(kind_of(part), text, sink);
            }
        });
        self.splitter = Some(splitter);
        outcome
    }

    /// Something else begins: what looked like the beginning of a tag was none.
    pub(super) fn flush(&mut self, sink: &mut impl Sink) -> Result<(), UpstreamFault> {
        let Some(mut splitter) = self.splitter.take() else { return Ok(()) };
        let mut outcome = Ok(());
        splitter.flush(|part, text| outcome = self.add(kind_of(part), text, sink));
        self.splitter = Some(splitter);
        outcome
    }

    /// Adds to the open item of this kind, or to a new one.
    fn add(&mut self, kind: Kind, text: &str, sink: &mut impl Sink) -> Result<(), UpstreamFault> {
        let open = self.open.filter(|at| self.items.get(*at).is_some_and(|item| item.kind == kind));
        let at = match open {
            Some(at) => at,
            None => {
                self.close_open(sink);
                let at = self.open(kind, sink)?;
                self.open = Some(at);
                at
            }
        };
        self.add_to(at, text, sink)
    }

    pub(super) fn add_to(
        &mut self,
        at: usize,
        text: &str,
        sink: &mut impl Sink,
    ) -> Result<(), UpstreamFault> {
        if text.is_empty() {
            return Ok(());
        }
        self.keep(text.len())?;
        let Some(item) = self.items.get_mut(at) else { return Ok(()) };
        item.text.push_str(text);
        if !matches!(item.kind, Kind::Custom(_)) {
            sink.event(Event::Added(text), item);
        }
        Ok(())
    }

    pub(super) fn open(&mut self, kind: Kind, sink: &mut impl Sink) -> Result<usize, UpstreamFault> {
        self.keep(ITEM_BYTES)?;
        let index = self.items.len();
        let id = self.ids.next(kind.id_prefix());
        let item = Item { index, id, kind, text: String::new(), status: Status::InProgress };
        sink.event(Event::Opened, &item);
        self.items.push(item);
        Ok(index)
    }

    pub(super) fn close_open(&mut self, sink: &mut impl Sink) {
        if let Some(at) = self.open.take() {
            self.close_item(at, Status::Completed, sink);
        }
    }

    fn close_item(&mut self, at: usize, status: Status, sink: &mut impl Sink) {
        let Some(item) = self.items.get_mut(at).filter(|item| item.status == Status::InProgress) else {
            return;
        };
        let last_words = match &item.kind {
            Kind::Function(_) if item.text.is_empty() && status == Status::Completed => Some("{}".into()),
            Kind::Custom(_) => Some(unwrapped(&item.text)),
            _ => None,
        };
        if let Some(text) = last_words {
            item.text = text;
            if !item.text.is_empty() {
                sink.event(Event::Added(&item.text), item);
            }
        }
        item.status = status;
        sink.event(Event::Closed, item);
    }

    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), UpstreamFault> {
        self.kept_bytes += bytes;
        if self.kept_bytes > ANSWER_BYTES_MAX {
            let why = format!("the provider's answer is over {ANSWER_BYTES_MAX} bytes: ask for fewer tokens");
            return Err(UpstreamFault::server(why));
        }
        Ok(())
    }
}

fn kind_of(part: Part) -> Kind {
    match part {
        Part::Text => Kind::Message,
        Part::Reasoning => Kind::Reasoning,
    }
}

fn no_answer() -> UpstreamFault {
    UpstreamFault::server("the provider sent something that is no chat answer")
}

/// A freeform tool's input, out of the wrapper that functions need. What is no wrapper is the input itself.
fn unwrapped(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Wrapper {
        input: String,
    }
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |wrapper: Wrapper| wrapper.input)
}
