//! Whatever a server streams and wherever it is cut: what goes down is whole events and the same ones, and the request
//! for the rest is JSON.
#![no_main]

use bytes::{Bytes, BytesMut};
use gateway::resume::{AtCut, Resumable, ResumableStream};
use libfuzzer_sys::fuzz_target;

const QUESTION: &[u8] =
    br#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}"#;

/// What went down, and the request for the rest after a cut.
fn passed<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Option<(BytesMut, Option<Bytes>)> {
    let resumable = Resumable::of(QUESTION).unwrap();
    let (mut stream, mut out) = (ResumableStream::new(resumable.wants_usage), BytesMut::new());
    for chunk in chunks {
        stream.feed(chunk, &mut out).ok()?;
    }
    let rest = match stream.cut() {
        AtCut::GoesOn => resumable.rest(&Bytes::from_static(QUESTION), &stream.so_far()),
        _ => None,
    };
    Some((out, rest))
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = passed([stream]);
    assert_eq!(passed(stream.chunks(usize::from(*size) + 1)), whole);
    if let Some((_, Some(rest))) = whole {
        serde_json::from_slice::<serde_json::Value>(&rest).unwrap();
    }
});
