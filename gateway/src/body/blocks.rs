//! Many bytes at a time: which of them are quotes, brackets, or part of a string.
//!
//! Plain loops over arrays of fixed size, which the compiler turns into vector instructions: "does any of these 64
//! bytes matter" costs less than one nanosecond per 16 bytes, and most blocks of a body don't matter. Only for a
//! block that does, the answers are gathered into a mask, one bit per byte, the lowest bit first.
//!
//! What must stay true: no function here depends on where the bytes lie in memory, and each agrees with a reading
//! byte by byte. Absent on purpose: vector intrinsics, which can't be called without `unsafe`.

/// Bytes in a block.
pub const BLOCK: usize = 64;

/// A block as it lies in the body; the last one is padded with white space.
pub type Block = [u8; BLOCK];

/// The bytes before a block that decide whether its first quote is escaped, most of the time.
pub const LOOK_BACK: usize = 4;

/// A block with the bytes before it.
pub type Window = [u8; LOOK_BACK + BLOCK];

const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// Whether a string that has begun before this window goes on behind it.
///
/// True only when every quote in the block follows a run of exactly one backslash, or of exactly three (JSON inside
/// JSON), so "no" means: look closer.
#[inline(always)]
pub fn text_goes_on(window: &Window) -> bool {
    let [Some(fourth), Some(third), Some(second), Some(first), Some(block)] =
        [0, 1, 2, 3, 4].map(|by| shifted::<BLOCK>(window, by))
    else {
        return false;
    };
    let mut doubtful = [0; BLOCK];
    for (((doubtful, byte), first), second) in doubtful.iter_mut().zip(block).zip(first).zip(second) {
        let escaped = (*first == b'\\') & (*second != b'\\');
        *doubtful = if (*byte == b'"') & !escaped { 0xff } else { 0 };
    }
    if !any_hit(&doubtful) {
        return true;
    }
    for ((((doubtful, first), second), third), fourth) in
        doubtful.iter_mut().zip(first).zip(second).zip(third).zip(fourth)
    {
        let run = (*first == b'\\') & (*second == b'\\') & (*third == b'\\') & (*fourth != b'\\');
        *doubtful = if run { 0 } else { *doubtful };
    }
    !any_hit(&doubtful)
}

#[inline(always)]
fn shifted<const N: usize>(bytes: &[u8], by: usize) -> Option<&[u8; N]> {
    bytes.get(by..)?.first_chunk()
}

/// Whether no byte of the block opens or closes anything, in JSON or a superset of it.
#[inline(always)]
pub fn is_flat(block: &Block) -> bool {
    let is_mark = |byte: u8| (byte == b'"') | (byte == b'\\') | is_bracket(byte) | is_foreign(byte);
    !any_hit(&hits(block, is_mark))
}

/// One bit per byte that is `wanted`.
#[inline(always)]
pub fn equal(block: &Block, wanted: u8) -> u64 {
    gather(&hits(block, |byte| byte == wanted))
}

/// The backslashes; most blocks have none, and finding that out is cheap.
#[inline(always)]
pub fn backslashes(block: &Block) -> u64 {
    gather_rare(&hits(block, |byte| byte == b'\\'))
}

/// `{`, `}`, `[`, `]`, also inside strings.
#[inline(always)]
pub fn brackets(block: &Block) -> u64 {
    gather(&hits(block, is_bracket))
}

/// `,` and `:`, also inside strings.
#[inline(always)]
pub fn separators(block: &Block) -> u64 {
    gather(&hits(block, |byte| (byte == b',') | (byte == b':')))
}

/// What opens a string or a comment in supersets of JSON, and nothing in JSON itself.
#[inline(always)]
pub fn foreign_marks(block: &Block) -> u64 {
    gather_rare(&hits(block, is_foreign))
}

#[inline(always)]
fn is_foreign(byte: u8) -> bool {
    (byte == b'\'') | (byte == b'/') | (byte == b'#')
}

/// Brackets come in pairs that differ in one bit, the one that tells capitals.
#[inline(always)]
fn is_bracket(byte: u8) -> bool {
    let folded = byte | 0x20;
    (folded == b'{') | (folded == b'}')
}

/// All ones for each byte that is wanted, zeros for the others: what one vector comparison gives.
#[inline(always)]
fn hits<const N: usize>(bytes: &[u8; N], is_wanted: impl Fn(u8) -> bool) -> [u8; N] {
    let mut hits = [0; N];
    for (hit, byte) in hits.iter_mut().zip(bytes) {
        *hit = if is_wanted(*byte) { 0xff } else { 0 };
    }
    hits
}

#[inline(always)]
fn any_hit<const N: usize>(hits: &[u8; N]) -> bool {
    hits.iter().fold(0, |all, hit| all | hit) != 0
}

