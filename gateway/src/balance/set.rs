//! A few of a model's candidates, by their index. Choosing among as many as most models have allocates nothing.

use std::ops::Range;

/// Candidates of one model that are looked at: addresses of all its providers together. Each request looks at all of
/// them, so it is a bound of time, too.
pub const CANDIDATES_MAX: usize = 4096;
/// Addresses of one provider that are used; those beyond are left out of the table.
pub const REPLICAS_MAX: usize = 64;

const WORD: usize = u64::BITS as usize;
/// The words of a small set: 256 candidates.
const NEAR: usize = 4;

#[derive(Debug, Clone, Default)]
pub struct Set {
    near: [u64; NEAR],
    /// The words behind those: none, where none is needed.
    far: Vec<u64>,
}

impl Set {
    /// The first `count`.
    pub fn all(count: usize) -> Self {
        let words = count.div_ceil(WORD);
        let mut set = Self { near: [0; NEAR], far: vec![0; words.saturating_sub(NEAR)] };
        for (at, word) in set.words_mut().enumerate() {
            *word = mask(at, &(0..count));
        }
        set
    }

    /// Nothing, with room for as many as there are in `self`.
    fn none(&self) -> Self {
        Self { near: [0; NEAR], far: vec![0; self.far.len()] }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.near.iter().chain(&self.far).copied()
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.near.iter_mut().chain(&mut self.far)
    }

    fn word_mut(&mut self, index: usize) -> Option<&mut u64> {
        match index / WORD {
            at @ ..NEAR => self.near.get_mut(at),
            at => self.far.get_mut(at - NEAR),
        }
    }

    /// One that is beyond what the set was made for has no place in it.
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.word_mut(index) {
            *word |= 1 << (index % WORD);
        }
    }

    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.word_mut(index) {
            *word &= !(1 << (index % WORD));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    pub fn count(&self) -> u32 {
        self.words().map(u64::count_ones).sum()
    }

    /// The index of the `n`th that is in it.
    pub fn nth(&self, mut n: u32) -> Option<usize> {
        for (at, word) in self.words().enumerate() {
            let here = word.count_ones();
            if n < here {
                let rest = (0..n).fold(word, |rest, _| rest & rest.wrapping_sub(1));
                return Some(at * WORD + rest.trailing_zeros() as usize);
            }
            n -= here;
        }
        None
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * WORD + bit)
            })
        })
    }

    /// Whether one of a range is in it.
    pub fn has_any(&self, range: &Range<usize>) -> bool {
        self.words().enumerate().any(|(at, word)| word & mask(at, range) != 0)
    }

    /// Those of a range.
    pub fn within(mut self, range: &Range<usize>) -> Self {
        self.words_mut().enumerate().for_each(|(at, word)| *word &= mask(at, range));
        self
    }

    /// Those of no range.
    pub fn without(mut self, range: &Range<usize>) -> Self {
        self.words_mut().enumerate().for_each(|(at, word)| *word &= !mask(at, range));
        self
    }

    /// Those for which `keep` holds.
    pub fn filter(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut kept = self.none();
        self.iter().filter(|index| keep(*index)).for_each(|index| kept.insert(index));
        kept
    }
}

/// The bits of a range that are in one word.
fn mask(word: usize, range: &Range<usize>) -> u64 {
    let below = |end: usize| match end.saturating_sub(word * WORD) {
        bits @ ..WORD => (1 << bits) - 1,
        _ => u64::MAX,
    };
    below(range.end) & !below(range.start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// As many as a small set has, and a few words more.
    const MAX: usize = WORD * (NEAR + 3);

    proptest! {
        #[test]
        fn it_is_a_set_of_indices(
            count in 0..=MAX,
            out in prop::collection::vec(0..MAX, 0..60),
            again in prop::collection::vec(0..MAX, 0..20),
            start in 0..MAX,
            length in 0..MAX,
        ) {
            let (mut set, mut model) = (Set::all(count), (0..count).collect::<BTreeSet<_>>());
            for index in out {
                set.remove(index);
                model.remove(&index);
            }
            for index in again.into_iter().filter(|index| *index < count) {
                set.insert(index);
                model.insert(index);
            }
            let of = |set: &Set| set.iter().collect::<BTreeSet<_>>();
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!((set.count() as usize, set.is_empty()), (model.len(), model.is_empty()));
            for (n, index) in model.iter().enumerate() {
                prop_assert_eq!(set.nth(n as u32), Some(*index));
            }
            prop_assert_eq!(set.nth(model.len() as u32), None);
            let even = |index: usize| index.is_multiple_of(2);
            prop_assert!(set.filter(even).iter().eq(model.iter().copied().filter(|index| even(*index))));
            let range = start..start + length;
            let (within, without) = model.iter().partition::<BTreeSet<usize>, _>(|index| range.contains(index));
            prop_assert_eq!(set.has_any(&range), !within.is_empty());
            prop_assert_eq!((of(&set.clone().within(&range)), of(&set.without(&range))), (within, without));
        }
    }

    #[test]
    fn what_it_was_not_made_for_is_not_in_it() {
        for count in [NEAR * WORD, NEAR * WORD + 1] {
            let mut set = Set::all(count);
            set.insert(count + WORD);
            set.remove(usize::MAX);
            assert_eq!(set.count() as usize, count);
        }
    }

    #[test]
    fn as_many_as_most_models_have_need_no_memory_of_their_own() {
        assert_eq!(Set::all(NEAR * WORD).far.capacity(), 0);
        assert_eq!(Set::all(NEAR * WORD).filter(|_| true).far.capacity(), 0);
    }
}
