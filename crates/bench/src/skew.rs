//! Random numbers, and the random choice of accounts.

use crate::options::{Load, Skew};

/// A generator of random numbers (xoshiro256++). The same seed gives the same numbers.
#[derive(Clone)]
pub(crate) struct Random([u64; 4]);

/// Mixes the bits of a number (SplitMix64).
pub(crate) fn mix_bits(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let first = mix_bits(seed);
        let second = mix_bits(first);
        let third = mix_bits(second);
        Random([first, second, third, mix_bits(third)])
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// Returns a random number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next() as u32) * u64::from(bound)) >> 32) as u32
    }
}

/// Chooses accounts at random.
#[derive(Clone)]
pub(crate) struct AccountChooser {
    accounts: u32,
    skew: Skew,
    /// Walker's alias table for Zipf's law: (probability of the slot itself in units of 2^-32, otherwise its alias).
    alias: Vec<(u32, u32)>,
}

impl AccountChooser {
    pub(crate) fn new(load: &Load) -> AccountChooser {
        let alias = match load.skew {
            Skew::Zipf => alias_table(load.accounts, load.zipf_exponent),
            Skew::Uniform | Skew::Hot => Vec::new(),
        };
        AccountChooser {
            accounts: load.accounts,
            skew: load.skew,
            alias,
        }
    }

    fn choose_account(&self, random: &mut Random) -> u32 {
        let slot = random.below(self.accounts);
        match self.alias.get(slot as usize) {
            Some(&(chance, alias)) if random.next() as u32 > chance => alias,
            _ => slot,
        }
    }

    /// Chooses two different accounts: source and destination.
    pub(crate) fn choose_pair(&self, random: &mut Random) -> (u32, u32) {
        if self.skew == Skew::Hot {
            return (1 + random.below(self.accounts - 1), 0);
        }
        let source = self.choose_account(random);
        let mut destination = self.choose_account(random);
        if destination == source {
            destination = (source + 1) % self.accounts;
        }
        (source, destination)
    }
}

fn alias_table(accounts: u32, exponent: f64) -> Vec<(u32, u32)> {
    let weights: Vec<f64> = (1..=accounts)
        .map(|rank| f64::from(rank).powf(-exponent))
        .collect();
    let sum: f64 = weights.iter().sum();
    let mut chances: Vec<f64> = weights
        .iter()
        .map(|weight| weight / sum * f64::from(accounts))
        .collect();
    let mut table = vec![(u32::MAX, 0); accounts as usize];
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..accounts).partition(|slot| chances[*slot as usize] < 1.0);
    while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
        let chance = chances[low as usize];
        table[low as usize] = ((chance * f64::from(u32::MAX)) as u32, high);
        chances[high as usize] -= 1.0 - chance;
        if chances[high as usize] < 1.0 {
            large.pop();
            small.push(high);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RunOptions;

    fn load(skew: Skew) -> Load {
        Load {
            accounts: 1_000,
            skew,
            zipf_exponent: 1.0,
            rate: None,
            seed: 1,
            server: None,
            grpc: None,
            api_key_file: None,
            run: RunOptions::default(),
        }
    }

    fn counts(skew: Skew) -> Vec<u32> {
        let chooser = AccountChooser::new(&load(skew));
        let mut random = Random::new(7);
        let mut counts = vec![0; 1_000];
        for _ in 0..200_000 {
            let (source, destination) = chooser.choose_pair(&mut random);
            assert_ne!(source, destination);
            counts[destination as usize] += 1;
        }
        counts
    }

    #[test]
    fn each_skew_is_what_it_says() {
        let uniform = counts(Skew::Uniform);
        assert!(uniform.iter().all(|count| (100..=320).contains(count)));
        assert_eq!(counts(Skew::Hot)[0], 200_000);
        let zipf = counts(Skew::Zipf);
        // With exponent 1 and 1,000 accounts the first gets 1/7.4855, the tenth a tenth of that.
        let expected = |rank: f64| 200_000.0 / 7.4855 / rank;
        for (at, rank) in [(0usize, 1.0), (9, 10.0), (99, 100.0)] {
            let ratio = f64::from(zipf[at]) / expected(rank);
            assert!((0.8..1.25).contains(&ratio), "{at}: {ratio}");
        }
    }
}
