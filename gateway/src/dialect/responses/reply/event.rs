//! The events of items as frames: an `event` line, a `data` line, an empty line.
//!
//! What must stay true: a frame is written whole; `event` is the JSON's `type`; sequence numbers have no gaps.

use bytes::BytesMut;

use super::item::{Item, Kind};
use super::json::{put, put_all};

/// What happens to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    Opened,
    Added(&'a str),
    Closed,
}

/// Who is told of items.
pub trait Sink {
    fn event(&mut self, event: Event<'_>, item: &Item);
}

/// Nobody is: only the end counts.
pub struct Nobody;

impl Sink for Nobody {
    fn event(&mut self, _: Event<'_>, _: &Item) {}
}

/// Writes frames.
pub struct Frames<'a> {
    pub out: &'a mut BytesMut,
    /// The next frame's sequence number.
    pub next: &'a mut u64,
}

impl Frames<'_> {
    /// Writes a frame whose further fields, each after a comma, are written by `fields`.
    pub fn frame(&mut self, kind: &str, fields: impl FnOnce(&mut BytesMut)) {
        put_all(self.out, &["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"]);
        put(self.out, &*self.next);
        *self.next += 1;
        fields(self.out);
        put_all(self.out, &["}\n\n"]);
    }

    /// A frame about one item: its id and index, then what `fields` writes.
    fn item_frame(&mut self, kind: &str, item: &Item, place: &str, fields: impl FnOnce(&mut BytesMut)) {
        self.frame(kind, |out| {
            put_all(out, &[",\"item_id\":\"", &item.id, "\",\"output_index\":"]);
            put(out, &item.index);
            put_all(out, &[place]);
            fields(out);
        });
    }

    fn whole_item(&mut self, kind: &str, item: &Item, show: impl FnOnce(&mut BytesMut)) {
        self.frame(kind, |out| {
            put_all(out, &[",\"output_index\":"]);
            put(out, &item.index);
            put_all(out, &[",\"item\":"]);
            show(out);
        });
    }

    fn part(&mut self, kind: &str, item: &Item, place: &str, text: &str) {
        self.item_frame(kind, item, place, |out| {
            put_all(out, &[",\"part\":"]);
            item.put_part(out, text);
        });
    }
}

impl Sink for Frames<'_> {
    fn event(&mut self, event: Event<'_>, item: &Item) {
        let words = Words::of(&item.kind);
        match event {
            Event::Opened => {
                self.whole_item("response.output_item.added", item, |out| item.put_new(out));
                if let Some((added, _)) = words.part {
                    self.part(added, item, words.place, "");
                }
            }
            Event::Added(text) => self.item_frame(words.delta, item, words.place, |out| {
                put_all(out, &[",\"delta\":"]);
                put(out, text);
                put_all(out, &[words.after]);
            }),
            Event::Closed => {
                self.item_frame(words.done, item, words.place, |out| {
                    put_all(out, &[",\"", words.field, "\":"]);
                    put(out, &item.text);
                    put_all(out, &[words.after]);
                });
                if let Some((_, done)) = words.part {
                    self.part(done, item, words.place, &item.text);
                }
                self.whole_item("response.output_item.done", item, |out| item.put(out));
            }
        }
    }
}

/// The names of one kind's events and fields.
struct Words {
    delta: &'static str,
    done: &'static str,
    /// Where the done event has the whole text.
    field: &'static str,
    /// Which part of the item is meant.
    place: &'static str,
    after: &'static str,
    part: Option<(&'static str, &'static str)>,
}

const CONTENT_PART: Option<(&str, &str)> =
    Some(("response.content_part.added", "response.content_part.done"));

impl Words {
    fn of(kind: &Kind) -> &'static Self {
        match kind {
            Kind::Message => &Self {
                delta: "response.output_text.delta",
                done: "response.output_text.done",
                field: "text",
                place: ",\"content_index\":0",
                after: ",\"logprobs\":[]",
                part: CONTENT_PART,
            },
            Kind::Refusal => &Self {
                delta: "response.refusal.delta",
                done: "response.refusal.done",
                field: "refusal",
                place: ",\"content_index\":0",
                after: "",
                part: CONTENT_PART,
            },
            Kind::Reasoning => &Self {
                delta: "response.reasoning_summary_text.delta",
                done: "response.reasoning_summary_text.done",
                field: "text",
                place: ",\"summary_index\":0",
                after: "",
                part: Some(("response.reasoning_summary_part.added", "response.reasoning_summary_part.done")),
            },
            Kind::Function(_) => &Self {
                delta: "response.function_call_arguments.delta",
                done: "response.function_call_arguments.done",
                field: "arguments",
                place: "",
                after: "",
                part: None,
            },
            Kind::Custom(_) => &Self {
                delta: "response.custom_tool_call_input.delta",
                done: "response.custom_tool_call_input.done",
                field: "input",
                place: "",
                after: "",
                part: None,
            },
        }
    }
}
