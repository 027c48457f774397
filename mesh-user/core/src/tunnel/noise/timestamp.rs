//! TAI64N: the time that an initiation carries, so that none is accepted twice.

use std::time::Duration;

/// The label of the second in which 1970 began, by the convention of all WireGuards: 2^62 and the ten leap seconds of then.
const UNIX_EPOCH: u64 = (1 << 62) + 10;
/// Nanoseconds are cut to 2^24 (16.8 ms), so that the time on the wire tells nothing finer of this node.
const WHITENED: u32 = (1 << 24) - 1;

/// Later is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Timestamp(pub(super) [u8; 12]);

impl Timestamp {
    /// The whitened time; `since_epoch` is that of the wall clock.
    pub(in super::super) fn of(since_epoch: Duration) -> Timestamp {
        Timestamp::from_parts(UNIX_EPOCH + since_epoch.as_secs(), since_epoch.subsec_nanos() & !WHITENED)
    }

    /// This time, or the next that is after `last`: a peer takes none twice.
    pub(in super::super) fn after(self, last: Timestamp) -> Timestamp {
        if self > last { self } else { last.next() }
    }

    fn next(self) -> Timestamp {
        let [a, b, c, d, e, f, g, h, nanos @ ..] = self.0;
        let seconds = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        match u32::from_be_bytes(nanos) + WHITENED + 1 {
            nanos @ ..1_000_000_000 => Timestamp::from_parts(seconds, nanos),
            _ => Timestamp::from_parts(seconds + 1, 0),
        }
    }

    fn from_parts(seconds: u64, nanos: u32) -> Timestamp {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Timestamp(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_time_and_the_last_bits_are_not_told() {
        let at = |millis| Timestamp::of(Duration::from_millis(millis));
        assert!(at(1_000) < at(1_999) && at(1_999) < at(2_000));
        assert_eq!(at(0).0, [0x40, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
        assert_eq!(at(2_001), at(2_010), "within 16.8 ms");
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_still_gives_later_times() {
        let mut last = Timestamp::of(Duration::from_millis(999));
        for _ in 0..200 {
            let next = Timestamp::of(Duration::from_millis(500)).after(last);
            assert!(next > last);
            last = next;
        }
        assert!(last > Timestamp::of(Duration::from_secs(3)));
    }
}
