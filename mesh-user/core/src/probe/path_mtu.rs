//! How long a packet does the path carry? Padded probes, rarely: the full MTU, and where that is lost a binary search.

use std::time::{Duration, Instant};

use super::MESSAGE_LENGTH;

/// A reply that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// The full length counts as lost after so many probes.
const FULL_TRIES: usize = 3;
/// A length of the search, since a lost packet costs only accuracy there.
const SEARCH_TRIES: usize = 2;
/// Between two looks at a path that carries everything.
const CHECK: Duration = Duration::from_secs(60);
/// Between two searches on one that does not.
const RETRY: Duration = Duration::from_secs(300);
/// Headers of IPv6 and UDP and a bare message: what ordinary probes have shown to pass.
const FLOOR: u16 = 40 + 8 + MESSAGE_LENGTH as u16;

/// What was found last. Lengths are those of IP packets in the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Not tried yet.
    Unknown,
    /// Packets as long as the MTU arrive.
    Full,
    /// The longest that arrives.
    AtMost(u16),
}

/// Which length is tried next. Polled only while shorter packets arrive.
#[derive(Clone, Debug)]
pub struct SizeSearch {
    mtu: u16,
    carried: Carried,
    stage: Stage,
    /// Sequence numbers of the probes of the length that is being tried.
    sent: Vec<u64>,
    next_sequence: u64,
    next_send: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Full,
    /// `passes` arrives, `lost` does not.
    Between {
        passes: u16,
        lost: u16,
    },
}

impl SizeSearch {
    pub fn new(mtu: u16, now: Instant, first_sequence: u64) -> Self {
        SizeSearch {
            mtu,
            carried: Carried::Unknown,
            stage: Stage::Full,
            sent: Vec::new(),
            next_sequence: first_sequence,
            next_send: now,
        }
    }

    /// The path may be another one.
    pub fn restart(&mut self, now: Instant) {
        self.begin(Stage::Full, now);
    }

    pub fn carried(&self) -> Carried {
        self.carried
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next_send
    }

    /// The sequence number and the length of the packet to send now, if one is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(u64, u16)> {
        if now < self.next_send {
            return None;
        }
        let tries = if self.stage == Stage::Full { FULL_TRIES } else { SEARCH_TRIES };
        if self.sent.len() == tries {
            self.conclude(false, now);
            if now < self.next_send {
                return None;
            }
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.sent.push(sequence);
        self.next_send = now + PATIENCE;
        Some((sequence, self.length()))
    }

    pub fn handle_reply(&mut self, sequence: u64, now: Instant) {
        if self.sent.contains(&sequence) {
            self.conclude(true, now);
        }
    }

    fn length(&self) -> u16 {
        match self.stage {
            Stage::Full => self.mtu,
            Stage::Between { passes, lost } => passes.midpoint(lost),
        }
    }

    /// The length that was tried arrives, or does not.
    fn conclude(&mut self, arrives: bool, now: Instant) {
        let length = self.length();
        let (passes, lost) = match self.stage {
            Stage::Full if arrives => {
                self.carried = Carried::Full;
                return self.begin(Stage::Full, now + CHECK);
            }
            Stage::Full => (FLOOR.min(length), length),
            Stage::Between { lost, .. } if arrives => (length, lost),
            Stage::Between { passes, .. } => (passes, length),
        };
        if lost - passes > 1 {
            return self.begin(Stage::Between { passes, lost }, now);
        }
        self.carried = Carried::AtMost(passes);
        self.begin(Stage::Full, now + RETRY);
    }

    fn begin(&mut self, stage: Stage, at: Instant) {
        self.stage = stage;
        self.sent.clear();
        self.next_send = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search on a path that carries `carries` bytes until it rests; says how many probes and how long it took.
    fn run(search: &mut SizeSearch, now: &mut Instant, carries: u16) -> (usize, Duration) {
        let begun = *now;
        let mut sent = 0;
        while search.poll_timeout() < *now + CHECK {
            *now = (*now).max(search.poll_timeout());
            let Some((sequence, length)) = search.poll_transmit(*now) else { break };
            sent += 1;
            if length <= carries {
                *now += Duration::from_millis(20);
                search.handle_reply(sequence, *now);
            }
            assert!(sent < 100, "it does not end");
        }
        (sent, *now - begun)
    }

    #[test]
    fn a_path_that_carries_the_mtu_takes_one_probe_a_minute() {
        let mut now = Instant::now();
        let mut search = SizeSearch::new(1_340, now, 0);
        assert_eq!(search.carried(), Carried::Unknown);
        assert_eq!(run(&mut search, &mut now, 9_000).0, 1);
        assert_eq!(search.carried(), Carried::Full);
        assert_eq!(search.poll_timeout(), now + CHECK);
    }

    #[test]
    fn the_longest_that_arrives_is_found_exactly_and_soon() {
        for carries in [81, 575, 576, 1_000, 1_280, 1_338, 1_339] {
            let mut now = Instant::now();
            let mut search = SizeSearch::new(1_340, now, 0);
            let (sent, took) = run(&mut search, &mut now, carries);
            assert_eq!(search.carried(), Carried::AtMost(carries));
            assert!(sent <= 25 && took < Duration::from_secs(27), "{sent} probes in {took:?}");
            assert!(search.poll_timeout() > now + CHECK);
        }
    }

    #[test]
    fn a_path_that_becomes_wide_is_noticed() {
        let mut now = Instant::now();
        let mut search = SizeSearch::new(1_340, now, 0);
        run(&mut search, &mut now, 1_000);
        now = search.poll_timeout();
        assert_eq!(run(&mut search, &mut now, 1_500).0, 1);
        assert_eq!(search.carried(), Carried::Full);
    }

    #[test]
    fn a_late_reply_counts_and_a_foreign_one_does_not() {
        let now = Instant::now();
        let mut search = SizeSearch::new(1_340, now, 10);
        let (first, _) = search.poll_transmit(now).unwrap();
        let (second, _) = search.poll_transmit(now + PATIENCE).unwrap();
        assert_eq!((first, second), (10, 11));
        search.handle_reply(12, now + PATIENCE);
        assert_eq!(search.carried(), Carried::Unknown);
        search.handle_reply(first, now + PATIENCE);
        assert_eq!(search.carried(), Carried::Full);
    }
}
