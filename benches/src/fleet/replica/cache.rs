//! The KV cache of a simulated model server: which beginnings of prompts it still knows.
//!
//! Pure. As engines do it: a prompt is cut into blocks, a block is known by everything up to its end, and the one
//! that was not used for longest goes first, ends of prompts before their beginnings. Only whole blocks are kept.

use std::collections::{BTreeMap, HashMap};

/// 64 tokens.
pub const BLOCK_BYTES: usize = 64 * BYTES_PER_TOKEN;
/// What a token of English is taken for.
pub const BYTES_PER_TOKEN: usize = 4;
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01b3;

#[derive(Debug)]
pub struct KvCache {
    blocks_max: usize,
    clock: u64,
    used_at: HashMap<u64, u64>,
    by_use: BTreeMap<u64, u64>,
}

impl KvCache {
    pub fn new(blocks_max: usize) -> Self {
        Self { blocks_max, clock: 0, used_at: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// Takes a prompt in; gives how many of its first bytes were known already.
    pub fn admit(&mut self, prompt: &[u8]) -> usize {
        let blocks = hashes(prompt);
        let known = blocks.iter().take_while(|hash| self.used_at.contains_key(hash)).count();
        for &hash in blocks.iter().rev() {
            self.touch(hash);
        }
        while self.used_at.len() > self.blocks_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.used_at.remove(&oldest);
        }
        known * BLOCK_BYTES
    }

    fn touch(&mut self, hash: u64) {
        self.clock += 1;
        if let Some(before) = self.used_at.insert(hash, self.clock) {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.clock, hash);
    }
}

/// One for each whole block, of all bytes up to its end.
fn hashes(prompt: &[u8]) -> Vec<u64> {
    let mut hash = HASH_START;
    let block = |block: &[u8]| {
        hash = block.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(HASH_FACTOR));
        hash
    };
    prompt.chunks_exact(BLOCK_BYTES).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(prefix: u8, blocks: usize, question: &str) -> Vec<u8> {
        let mut text = vec![prefix; blocks * BLOCK_BYTES];
        text.extend(question.as_bytes());
        text
    }

    #[test]
    fn a_prompt_that_begins_alike_is_known_as_far_as_it_is_alike() {
        let mut cache = KvCache::new(100);
        assert_eq!(cache.admit(&prompt(b'a', 8, "why?")), 0);
        assert_eq!(cache.admit(&prompt(b'a', 8, "how?")), 8 * BLOCK_BYTES);
        assert_eq!(cache.admit(&prompt(b'a', 12, "how?")), 8 * BLOCK_BYTES);
        assert_eq!(cache.admit(&prompt(b'b', 8, "why?")), 0, "another beginning");
    }

    #[test]
    fn less_than_a_block_is_never_known() {
        let mut cache = KvCache::new(100);
        cache.admit(b"short");
        assert_eq!(cache.admit(b"short"), 0);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_its_end_before_its_beginning() {
        let mut cache = KvCache::new(8);
        cache.admit(&prompt(b'a', 4, ""));
        cache.admit(&prompt(b'b', 4, ""));
        cache.admit(&prompt(b'a', 4, ""));
        cache.admit(&prompt(b'c', 2, ""));
        assert_eq!(cache.admit(&prompt(b'b', 2, "")), 2 * BLOCK_BYTES, "its first two blocks are left");
        let mut cache = KvCache::new(4);
        cache.admit(&prompt(b'a', 4, ""));
        cache.admit(&prompt(b'b', 4, ""));
        assert_eq!(cache.admit(&prompt(b'a', 4, "")), 0);
    }

    #[test]
    fn it_never_grows_past_its_size() {
        let mut cache = KvCache::new(10);
        for prefix in 0..=255 {
            cache.admit(&prompt(prefix, 3, ""));
            assert!(cache.used_at.len() <= 10 && cache.used_at.len() == cache.by_use.len());
        }
    }
}
