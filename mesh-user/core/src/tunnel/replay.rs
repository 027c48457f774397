//! Which messages of a session were received already: a window of counters, as a ring of bits (RFC 6479).

const WORD: u64 = u64::BITS as u64;
/// A power of two, so that a counter finds its word without a division.
const WORDS: u64 = 256;

/// How far a message may come behind the newest. One word of the ring is being cleared and does not count.
pub(super) const WINDOW: u64 = (WORDS - 1) * WORD;

pub(super) struct Window {
    /// The next counter after the greatest that was accepted.
    next: u64,
    ring: [u64; WORDS as usize],
}

/// What a counter that is new says of the order of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Later than all before.
    Newest,
    /// It was overtaken on its way.
    Late,
}

impl Window {
    pub(super) fn new() -> Window {
        Window { next: 0, ring: [0; WORDS as usize] }
    }

    /// Takes a counter of an authentic message. `None`: it was there before, or is too old to tell.
    #[must_use]
    pub(super) fn accept(&mut self, counter: u64) -> Option<Fresh> {
        let word = counter / WORD;
        if counter >= self.next {
            let newest = self.next.saturating_sub(1) / WORD;
            // Words between the newest so far and this one hold bits of the last round.
            for ahead in 1..=(word - newest).min(WORDS) {
                self.ring[((newest + ahead) % WORDS) as usize] = 0;
            }
            self.ring[(word % WORDS) as usize] |= 1 << (counter % WORD);
            self.next = counter.saturating_add(1);
            return Some(Fresh::Newest);
        }
        if self.next - counter > WINDOW {
            return None;
        }
        let place = &mut self.ring[(word % WORDS) as usize];
        let bit = 1 << (counter % WORD);
        if *place & bit != 0 {
            return None;
        }
        *place |= bit;
        Some(Fresh::Late)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_window_is_as_wide_as_promised() {
        const { assert!(WINDOW >= 8_192) };
        let mut window = Window::new();
        assert_eq!(window.accept(WINDOW), Some(Fresh::Newest));
        assert_eq!((window.accept(0), window.accept(1)), (None, Some(Fresh::Late)));
        assert_eq!(window.accept(u64::MAX - 1), Some(Fresh::Newest));
        assert_eq!((window.accept(u64::MAX - 1), window.accept(2)), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        /// Steps back and forth around the edges of words, rounds and the window, against a set of all counters.
        #[test]
        fn a_counter_is_taken_once_while_it_is_in_the_window(
            start in 0..1_000_000_u64,
            steps in vec((any::<bool>(), prop_oneof![0..4_u64, 60..70_u64, WINDOW - 2..WINDOW + 70, 0..40_000_u64]), 1..200),
        ) {
            let mut window = Window::new();
            let (mut seen, mut next, mut at) = (BTreeSet::new(), 0, start);
            for (forward, by) in steps {
                at = if forward { at + by } else { at.saturating_sub(by) };
                let in_window = at >= next || next - at <= WINDOW;
                let expected = match in_window && seen.insert(at) {
                    false => None,
                    true if at >= next => Some(Fresh::Newest),
                    true => Some(Fresh::Late),
                };
                prop_assert_eq!(window.accept(at), expected, "{} when {} is next", at, next);
                next = next.max(at + 1);
            }
        }
    }
}