/// One bit per hit: keeps another bit of each byte, and adds up eight bytes with a multiplication.
#[inline(always)]
fn gather(hits: &Block) -> u64 {
    let mut mask = 0;
    for (index, word) in hits.as_chunks::<8>().0.iter().enumerate() {
        let one_bit_each = u64::from_le_bytes(*word) & 0x8040_2010_0804_0201;
        mask |= (one_bit_each.wrapping_mul(0x0101_0101_0101_0101) >> 56) << (8 * index);
    }
    mask
}

/// The same for what most blocks don't have, which is cheaper to find out.
#[inline(always)]
fn gather_rare(hits: &Block) -> u64 {
    if any_hit(hits) { gather(hits) } else { 0 }
}

/// The bytes that follow an odd run of backslashes; `first` is 1 when the block's first byte does.
///
/// A run's bytes alternate between escape and escaped. Subtracting a run from its own shifted copy, with the odd
/// bits set, carries that alternation along the run whatever its length. The second value is `first` of what follows.
#[inline(always)]
pub fn escaped(backslashes: u64, first: u64) -> (u64, u64) {
    let starts = backslashes & !first;
    let alternating = ((starts << 1) | ODD_BITS).wrapping_sub(starts) ^ ODD_BITS;
    (alternating ^ (backslashes | first), (alternating & backslashes) >> 63)
}

/// The bytes inside strings, given the quotes that open or close one (the opening quote counts, the closing one
/// doesn't) and all ones or zeros for whether the block begins inside a string.
#[inline(always)]
pub fn inside_strings(quotes: u64, before: u64) -> u64 {
    let mut parity = quotes;
    for shift in [1, 2, 4, 8, 16, 32] {
        parity ^= parity << shift;
    }
    parity ^ before
}

/// Whether the bytes end with an odd run of backslashes, so that what follows is escaped.
#[inline(always)]
pub fn ends_escaping(bytes: &[u8]) -> bool {
    bytes.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The index of the quote that closes a string; `at` is in the string and not escaped.
#[inline]
pub fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let text = bytes.get(at..)?;
    let mut from = 0;
    loop {
        let quote = from + memchr::memchr(b'"', text.get(from..)?)?;
        if !ends_escaping(text.get(..quote)?) {
            return Some(at + quote);
        }
        from = quote + 1;
    }
}

/// Copies what is left of a body into a block of its own.
#[inline]
pub fn padded<const N: usize>(tail: &[u8]) -> [u8; N] {
    let mut block = [b' '; N];
    let len = tail.len().min(N);
    if let (Some(to), Some(from)) = (block.get_mut(..len), tail.get(..len)) {
        to.copy_from_slice(from);
    }
    block
}

/// Bytes that are read at once in the search for a line's end.
const STRIDE: usize = 32;

/// The length of the first line, if it has an end and nothing in it can spell a key `model`.
///
/// Such a key ends with `model"`, or has at least one of its letters as an escape, and of those only `\u` gives
/// letters. So a line without either holds no such key, wherever its JSON began.
#[inline]
pub fn plain_line_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let hit = at + next_hit(bytes.get(at..)?, true)?;
        match bytes.get(hit)? {
            b'\n' | b'\r' => return Some(hit),
            _ if spells_model(bytes, hit) => return None,
            _ => at = hit + 1,
        }
    }
}

/// Whether nothing in `bytes` can spell a key `model`.
#[inline]
pub fn names_no_model(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(hit) = bytes.get(at..).and_then(|rest| next_hit(rest, false)) {
        if spells_model(bytes, at + hit) {
            return false;
        }
        at += hit + 1;
    }
    true
}

/// `hit` is the `l` of `l"` or the backslash of `\u`.
#[inline]
fn spells_model(bytes: &[u8], hit: usize) -> bool {
    bytes.get(hit) == Some(&b'\\') || bytes.get(..=hit).is_some_and(|head| head.ends_with(b"model"))
}

/// The first `l"`, `\u`, or, when `lines` counts, line end.
#[inline(always)]
fn next_hit(bytes: &[u8], lines: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let hit = match rest.first_chunk::<{ STRIDE + 1 }>() {
            Some(stride) => hit_in(stride, lines),
            None if rest.is_empty() => return None,
            None => hit_in(&padded(rest), lines),
        };
        if let Some(hit) = hit {
            return Some(at + hit);
        }
        at += STRIDE;
    }
}

