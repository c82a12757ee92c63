//! Which of a provider's addresses a request goes to: pure, values in, index out.
//!
//! Two random choices, and of these the one with fewer requests in flight: nearly as even as looking at
//! all of them, and several gateways that don't know of each other don't all run to the same one.

/// Addresses of one provider that are used; those beyond are left out of the table.
pub const REPLICAS_MAX: usize = 64;

/// Which addresses of a provider a request was not yet sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untried(u64);

impl Untried {
    /// The first `count` addresses, of at most [`REPLICAS_MAX`].
    pub fn all(count: usize) -> Self {
        Self(match count {
            0 => 0,
            1..REPLICAS_MAX => (1 << count) - 1,
            _ => u64::MAX,
        })
    }

    pub fn remove(&mut self, index: usize) {
        self.0 &= !(1 << (index % REPLICAS_MAX));
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The index of the `n`th that is left.
    fn nth(self, n: u32) -> usize {
        let rest = (0..n).fold(self.0, |rest, _| rest & rest.wrapping_sub(1));
        rest.trailing_zeros() as usize
    }
}

/// The address to try next, none when all were tried. Of two, the one of the lower rank: fewer requests in
/// flight. A single one costs neither a random number nor a
/// look at its load.
pub fn choose(
    untried: Untried,
    random: impl FnOnce() -> u64,
    rank: impl Fn(usize) -> usize,
) -> Option<usize> {
    match untried.count() {
        0 => None,
        1 => Some(untried.nth(0)),
        count => {
            let random = random();
            let one = below(count, random as u32);
            let other = below(count - 1, (random >> 32) as u32);
            let (one, other) = (untried.nth(one), untried.nth(if other < one { other } else { other + 1 }));
            // Equally busy: the first, which is any of them.
            Some(if rank(other) < rank(one) { other } else { one })
        }
    }
}

/// A number below `limit`, evenly from an even `random`.
fn below(limit: u32, random: u32) -> u32 {
    ((u64::from(random) * u64::from(limit)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Repeatable numbers that are evenly spread (SplitMix64).
    fn numbers() -> impl FnMut() -> u64 {
        let mut state = 7u64;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    #[test]
    fn one_address_costs_no_random_number() {
        let unasked = || panic!("nothing to choose");
        assert_eq!(choose(Untried::all(1), unasked, |_| panic!("nothing to compare")), Some(0));
        let mut rest = Untried::all(3);
        rest.remove(0);
        rest.remove(2);
        assert_eq!(choose(rest, unasked, |_| 0), Some(1));
        rest.remove(1);
        assert_eq!(choose(rest, unasked, |_| 0), None);
    }

    #[test]
    fn equally_busy_addresses_get_equal_shares() {
        for count in [2, 3, 7, REPLICAS_MAX] {
            let (mut next, mut hits) = (numbers(), vec![0u32; count]);
            let rounds = 2_000 * count;
            for _ in 0..rounds {
                hits[choose(Untried::all(count), &mut next, |_| 4).unwrap()] += 1;
            }
            // Six standard deviations of a fair share of 2,000.
            assert!(hits.iter().all(|&hits| hits.abs_diff(2_000) < 270), "{count}: {hits:?}");
        }
    }

    #[test]
    fn the_busier_of_two_gets_nothing_and_the_busiest_of_many_neither() {
        let mut next = numbers();
        for _ in 0..1_000 {
            assert_eq!(choose(Untried::all(2), &mut next, |index| [5, 4][index]), Some(1));
            assert_ne!(choose(Untried::all(5), &mut next, |index| [1, 2, 3, 4, 9][index]), Some(4));
        }
    }

    #[test]
    fn load_stays_even_where_chance_alone_would_not_keep_it() {
        let (mut next, mut in_flight) = (numbers(), [0usize; 10]);
        for _ in 0..10_000 {
            let index = choose(Untried::all(10), &mut next, |index| in_flight[index]).unwrap();
            in_flight[index] += 1;
        }
        let (least, most) = (in_flight.iter().min().unwrap(), in_flight.iter().max().unwrap());
        assert!(most - least <= 8, "{in_flight:?}");
    }

    #[test]
    fn an_address_that_takes_five_times_as_long_gets_less() {
        // Each step a request arrives; a request is done after 10 steps, at the first address after 50.
        let (mut next, mut ends, mut hits) = (numbers(), vec![Vec::new(); 4], [0u32; 4]);
        for now in 0..20_000u32 {
            ends.iter_mut().for_each(|ends: &mut Vec<u32>| ends.retain(|&end| end > now));
            let index = choose(Untried::all(4), &mut next, |index| ends[index].len()).unwrap();
            ends[index].push(now + if index == 0 { 50 } else { 10 });
            hits[index] += 1;
        }
        assert!(hits[1..].iter().all(|&others| hits[0] * 2 < others), "{hits:?}");
    }

    proptest! {
        #[test]
        fn what_is_chosen_was_untried(mask: u64, random: u64, loads: [u8; 4]) {
            let chosen = choose(Untried(mask), || random, |index| loads[index % 4].into());
            prop_assert_eq!(chosen.is_some(), mask != 0);
            if let Some(index) = chosen {
                prop_assert!(mask & (1 << index) != 0);
            }
        }

        #[test]
        fn each_is_chosen_once_until_none_is_left(count in 0..=REPLICAS_MAX, seed: u64) {
            let (mut untried, mut chosen) = (Untried::all(count), Vec::new());
            while let Some(index) = choose(untried, || seed, |_| 0) {
                untried.remove(index);
                chosen.push(index);
            }
            chosen.sort_unstable();
            prop_assert_eq!(chosen, (0..count).collect::<Vec<_>>());
        }
    }
}
