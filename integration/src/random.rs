//! Random moments that can be met again.

/// A small generator (splitmix64); the seed comes from `OTTLA_TEST_SEED` or the clock and is
/// printed, so that a failure can be run again.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose seed is printed.
    pub fn from_environment() -> Self {
        let given = std::env::var("OTTLA_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |now| now.as_secs())
        });
        eprintln!("OTTLA_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
