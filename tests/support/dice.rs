//! Chance that can be had again.

use std::hash::{BuildHasher as _, RandomState};

/// Reproducible chance.
pub struct Dice(u64);

impl Dice {
    /// Seeded by `BIRDWATCH_SEED`, or anew; says how.
    pub fn new() -> Self {
        let given = std::env::var("BIRDWATCH_SEED")
            .ok()
            .map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        println!("BIRDWATCH_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit` (splitmix64).
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
