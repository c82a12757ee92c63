//! Whatever a stream holds and wherever it is cut, its events are the same.
#![no_main]

use gateway::dialect::sse::EventReader;
use libfuzzer_sys::fuzz_target;

fn events<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Vec<u8>> {
    let (mut reader, mut found) = (EventReader::default(), Vec::new());
    for chunk in chunks {
        reader.feed(chunk, |data| found.push(data.to_vec())).unwrap();
    }
    reader.finish(|data| found.push(data.to_vec())).unwrap();
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = events([stream]);
    assert_eq!(events(stream.chunks(usize::from(*size) + 1)), whole);
    assert_eq!(events(stream.chunks(1)), whole);
});
