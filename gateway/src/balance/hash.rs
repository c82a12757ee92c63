//! Numbers from names and keys: the same in every process and release, so that gateways which don't know of
//! each other agree on where a key belongs, also after a restart.
//!
//! Who can choose keys can make many of them meet. That costs evenness and nothing else: what is unevenly
//! loaded is passed over by its load.

/// The golden ratio's bits: far from every simple fraction.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads the bits of a number over all of its bits (the last step of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Of two numbers, in this order.
pub fn pair(one: u64, other: u64) -> u64 {
    mix(mix(one.wrapping_add(GOLDEN)) ^ other)
}

/// Of bytes.
pub fn bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(bytes.len() as u64, |hash, word| step(hash, u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = step(hash, word);
    }
    mix(hash)
}

/// One word: a multiplication whose halves are put together, so that each bit counts for all.
fn step(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ word ^ GOLDEN) * 0xd6e8_feb8_6659_fd93_u128;
    (wide as u64) ^ ((wide >> 64) as u64).wrapping_add(hash.rotate_left(23))
}

/// A number below `limit`, evenly from an even `number`.
pub fn below(limit: u32, number: u32) -> u32 {
    ((u64::from(number) * u64::from(limit)) >> 32) as u32
}

/// A number in `0 < x < 1`, evenly from an even `number`.
pub fn unit(number: u64) -> f64 {
    ((number >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_has_the_same_number_for_ever() {
        assert_eq!(bytes(b""), 0);
        // Written down: another number would move users to another arm with a release.
        assert_eq!(bytes(b"user-1"), 0x1e9f_03d0_8ab3_f51e);
        assert_eq!(bytes(b"default/p1"), 0x65c3_dc52_6391_a807);
        assert_eq!(bytes(b"a longer key of several words"), 0xe6ba_f128_c02b_a8cb);
        assert_eq!(pair(1, 2), 0x081a_5c13_7785_6b73);
        let known = [(&b"a"[..], bytes(b"a")), (b"a\0", bytes(b"a\0")), (b"12345678", bytes(b"12345678"))];
        assert_eq!(known.iter().map(|(_, hash)| hash).collect::<HashSet<_>>().len(), known.len());
    }

    #[test]
    fn keys_that_are_alike_fall_everywhere() {
        let mut buckets = [0u32; 64];
        let mut seen = HashSet::new();
        for n in 0..64_000 {
            let hash = bytes(format!("user-{n}").as_bytes());
            assert!(seen.insert(hash));
            buckets[(hash >> 58) as usize] += 1;
        }
        // Six standard deviations of a fair share of 1,000.
        assert!(buckets.iter().all(|count| count.abs_diff(1_000) < 190), "{buckets:?}");
    }

    #[test]
    fn numbers_stay_in_their_range() {
        for number in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(unit(number) > 0.0 && unit(number) < 1.0);
            assert!(below(7, number as u32) < 7);
        }
    }
}
