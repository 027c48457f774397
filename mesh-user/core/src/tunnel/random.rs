//! Where a device takes its randomness from: a seed that its maker drew.
//!
//! The state is replaced after each use, so that what was drawn before cannot be found out from it.

use std::time::Duration;

use zeroize::Zeroizing;

use super::noise::primitives::keyed_hash;

pub(super) struct Random {
    state: Zeroizing<[u8; 32]>,
    /// For what needs no secrecy; never 0.
    quick: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Random {
        let mut random = Random { state: Zeroizing::new(seed), quick: 1 };
        let [a, b, c, d, e, f, g, h, ..] = *random.bytes();
        random.quick = u64::from_le_bytes([a, b, c, d, e, f, g, h]) | 1;
        random
    }

    /// 32 bytes that nobody can guess.
    pub(super) fn bytes(&mut self) -> Zeroizing<[u8; 32]> {
        let bytes = Zeroizing::new(keyed_hash(&self.state, &[&[1]]));
        *self.state = keyed_hash(&self.state, &[&[0]]);
        bytes
    }

    /// Some time shorter than `limit`, so that two ends do not act at once again and again.
    pub(super) fn jitter(&mut self, limit: Duration) -> Duration {
        // Marsaglia's xorshift, 64 bits.
        self.quick ^= self.quick << 13;
        self.quick ^= self.quick >> 7;
        self.quick ^= self.quick << 17;
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.quick % nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_without_repetition() {
        let draw = |seed: u8| {
            let mut random = Random::new([seed; 32]);
            std::array::from_fn::<_, 8, _>(|_| *random.bytes())
        };
        let drawn = draw(1);
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn[0], draw(2)[0]);
        assert!((1..8).all(|at| !drawn[..at].contains(&drawn[at])));
    }

    #[test]
    fn jitter_is_short_and_not_constant() {
        let mut random = Random::new([0; 32]);
        let limit = Duration::from_millis(334);
        let drawn: Vec<_> = (0..100).map(|_| random.jitter(limit)).collect();
        assert!(drawn.iter().all(|jitter| *jitter < limit));
        assert!(drawn.iter().any(|jitter| *jitter < limit / 2) && drawn.iter().any(|jitter| *jitter > limit / 2));
    }
}