#[inline(always)]
fn hit_in(stride: &[u8; STRIDE + 1], lines: bool) -> Option<usize> {
    let mut hits = [0u8; STRIDE];
    let (bytes, nexts) = (shifted::<STRIDE>(stride, 0)?, shifted::<STRIDE>(stride, 1)?);
    for ((hit, byte), next) in hits.iter_mut().zip(bytes).zip(nexts) {
        let name = (*byte == b'l') & (*next == b'"') | (*byte == b'\\') & (*next == b'u');
        let line = lines & ((*byte == b'\n') | (*byte == b'\r'));
        *hit = if name | line { 0xff } else { 0 };
    }
    if !any_hit(&hits) {
        return None;
    }
    hits.iter().position(|hit| *hit != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Quotes, what is inside strings, and whether the end is escaped and inside, byte by byte.
    fn slow(bytes: &[u8], (mut is_escaped, mut inside): (bool, bool)) -> (u64, u64, (bool, bool)) {
        let (mut quotes, mut in_string) = (0, 0);
        for (index, byte) in bytes.iter().enumerate() {
            let was_escaped = std::mem::replace(&mut is_escaped, false);
            match byte {
                b'\\' => is_escaped = !was_escaped,
                b'"' if !was_escaped => {
                    quotes |= 1 << index;
                    inside = !inside;
                }
                _ => {}
            }
            in_string |= u64::from(inside) << index;
        }
        (quotes, in_string, (is_escaped, inside))
    }

    fn dense(len: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"\\\\\\\\\"\"modelu{}[],:'/#\n\r\x80\x00 ".to_vec());
        prop::collection::vec(byte, len)
    }

    fn slow_mask(block: &Block, set: &[u8]) -> u64 {
        block.iter().enumerate().map(|(index, byte)| u64::from(set.contains(byte)) << index).sum()
    }

    proptest! {
        #[test]
        fn quotes_and_strings_agree_with_a_byte_by_byte_reading(bytes in dense(BLOCK * 3)) {
            let (mut first, mut before, mut state) = (0, 0, (false, false));
            for block in bytes.as_chunks::<BLOCK>().0 {
                let (skip, next) = escaped(backslashes(block), first);
                let quotes = equal(block, b'"') & !skip;
                let inside = inside_strings(quotes, before);
                let (slow_quotes, slow_inside, after) = slow(block, state);
                prop_assert_eq!((quotes, inside), (slow_quotes, slow_inside));
                (first, before, state) = (next, 0u64.wrapping_sub(inside >> 63), after);
                prop_assert_eq!((first == 1, before != 0), state);
            }
        }

        #[test]
        fn masks_agree_with_a_byte_by_byte_reading(bytes in prop::collection::vec(any::<u8>(), BLOCK), more in dense(BLOCK)) {
            for bytes in [bytes, more] {
                let block = padded(&bytes);
                prop_assert_eq!(brackets(&block), slow_mask(&block, b"[]{}"));
                prop_assert_eq!(separators(&block), slow_mask(&block, b",:"));
                prop_assert_eq!(foreign_marks(&block), slow_mask(&block, b"'/#"));
                prop_assert_eq!(backslashes(&block), slow_mask(&block, b"\\"));
                prop_assert_eq!(is_flat(&block), slow_mask(&block, b"\\\"[]{}'/#") == 0);
            }
        }

        #[test]
        fn text_that_is_said_to_go_on_has_no_closing_quote(bytes in prop::collection::vec(prop::sample::select(b"\\\"aaaaaaaaaaaaaaaaaaaaaaaa".to_vec()), BLOCK + LOOK_BACK)) {
            let text = bytes.first_chunk().unwrap();
            prop_assert!(!text_goes_on(text) || string_end(&bytes, LOOK_BACK).is_none() || ends_escaping(&bytes[..LOOK_BACK]));
        }

        #[test]
        fn a_string_ends_where_a_byte_by_byte_reading_ends_it(bytes in dense(50), at in 0usize..50) {
            let (quotes, ..) = slow(&bytes[at..], (false, true));
            prop_assert_eq!(string_end(&bytes, at), (quotes != 0).then(|| at + quotes.trailing_zeros() as usize));
        }

        #[test]
        fn a_line_is_plain_when_it_has_neither_the_key_nor_an_escape_of_letters(
            pieces in prop::collection::vec(prop::sample::select(vec!["model\"", "l\"", "\\", "u", "mode", "l", "\"", "x", "yyyyyyyyyyyyyyyyyyyyyyy", "\n", "\r"]), 0..20),
        ) {
            let text = pieces.concat();
            let plain = |text: &str| !text.contains("model\"") && !text.contains("\\u");
            let expected = text.find(['\n', '\r']).filter(|end| plain(&text[..*end]));
            prop_assert_eq!(plain_line_len(text.as_bytes()), expected);
            prop_assert_eq!(names_no_model(text.as_bytes()), plain(&text));
        }
    }
}
