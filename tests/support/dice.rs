//! Chance that can be had again.

use std::hash::{BuildHasher as _, RandomState};

/// Reproducible chance.
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// Seeded by `BIRDWATCH_SEED`, or anew; says how.
    pub fn new() -> Self {
        let given = std::env::var("BIRDWATCH_SEED")
            .ok()
            .map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        println!("BIRDWATCH_SEED={seed}");
        Self { seed, state: seed }
    }

    /// What makes it the same again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chance for somebody else, who draws at times of their own.
    pub fn fork(&mut self) -> Self {
        let seed = self.below(u64::MAX);
        Self { seed, state: seed }
    }

    /// A number below `limit` (splitmix64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
