//! Draws pseudo-random numbers: `SplitMix64` (Steele, Lea and Flood, 2014), the same on every machine.

/// A generator; two with one seed give one sequence.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A generator of its own, so that what one part draws never shifts what another part gets.
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// A number below `bound`, which is not 0. The bias is below 2⁻³² for the small bounds used here.
    pub fn below(&mut self, bound: u32) -> u32 {
        let wide = (u128::from(self.bits()) * u128::from(bound)) >> 64;
        u32::try_from(wide).expect("the product's upper half is below the bound")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// A signed number from `-reach` to `reach`.
    pub fn jitter(&mut self, reach: u32) -> i32 {
        i32::try_from(self.below(2 * reach + 1)).expect("reach is small")
            - i32::try_from(reach).expect("reach is small")
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(u32::try_from(choices.len()).expect("a short list"));
        &choices[usize::try_from(index).expect("u32 fits usize")]
    }

    /// Puts `values` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let bound = u32::try_from(last + 1).expect("a short list");
            values.swap(last, usize::try_from(self.below(bound)).expect("u32 fits usize"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_seed_1234567_are_those_of_the_published_algorithm() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!([rng.bits(), rng.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
