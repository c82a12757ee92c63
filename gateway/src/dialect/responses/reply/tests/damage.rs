//! Streams cut anywhere, and streams that are broken.

use bytes::BytesMut;
use proptest::prelude::*;

use super::cases::Case;
use super::{ENDED_S, opening, order, translated};
use crate::dialect::responses::reply::{UpstreamFault, whole};

/// A case that is longer is cut at random only.
const CUT_EVERYWHERE_BYTES_MAX: usize = 4096;

#[test]
fn a_stream_cut_at_any_byte_gives_the_same_events() {
    for case in Case::all() {
        let (Some(end), bytes) = (case.end(), case.upstream.as_slice()) else { continue };
        let expected = translated(case.turn(), [bytes], end);
        for cut in 0..bytes.len().min(CUT_EVERYWHERE_BYTES_MAX) {
            let (head, tail) = bytes.split_at(cut);
            let found = translated(case.turn(), [head, tail], end);
            assert_eq!(found, expected, "{} cut at {cut}", case.path.display());
        }
        assert_eq!(translated(case.turn(), bytes.chunks(1), end), expected, "{}", case.path.display());
    }
}

fn mangled(mut bytes: Vec<u8>, changes: &[(usize, u8, u8)]) -> Vec<u8> {
    for &(at, byte, how) in changes {
        let at = at.checked_rem(bytes.len()).unwrap_or(0);
        match how % 5 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, byte),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            // A stretch comes twice.
            4 => bytes.extend_from_within(at..bytes.len().min(at + usize::from(byte))),
            _ => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_in_any_chunks_gives_the_same_events(
        at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1usize..200, 1..20),
    ) {
        let case = at.get(Case::all());
        let Some(end) = case.end() else { return Ok(()) };
        let mut rest = case.upstream.as_slice();
        let chunks = sizes.iter().cycle().map_while(|size| {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            (!chunk.is_empty()).then_some(chunk)
        });
        let found = translated(case.turn(), chunks, end);
        prop_assert_eq!(found, translated(case.turn(), [case.upstream.as_slice()], end));
    }

    #[test]
    fn damage_breaks_no_rule(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec(any::<(usize, u8, u8)>(), 1..8),
    ) {
        let case = at.get(Case::all());
        let bytes = mangled(case.upstream.clone(), &changes);
        UpstreamFault::of_answer(500, &bytes, None);
        match case.end() {
            Some(end) => {
                order::check(&translated(case.turn(), [bytes.as_slice()], end));
            }
            None => {
                let found: Result<BytesMut, _> = whole(opening(case.turn()), &bytes, ENDED_S);
                prop_assert!(found.is_err() || serde_json::from_slice::<serde_json::Value>(&found.unwrap()).is_ok());
            }
        }
    }
}
