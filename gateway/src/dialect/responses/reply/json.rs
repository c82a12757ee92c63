//! JSON, written piece by piece.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

/// Anything whose JSON can't fail: texts and numbers.
pub fn put(out: &mut BytesMut, value: &(impl Serialize + ?Sized)) {
    // Writing to memory and serialising texts and numbers have no way to fail.
    let _ = serde_json::to_writer(out.writer(), value);
}

pub fn put_all(out: &mut BytesMut, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.put_slice(piece.as_bytes()));
}
