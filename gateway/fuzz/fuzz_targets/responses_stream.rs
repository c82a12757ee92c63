//! Whatever a provider streams and wherever it is cut, the translated events are the same, each of them is JSON, and
//! the last one ends the answer.
#![no_main]

use bytes::BytesMut;
use gateway::dialect::responses::reply::{End, Opening, StreamTranslator, whole};
use gateway::dialect::responses::turn::Turn;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn opening(reasoning: bool) -> Opening {
    let turn = Turn { stream: true, reasoning, thought_signatures: reasoning, ..Turn::default() };
    Opening { turn, now_s: 1, nonce: 1 }
}

fn translated<'c>(reasoning: bool, chunks: impl IntoIterator<Item = &'c [u8]>, end: End) -> BytesMut {
    let (mut stream, mut out) = (StreamTranslator::new(opening(reasoning)), BytesMut::new());
    stream.start(&mut out);
    for chunk in chunks {
        stream.feed(chunk, 2, &mut out);
    }
    stream.end(end, 2, &mut out);
    assert!(stream.finished());
    out
}

fuzz_target!(|data: &[u8]| {
    let [how, size, stream @ ..] = data else { return };
    let reasoning = how & 1 == 1;
    let end = [End::Clean, End::Cut, End::TimedOut][usize::from(how >> 1) % 3];
    let events = translated(reasoning, [stream], end);
    assert_eq!(translated(reasoning, stream.chunks(usize::from(*size) + 1), end), events);
    let text = std::str::from_utf8(&events).unwrap();
    let mut last = Value::Null;
    let events = text.strip_suffix("data: [DONE]\n\n").unwrap();
    for event in events.split_terminator("\n\n") {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        last = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), last["type"].as_str());
    }
    let ends = ["response.completed", "response.incomplete", "response.failed"];
    assert!(ends.contains(&last["type"].as_str().unwrap()), "{last}");
    if let Ok(object) = whole(opening(reasoning), stream, 2) {
        serde_json::from_slice::<Value>(&object).unwrap();
    }
});
