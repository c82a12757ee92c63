//! Whatever a client sends, its head is read in bounds, and its body ends at the same byte wherever it is cut.
#![no_main]

use bytes::BytesMut;
use gateway::h1::{BodyDecoder, BodyEvent, HeadLimits, RequestHead, parse_request};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, target_bytes_max: 512, lines_max: 50 };

/// The body, and what is left after its end; `None`: it has no end, or broken framing.
fn body<'c>(head: &RequestHead, chunks: impl IntoIterator<Item = &'c [u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut decoder, mut buffer, mut found) = (BodyDecoder::new(head.body), BytesMut::new(), Vec::new());
    let mut has_ended = false;
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        if !has_ended {
            let event = decoder.decode(&mut buffer, |data| found.extend_from_slice(&data)).ok()?;
            has_ended = matches!(event, BodyEvent::End { .. });
        }
    }
    has_ended.then(|| (found, buffer.to_vec()))
}

fuzz_target!(|data: &[u8]| {
    let Some((size, sent)) = data.split_first() else { return };
    let mut buffer = BytesMut::from(sent);
    let Ok(Some(head)) = parse_request(&mut buffer, &LIMITS) else { return };
    assert!(head.target().len() <= LIMITS.target_bytes_max);
    if !buffer.is_empty() {
        let whole = body(&head, [&buffer[..]]);
        assert_eq!(body(&head, buffer.chunks(usize::from(*size) + 1)), whole);
    }
});
