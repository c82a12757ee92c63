//! Sixty-four bytes at a time: which of them are quotes, brackets, or part of a string.
//!
//! A mask has one bit per byte of the block; the lowest bit is the first byte. On x86-64 the comparisons are SSE2
//! instructions (part of the baseline, hence safe to call); elsewhere eight bytes are compared in one `u64`.
//!
//! What must stay true: both implementations give the same masks for every block.

/// Bytes in a block.
pub const BLOCK: usize = 64;

/// A block as it lies in the body; the last one is padded with white space.
pub type Block = [u8; BLOCK];

const EVEN_BITS: u64 = 0x5555_5555_5555_5555;
const ODD_BITS: u64 = !EVEN_BITS;

/// What one block hands to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carry {
    /// 1 when the first byte of the next block is escaped.
    escaped: u64,
    /// All ones when the next block begins inside a string.
    in_string: u64,
}

impl Carry {
    pub fn in_string(self) -> bool {
        self.in_string != 0
    }
}

/// A block in registers.
#[derive(Clone, Copy)]
pub struct Lanes(imp::Lanes);

impl Lanes {
    #[inline(always)]
    pub fn load(block: &Block) -> Self {
        Self(imp::Lanes::load(block))
    }

    #[inline(always)]
    pub fn is_ascii(self) -> bool {
        self.0.is_ascii()
    }

    /// The quotes that aren't escaped, and all backslashes.
    #[inline(always)]
    pub fn quotes(self, carry: &mut Carry) -> (u64, u64) {
        let backslashes = self.0.eq(b'\\');
        (self.0.eq(b'"') & !escaped(backslashes, carry), backslashes)
    }

    /// `{`, `}`, `[`, `]`, also inside strings.
    #[inline(always)]
    pub fn brackets(self) -> u64 {
        self.0.brackets()
    }

    /// `,` and `:`, also inside strings.
    #[inline(always)]
    pub fn separators(self) -> u64 {
        self.0.eq_any([b',', b':'])
    }

    /// What opens a string or a comment in supersets of JSON, and nothing in JSON itself.
    #[inline(always)]
    pub fn foreign_marks(self) -> u64 {
        self.0.eq_any([b'\'', b'/', b'#'])
    }
}

/// The bytes inside strings, from the quotes that open or close one; of those the opening quote counts.
#[inline(always)]
pub fn inside_strings(quotes: u64, carry: &mut Carry) -> u64 {
    let inside = prefix_xor(quotes) ^ carry.in_string;
    carry.in_string = 0u64.wrapping_sub(inside >> 63);
    inside
}

/// The bytes that follow an odd run of backslashes.
///
/// A run's bytes alternate between escape and escaped. Subtracting a run from its own shifted copy, with the odd
/// bits set, carries that alternation along the run whatever its length; `carry` takes it into the next block.
#[inline(always)]
fn escaped(backslashes: u64, carry: &mut Carry) -> u64 {
    let starts = backslashes & !carry.escaped;
    let alternating = ((starts << 1) | ODD_BITS).wrapping_sub(starts) ^ ODD_BITS;
    let escaped = alternating ^ (backslashes | carry.escaped);
    carry.escaped = (alternating & backslashes) >> 63;
    escaped
}

/// Bit `i` of the result is the parity of bits `0..=i`.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Copies what is left of a body into a block of its own.
#[inline]
pub fn padded(tail: &[u8]) -> Block {
    let mut block = [b' '; BLOCK];
    for (to, from) in block.iter_mut().zip(tail) {
        *to = *from;
    }
    block
}

use swar as imp;

mod swar {
    use super::Block;

    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = !LOW_SEVEN;

    #[derive(Clone, Copy)]
    pub struct Lanes([u64; 8]);

    impl Lanes {
        #[inline(always)]
        pub fn load(block: &Block) -> Self {
            let (parts, _) = block.as_chunks::<8>();
            let mut lanes = [0; 8];
            for (lane, part) in lanes.iter_mut().zip(parts) {
                *lane = u64::from_le_bytes(*part);
            }
            Self(lanes)
        }

