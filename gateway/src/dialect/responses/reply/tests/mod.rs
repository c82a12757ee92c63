//! The way back's specification: cases to read, rules that hold for every answer, and cuts and damage anywhere.

mod agree;
mod cases;
mod damage;
mod frames;
mod limits;
mod order;

use bytes::BytesMut;

use super::{End, Opening, StreamTranslator};
use crate::dialect::responses::turn::Turn;

const STARTED_S: u64 = 1_000;
const ENDED_S: u64 = 1_003;

fn opening(turn: Turn) -> Opening {
    Opening { turn, now_s: STARTED_S, nonce: 0 }
}

/// All that a stream in these chunks becomes.
fn translated<'a>(turn: Turn, chunks: impl IntoIterator<Item = &'a [u8]>, end: End) -> String {
    let (mut stream, mut out) = (StreamTranslator::new(opening(turn)), BytesMut::new());
    stream.start(&mut out);
    for chunk in chunks {
        stream.feed(chunk, ENDED_S, &mut out);
    }
    stream.end(end, ENDED_S, &mut out);
    assert!(stream.finished());
    let len = out.len();
    stream.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\n", ENDED_S, &mut out);
    stream.keep_alive(&mut out);
    stream.end(End::Cut, ENDED_S, &mut out);
    assert_eq!(out.len(), len, "something was written after the end");
    String::from_utf8(out.to_vec()).unwrap()
}
