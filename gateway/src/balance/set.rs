//! A few of a model's candidates, by their index: a fixed size, so that choosing among them allocates nothing.

/// Candidates of one model that are looked at: addresses of all its providers together.
pub const CANDIDATES_MAX: usize = 256;
/// Addresses of one provider that are used; those beyond are left out of the table.
pub const REPLICAS_MAX: usize = 64;

const WORD: usize = u64::BITS as usize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set([u64; CANDIDATES_MAX / WORD]);

impl Set {
    /// The first `count`, of at most [`CANDIDATES_MAX`].
    pub fn all(count: usize) -> Self {
        let mut set = Self::default();
        for (at, word) in set.0.iter_mut().enumerate() {
            *word = match count.saturating_sub(at * WORD) {
                0 => 0,
                rest @ 1..WORD => (1 << rest) - 1,
                _ => u64::MAX,
            };
        }
        set
    }

    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / WORD) {
            *word |= 1 << (index % WORD);
        }
    }

    pub fn remove(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / WORD) {
            *word &= !(1 << (index % WORD));
        }
    }

    pub fn contains(self, index: usize) -> bool {
        self.0.get(index / WORD).is_some_and(|word| word & (1 << (index % WORD)) != 0)
    }

    pub fn is_empty(self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The index of the `n`th that is in it.
    pub fn nth(self, mut n: u32) -> Option<usize> {
        for (at, word) in self.0.into_iter().enumerate() {
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
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * WORD + bit)
            })
        })
    }

    pub fn and(mut self, other: Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        self
    }

    pub fn without(mut self, other: Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= !other;
        }
        self
    }

    pub fn or(mut self, other: Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
        self
    }

    /// Those for which `keep` holds.
    pub fn filter(self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut kept = self;
        for index in self.iter() {
            if !keep(index) {
                kept.remove(index);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_indices(
            count in 0..=CANDIDATES_MAX,
            out in prop::collection::vec(0..CANDIDATES_MAX, 0..60),
            again in prop::collection::vec(0..CANDIDATES_MAX, 0..20),
        ) {
            let (mut set, mut model) = (Set::all(count), (0..count).collect::<BTreeSet<_>>());
            for index in out {
                set.remove(index);
                model.remove(&index);
            }
            for index in again {
                set.insert(index);
                model.insert(index);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((set.count() as usize, set.is_empty()), (model.len(), model.is_empty()));
            for (n, index) in model.iter().enumerate() {
                prop_assert_eq!(set.nth(n as u32), Some(*index));
                prop_assert!(set.contains(*index));
            }
            prop_assert_eq!(set.nth(model.len() as u32), None);
            let even = set.filter(|index| index % 2 == 0);
            prop_assert!(even.iter().eq(model.iter().copied().filter(|index| index % 2 == 0)));
            prop_assert_eq!(set.without(even), set.filter(|index| index % 2 == 1));
            prop_assert_eq!((set.and(even), set.or(even)), (even, set));
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_in_it() {
        let mut set = Set::all(CANDIDATES_MAX + 1);
        assert_eq!(set.count() as usize, CANDIDATES_MAX);
        set.insert(CANDIDATES_MAX);
        set.remove(usize::MAX);
        assert!(!set.contains(CANDIDATES_MAX) && set.count() as usize == CANDIDATES_MAX);
    }
}