        #[inline(always)]
        pub fn is_ascii(self) -> bool {
            self.0.iter().fold(0, |all, lane| all | lane) & HIGH == 0
        }

        #[inline(always)]
        pub fn eq(self, byte: u8) -> u64 {
            self.eq_any([byte])
        }

        #[inline(always)]
        pub fn eq_any<const N: usize>(self, bytes: [u8; N]) -> u64 {
            self.gather(|lane| bytes.iter().fold(0, |hits, byte| hits | zero_bytes(lane ^ splat(*byte))))
        }

        #[inline(always)]
        pub fn brackets(self) -> u64 {
            Self(self.0.map(|lane| lane | splat(0x20))).eq_any([b'{', b'}'])
        }

        /// One bit per byte, out of lanes with the answer in the highest bit of each byte.
        #[inline(always)]
        fn gather(self, hits: impl Fn(u64) -> u64) -> u64 {
            let mut mask = 0;
            for (index, lane) in self.0.into_iter().enumerate() {
                let bits = (hits(lane) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                mask |= bits << (8 * index);
            }
            mask
        }
    }

    #[inline(always)]
    fn splat(byte: u8) -> u64 {
        u64::from(byte) * 0x0101_0101_0101_0101
    }

    /// The highest bit of each byte that is zero; exact, no carry crosses a byte.
    #[inline(always)]
    fn zero_bytes(word: u64) -> u64 {
        !(((word & LOW_SEVEN) + LOW_SEVEN) | word) & HIGH
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(bytes: &[u8], carry: (bool, bool)) -> (u64, u64, (bool, bool)) {
        let (mut escaped, mut inside) = carry;
        let (mut quotes, mut in_string) = (0, 0);
        for (index, byte) in bytes.iter().enumerate() {
            let was_escaped = std::mem::replace(&mut escaped, false);
            match byte {
                b'\\' => escaped = !was_escaped,
                b'"' if !was_escaped => {
                    quotes |= 1 << index;
                    inside = !inside;
                }
                _ => {}
            }
            in_string |= u64::from(inside) << index;
        }
        (quotes, in_string, (escaped, inside))
    }

    fn dense() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"\\\\\\\\\"\"ab{}[],:'/#\x80\x00 ".to_vec());
        prop::collection::vec(byte, 64 * 3)
    }

    proptest! {
        #[test]
        fn quotes_and_strings_agree_with_a_byte_by_byte_reading(bytes in dense()) {
            let (mut carry, mut slow_carry) = (Carry::default(), (false, false));
            for block in bytes.as_chunks::<64>().0 {
                let (quotes, _) = Lanes::load(block).quotes(&mut carry);
                let found = inside_strings(quotes, &mut carry);
                let (slow_quotes, inside, next) = slow(block, slow_carry);
                slow_carry = next;
                prop_assert_eq!((quotes, found), (slow_quotes, inside));
                prop_assert_eq!(carry.in_string(), slow_carry.1);
            }
        }

        #[test]
        fn both_implementations_give_the_same_masks(bytes in prop::array::uniform32(any::<u8>()), more in dense()) {
            let mut block = padded(&bytes);
            block[32..].copy_from_slice(&more[..32]);
            let (here, portable) = (Lanes::load(&block), swar::Lanes::load(&block));
            prop_assert_eq!(here.is_ascii(), portable.is_ascii());
            prop_assert_eq!(here.is_ascii(), block.is_ascii());
            prop_assert_eq!(here.0.eq(b'"'), portable.eq(b'"'));
            prop_assert_eq!(here.brackets(), portable.brackets());
            prop_assert_eq!(here.separators(), portable.eq_any([b',', b':']));
            prop_assert_eq!(here.foreign_marks(), portable.eq_any([b'\'', b'/', b'#']));
        }
    }
}
