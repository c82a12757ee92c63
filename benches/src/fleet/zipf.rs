//! Which shared beginning a request has: few are asked for often, most seldom. Pure, and the same for every peer.

/// A small generator of numbers that look random (SplitMix64): the same seed gives the same requests.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The rank `k` (from 0) comes with a share in proportion to `1 / (k + 1)^exponent`.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// The sum of the shares up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    pub fn new(ranks: usize, exponent: f64) -> Self {
        let shares = (1..=ranks.max(1)).map(|rank| (rank as f64).powf(-exponent));
        let sums = shares.scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    pub fn draw(&self, dice: &mut Dice) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let point = dice.roll() * all;
        self.sums.partition_point(|sum| *sum <= point).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_fair_and_the_same_for_the_same_seed() {
        let rolls: Vec<f64> = (0..10_000).scan(Dice::new(7), |dice, _| Some(dice.roll())).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        let mean = rolls.iter().sum::<f64>() / rolls.len() as f64;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert_eq!(Dice::new(7).roll(), Dice::new(7).roll());
        assert_ne!(Dice::new(7).roll(), Dice::new(8).roll());
    }

    #[test]
    fn ranks_come_as_often_as_their_shares() {
        let (zipf, mut dice) = (Zipf::new(200, 1.0), Dice::new(1));
        let mut counts = vec![0.0_f64; 200];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut dice)] += 1.0;
        }
        let harmonic: f64 = (1..=200).map(|rank| 1.0 / f64::from(rank)).sum();
        assert!((counts[0] / 1e5 * harmonic - 1.0).abs() < 0.05, "{}", counts[0]);
        assert!((counts[0] / counts[9] - 10.0).abs() < 1.5, "{}", counts[9]);
        assert!(counts.iter().all(|count| *count > 0.0));
    }

    #[test]
    fn one_rank_is_always_drawn() {
        assert_eq!(Zipf::new(1, 1.0).draw(&mut Dice::new(3)), 0);
        assert_eq!(Zipf::new(0, 1.0).draw(&mut Dice::new(3)), 0);
    }
}
